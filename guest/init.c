/* init: the first process of a virtual machine, which mounts the root file system and executes
 * sandboxd.
 *
 *     Usage: /init [disk] [scratch]
 *
 * The root file system is an overlay, so that nothing a guest writes changes its lower layer. The
 * lower layer is the file system into which the kernel has unpacked init or, with the word `disk`,
 * the EROFS file system of a read-only disk. The upper layer is in memory or, with the word
 * `scratch`, on a second disk. The kernel passes these words to init from its command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "boot.h"
#include "console.h"

#define MERGED "/run/root"

/* Numbers of the descriptors that sandboxd inherits and keeps open. PACK_FD is the program that
 * archives changed files, UPPER_FD the overlay's upper layer, which holds these files, CARRY_FD the
 * program that copies files, and RELAY_FD the program that connects the host to servers. The root
 * file system has no path for them, so the host uses paths such as /proc/1/fd/3. */
enum { PACK_FD = 3, UPPER_FD = 4, CARRY_FD = 5, RELAY_FD = 6 };

const char console_name[] = "init: ";

/* Unless `done` is true, reports a failed step and resets the machine, because a guest cannot run
 * without its root file system. */
static void need(bool done, const char *step, const char *object)
{
	console_expect(done, step, object);
	if (!done)
		reboot(RB_AUTOBOOT);
}

static bool has_word(char *const *words, const char *word)
{
	while (*words)
		if (strcmp(*words++, word) == 0)
			return true;
	return false;
}

/* Loads the kernel modules 0.ko to 9.ko of a folder, or as many as exist. `path` is the path of
 * 0.ko. The builder of the image has numbered the modules in the order in which they must be
 * loaded. */
static void load_modules(char *path)
{
	for (char *number = path + strlen(path) - sizeof "0.ko" + 1; *number <= '9'; ++*number) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return;
		console_expect(syscall(SYS_finit_module, fd, "", 0) == 0, "load ", path);
		close(fd);
	}
}

/* Returns whether a disk is read-only, which shows that it has the root file system. To look for a
 * file system on the disk would take longer than all other steps of init. */
static bool is_read_only(const char *disk)
{
	int value = 0, fd = open(disk, O_RDONLY | O_CLOEXEC);
	bool is = ioctl(fd, BLKROGET, &value) == 0 && value;

	close(fd);
	return is;
}

/* Mounts a disk: the read-only one if `flags` has MS_RDONLY, otherwise the writable one. The path
 * of each disk varies, because the kernel names disks in the order in which it finds them. */
static void mount_disk(const char *target, const char *type, unsigned long flags,
		       const char *options)
{
	bool is_first = is_read_only("/dev/vda") == (flags == MS_RDONLY);
	const char *disk = is_first ? "/dev/vda" : "/dev/vdb";

	need(mount(disk, target, type, flags, options) == 0, "mount ", disk);
}

/* Mounts the overlay that becomes the root file system, even without a disk, because df and other
 * programs do not report the file system into which the kernel unpacks the initramfs. */
static bool mount_overlay(bool disk, bool scratch)
{
	static const char from_disk[] = "lowerdir=/lower,upperdir=/run/upper,workdir=/run/work";
	static const char from_memory[] = "lowerdir=/,upperdir=/run/upper,workdir=/run/work";

	mkdir("/run", 0755);
	/* Mount the scratch disk without write barriers, because its content is not used after this
	 * boot. So it need not be consistent after a loss of power. */
	if (scratch)
		mount_disk("/run", "ext4", MS_NOATIME, "nobarrier,noinit_itable,discard");
	else if (mount("tmpfs", "/run", "tmpfs", 0, "mode=700") < 0)
		return false;
	mkdir("/run/upper", 0755);
	mkdir("/run/work", 0700);
	mkdir(MERGED, 0755);
	if (mount("overlay", MERGED, "overlay", 0, disk ? from_disk : from_memory) == 0)
		return true;
	/* umount2 cannot fail here, so errno still says why mount has failed. */
	umount2("/run", MNT_DETACH);
	return false;
}

static bool enter_root(void)
{
	return chdir(MERGED) == 0 && mount(".", "/", NULL, MS_MOVE, NULL) == 0 && chroot(".") == 0;
}

/* Creates /root and /tmp, in case the image lacks them, because programs expect these folders. */
static void add_folders(void)
{
	struct stat status;

	mkdir("/root", 0700);
	mkdir("/tmp", 01777);
	if (stat("/tmp", &status) == 0 && (status.st_mode & 07777) != 01777)
		chmod("/tmp", 01777);
}

static void keep(int fd, int number)
{
	if (fd < 0 || fd == number)
		return;
	dup2(fd, number);
	close(fd);
}

int main(int argc, char **argv)
{
	char modules[] = "/lib/modules/0.ko", disk_modules[] = "/lib/modules/disk/0.ko";
	char *const name[] = { "sandboxd", NULL };
	bool disk = has_word(argv + 1, "disk"), scratch = has_word(argv + 1, "scratch");

	(void)argc;
	umask(0);
	load_modules(modules);
	if (disk || scratch) {
		load_modules(disk_modules);
		need(mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) == 0, "mount ", "/dev");
	}
	if (disk) {
		mkdir("/lower", 0755);
		mount_disk("/lower", "erofs", MS_RDONLY, NULL);
	}
	bool covered = mount_overlay(disk, scratch);

	/* If the overlay cannot be mounted, for example because the kernel lacks overlays, a
	 * machine without a disk uses the file system into which the kernel has unpacked the
	 * image's files. A machine with a disk is reset, because its files, or its space for
	 * changes, are only on the disk. */
	(disk || scratch ? need : console_expect)(covered, "cover ", "/");
	keep(open("/pack", O_RDONLY), PACK_FD);
	keep(open("/run/upper", O_RDONLY | O_DIRECTORY), UPPER_FD);
	keep(open("/carry", O_RDONLY), CARRY_FD);
	keep(open("/relay", O_RDONLY), RELAY_FD);
	int unpacked = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (covered)
		need(enter_root(), "enter ", "/");
	add_folders();
	boot_prepare();
	syscall(SYS_execveat, unpacked, *name, name, (char *const[]){ NULL }, 0);
	need(false, "execute ", *name);
	return 1;
}
