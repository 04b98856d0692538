#include "boot.h"

#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "console.h"
#include "priority.h"

#define UNCOVERED "/run/microvm/proc"

static const struct {
	const char *type, *target, *options;
	unsigned long flags;
} mounts[] = {
	{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "devtmpfs", "/dev", NULL, MS_NOSUID | MS_NOEXEC },
	{ "devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC },
	{ "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV },
	/* `favordynmods` is an option of cgroup2. Without it, enabling a controller of cgroups
	 * waits for RCU in the kernel, which takes tens of milliseconds. */
	{ "cgroup2", "/sys/fs/cgroup", "favordynmods", MS_NOSUID | MS_NODEV | MS_NOEXEC },
};

/* Symbolic links in /dev that programs expect, and that devtmpfs does not contain. */
static const struct {
	const char *target, *name;
} links[] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

/* Opens /dev/console as the standard streams of this process, in place of the console that the
 * kernel has opened for it. */
static void use_console(void)
{
	int console = open("/dev/console", O_RDWR | O_NOCTTY);

	console_expect(console >= 0, "open ", "/dev/console");
	if (console < 0)
		return;
	for (int fd = 0; fd <= 2; fd++)
		dup2(console, fd);
	if (console > 2)
		close(console);
}

/* Brings up the loopback interface. A machine has no network, but programs expect to reach
 * localhost. */
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

/* Mounts a file over /proc/sys/kernel/random/boot_id. The file holds a copy of the kernel's boot id
 * until the function `resume` writes a new id into it. */
static bool cover_boot_id(void)
{
	static const char kernels[] = "/proc/sys/kernel/random/boot_id";
	char id[64];
	int in = open(kernels, O_RDONLY | O_CLOEXEC);
	ssize_t size = in < 0 ? -1 : read(in, id, sizeof id);

	if (in >= 0)
		close(in);
	if (size < 0)
		return false;
	int out = open(BOOT_ID, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	bool written = out >= 0 && write(out, id, (size_t)size) == size;

	if (out >= 0)
		close(out);
	return written && mount(BOOT_ID, kernels, NULL, MS_BIND, NULL) == 0;
}

/* Mounts a second /proc. In the first one, a mount covers boot_id. The kernel permits mounts of
 * /proc in user namespaces only if there is also a /proc in which no mount covers a file
 * (mnt_already_visible in fs/namespace.c). */
static bool mount_uncovered(void)
{
	return mkdir(UNCOVERED, 0555) == 0 &&
	       mount("proc", UNCOVERED, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0;
}

/* Each failed step is reported on the console and then ignored, because a guest can run commands
 * even if one of these steps fails. */
void boot_prepare(void)
{
	umask(022);
	for (size_t i = 0; i < sizeof mounts / sizeof mounts[0]; i++) {
		const char *target = mounts[i].target, *type = mounts[i].type;

		mkdir(target, 0755);
		console_expect(mount(type, target, type, mounts[i].flags, mounts[i].options) == 0,
			       "mount ", target);
	}
	for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
		console_expect(symlink(links[i].target, links[i].name) == 0, "link ",
			       links[i].name);
	use_console();
	mkdir("/run/microvm", 0755);
	console_expect(cover_boot_id(), "cover ", "boot_id");
	console_expect(mount_uncovered(), "mount ", UNCOVERED);
	console_expect(raise_loopback(), "raise ", "lo");
	console_expect(sethostname("microvm", sizeof "microvm" - 1) == 0, "set ", "hostname");
	/* The daemon's OOM score need not be lowered, because the OOM killer spares PID 1
	 * (oom_unkillable_task in mm/oom_kill.c). */
	console_expect(priority_set(0, PRIORITY_DAEMON), "raise ", "priority");
}
