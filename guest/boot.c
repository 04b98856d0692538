#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* linux/random.h, which musl's headers leave out. */
#define RNDADDENTROPY _IOW('R', 0x03, int[2])
#define RNDRESEEDCRNG _IO('R', 0x07)

enum { PRIORITY = -20, NS_PER_S = 1000000000 };

static const struct {
	const char *type, *target, *options;
	unsigned long flags;
} mounts[] = {
	{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "devtmpfs", "/dev", NULL, MS_NOSUID | MS_NOEXEC },
	{ "devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC },
	{ "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV },
	/* Without this option, turning on a controller waits for RCU: tens of milliseconds. */
	{ "cgroup2", "/sys/fs/cgroup", "favordynmods", MS_NOSUID | MS_NODEV | MS_NOEXEC },
};

/* devtmpfs has none of these. */
static const struct {
	const char *target, *name;
} links[] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

static void say(const char *text)
{
	(void)!write(STDERR_FILENO, text, strlen(text));
}

void boot_expect(bool done, const char *step, const char *object)
{
	int error = errno;
	const char digits[] = { (char)('0' + error / 100), (char)('0' + error / 10 % 10),
				(char)('0' + error % 10), '\n', 0 };

	if (done)
		return;
	say("sandboxd: ");
	say(step);
	say(object);
	say(": errno ");
	say(digits + (error < 10 ? 2 : error < 100));
}

/* Until then the console is the one that the kernel has opened. */
static void use_console(void)
{
	int console = open("/dev/console", O_RDWR | O_NOCTTY);

	boot_expect(console >= 0, "open ", "/dev/console");
	if (console < 0)
		return;
	for (int fd = 0; fd <= 2; fd++)
		dup2(console, fd);
	if (console > 2)
		close(console);
}

/* What this kernel has not built in; the image has them in the order in which they load. */
static void load_modules(void)
{
	char path[] = "/lib/modules/0.ko";

	for (char *number = path + sizeof "/lib/modules"; *number <= '9'; ++*number) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return;
		boot_expect(syscall(SYS_finit_module, fd, "", 0) == 0, "load ", path);
		close(fd);
	}
}

/* Makes `/` a file system like any other: of the one that the kernel unpacked its archive into, df
 * and others say that there is none. Where there is no overlay, that one stays. */
static bool cover_root(void)
{
	enum { PRIVATE = 0700, OPEN = 0755 };
	const char *const merged = "/run/root";
	const char *const layers = "lowerdir=/,upperdir=/run/upper,workdir=/run/work";

	mkdir("/run", OPEN);
	if (mount("tmpfs", "/run", "tmpfs", 0, "mode=700") < 0)
		return false;
	mkdir("/run/upper", OPEN);
	mkdir("/run/work", PRIVATE);
	mkdir(merged, OPEN);
	if (mount("overlay", merged, "overlay", 0, layers) == 0 && chdir(merged) == 0 &&
	    mount(".", "/", NULL, MS_MOVE, NULL) == 0)
		return chroot(".") == 0;
	umount2("/run", MNT_DETACH); /* leaves errno alone, as it does not fail */
	return false;
}

/* There is no network, but programs expect to reach themselves. */
static bool raise_loopback(void)
{
	struct ifreq request = { .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	memcpy(request.ifr_name, "lo", sizeof "lo");
	bool raised = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
	close(fd);
	return raised;
}

/* A guest that lacks one of these still serves; so none of them is the end. */
void boot_prepare(void)
{
	umask(022);
	load_modules();
	boot_expect(cover_root(), "cover ", "/");
	for (size_t i = 0; i < sizeof mounts / sizeof mounts[0]; i++) {
		const char *target = mounts[i].target, *type = mounts[i].type;

		mkdir(target, 0755);
		boot_expect(mount(type, target, type, mounts[i].flags, mounts[i].options) == 0,
			    "mount ", target);
	}
	for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
		boot_expect(symlink(links[i].target, links[i].name) == 0, "link ", links[i].name);
	use_console();
	boot_expect(raise_loopback(), "raise ", "lo");
	boot_expect(sethostname("microvm", sizeof "microvm" - 1) == 0, "set ", "hostname");
	/* The kernel's OOM killer spares PID 1 (oom_unkillable_task in mm/oom_kill.c). */
	boot_expect(setpriority(PRIO_PROCESS, 0, PRIORITY) == 0, "raise ", "priority");
}

/* random(4): what RNDADDENTROPY takes, a count of bits and one of bytes before the bytes. */
static void add_entropy(struct sandboxd_slice entropy)
{
	struct {
		int bits, size;
		uint8_t data[SANDBOXD_RESUME_ENTROPY_MAX];
	} pool = { .bits = (int)(entropy.size * 8), .size = (int)entropy.size };
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	memcpy(pool.data, entropy.data, entropy.size);
	ioctl(fd, RNDADDENTROPY, &pool);
	ioctl(fd, RNDRESEEDCRNG);
	close(fd);
}

void boot_resume(const struct sandboxd_resume *resume)
{
	const struct timespec now = {
		.tv_sec = (time_t)(resume->realtime_ns / NS_PER_S),
		.tv_nsec = (long)(resume->realtime_ns % NS_PER_S),
	};

	clock_settime(CLOCK_REALTIME, &now);
	add_entropy(resume->entropy);
}

void boot_reset(void)
{
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
