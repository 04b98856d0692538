/* Attempts on files of the host, which the attacker opens by their paths. */
#define _GNU_SOURCE
#include "attack.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static long opened(const char *path, int flags)
{
	return closing(open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600));
}

static long read_secret(void)
{
	return opened(below("secret"), O_RDONLY);
}

static long write_secret(void)
{
	return opened(below("secret"), O_WRONLY);
}

static long openat2_secret(void)
{
	struct {
		unsigned long long flags, mode, resolve;
	} how = { O_RDONLY, 0, 0 };

	return closing((int)syscall(SYS_openat2, AT_FDCWD, below("secret"), &how, sizeof how));
}

static long through_own_root(void)
{
	char path[600];

	snprintf(path, sizeof path, "/proc/self/root%s", below("secret"));
	return opened(path, O_RDONLY);
}

static long root_of(int pid)
{
	char path[600];

	snprintf(path, sizeof path, "/proc/%d/root%s", pid, below("secret"));
	return opened(path, O_RDONLY);
}

static long through_their_root(void)
{
	return victims(root_of);
}

static long path_and_reopen(void)
{
	char path[40];
	long found;
	int fd = open(below("secret"), O_PATH | O_CLOEXEC);

	if (fd < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	found = opened(path, O_RDONLY);
	closing(fd);
	return found;
}

static long read_template(void)
{
	return opened(below("other"), O_RDONLY);
}

static long write_template(void)
{
	return opened(below("other"), O_WRONLY);
}

static long list_folder(void)
{
	char names[1024];
	int fd = open(told("folder"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long found = fd < 0 ? -1 : syscall(SYS_getdents64, fd, names, sizeof names);

	closing(fd);
	return found;
}

static long create_file(void)
{
	return opened(below("created"), O_CREAT | O_WRONLY);
}

static long unnamed_file(void)
{
	return opened(told("folder"), O_TMPFILE | O_RDWR);
}

static long temporary_file(void)
{
	const char *const folders[] = { "/tmp", "/var/tmp", "/dev/shm", "/run", "/dev/mqueue" };
	char path[60];

	for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
		snprintf(path, sizeof path, "%s/attack-%d", folders[i], getpid());
		if (opened(path, O_CREAT | O_EXCL | O_WRONLY) >= 0)
			return unlink(path) * 0;
	}
	return -1;
}

static long write_own_root(void)
{
	long found = opened("/attack", O_CREAT | O_WRONLY);

	if (found >= 0)
		unlink("/attack");
	return found;
}

static long write_program(void)
{
	return opened("/proc/self/exe", O_WRONLY);
}

static long rename_file(void)
{
	return rename(below("rename"), below("renamed"));
}

static long exchange_files(void)
{
	return renameat2(AT_FDCWD, below("exchange"), AT_FDCWD, below("exchanged"), 2);
}

static long unlink_file(void)
{
	return unlink(below("unlink"));
}

static long link_file(void)
{
	return link(below("link"), below("linked"));
}

static long symlink_file(void)
{
	return symlink("/", below("symlinked"));
}

static long make_folder(void)
{
	return mkdir(below("folder"), 0700);
}

static long remove_folder(void)
{
	return rmdir(below("rmdir"));
}

static long make_fifo(void)
{
	return mknod(below("fifo"), S_IFIFO | 0600, 0);
}

static long chmod_file(void)
{
	return chmod(below("chmod"), 0666);
}

static long fchmodat2_file(void)
{
	return syscall(SYS_fchmodat2, AT_FDCWD, below("chmod"), 0666, 0);
}

static long chown_file(void)
{
	return chown(below("chmod"), (uid_t)-1, (gid_t)-1);
}

static long setxattr_file(void)
{
	return setxattr(below("chmod"), "user.attack", "x", 1, 0);
}

static long touch_file(void)
{
	return utimensat(AT_FDCWD, below("chmod"), NULL, 0);
}

static long truncate_file(void)
{
	return truncate(below("truncate"), 0);
}

static long watch_folder(void)
{
	int fd = inotify_init1(IN_CLOEXEC);
	long found = fd < 0 ? -1 : inotify_add_watch(fd, told("folder"), IN_ALL_EVENTS);

	closing(fd);
	return found;
}

static long make_inotify(void)
{
	return closing(inotify_init1(IN_CLOEXEC));
}

static long fanotify_folder(void)
{
	int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);
	long found = fd < 0 ? -1 :
			      fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, told("folder"));

	closing(fd);
	return found;
}

static long open_handle(void)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} found = { .handle = { .handle_bytes = MAX_HANDLE_SZ } };
	int mount;

	if (name_to_handle_at(AT_FDCWD, "/", &found.handle, &mount, 0) != 0)
		return -1;
	return closing(open_by_handle_at(AT_FDCWD, &found.handle, O_RDONLY | O_CLOEXEC));
}

/* Return 0 if the kernel would execute the program. The address of the arguments is invalid, and
 * the kernel opens the program before it reads them, so EFAULT shows that the program could be
 * opened. */
static long executes(const char *path)
{
	long found = syscall(SYS_execve, path, 8L, 8L);

	return found == -1 && errno == EFAULT ? 0 : found;
}

static long execute_theirs(void)
{
	return executes(below("program"));
}

static long execute_setuid(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? fail(EPERM) : executes("/bin/su");
}

static const struct attempt rows[] = {
	{ "open a secret to read", OPEN, "the user's keys and passwords", read_secret },
	{ "open a secret to write", OPEN, "the user's files changed", write_secret },
	{ "openat2 of a secret", OPEN, "the same by a newer call", openat2_secret },
	{ "open /proc/self/root/…", OPEN, "the same round an empty root", through_own_root },
	{ "open /proc/PID/root/…", OPEN, "the same through another's root", through_their_root },
	{ "open O_PATH, then anew", OPEN, "the same through a descriptor", path_and_reopen },
	{ "open another template to read", OPEN, "what other guests have in memory",
	  read_template },
	{ "open another template to write", OPEN, "guests that are cloned from it",
	  write_template },
	{ "getdents of a folder", OPEN, "the names of the user's files", list_folder },
	{ "open O_CREAT", OPEN, "a file in the user's folder, such as .bashrc", create_file },
	{ "open O_TMPFILE", OPEN, "the user's disk filled, out of sight", unnamed_file },
	{ "open a file in /tmp or /dev/shm", OPEN, "files that others trust, memory filled",
	  temporary_file },
	{ "open a file in its own root", SHUT, "a place to keep programs", write_own_root },
	{ "open its own program to write", SHUT, "every later QEMU", write_program },
	{ "rename", OPEN, "the user's files replaced", rename_file },
	{ "renameat2 RENAME_EXCHANGE", OPEN, "the same", exchange_files },
	{ "unlink", OPEN, "the user's files lost", unlink_file },
	{ "link", OPEN, "a file kept that the user removes", link_file },
	{ "symlink", OPEN, "a trap for whoever follows it", symlink_file },
	{ "mkdir", OPEN, "the user's folders", make_folder },
	{ "rmdir", OPEN, "the same", remove_folder },
	{ "mknod", OPEN, "a FIFO that blocks its readers", make_fifo },
	{ "chmod", OPEN, "a secret that all can read", chmod_file },
	{ "fchmodat2", OPEN, "the same by a newer call", fchmodat2_file },
	{ "chown", OPEN, "the user's files changed", chown_file },
	{ "setxattr", OPEN, "the same", setxattr_file },
	{ "utimensat", OPEN, "the same", touch_file },
	{ "truncate", OPEN, "the user's files emptied", truncate_file },
	{ "inotify_add_watch", OPEN, "what the user does", watch_folder },
	{ "inotify_init1", OPEN, "all of the instances that a user may have", make_inotify },
	{ "fanotify_mark", OPEN, "what the user does", fanotify_folder },
	{ "open_by_handle_at", SHUT, "any file, round every path", open_handle },
	{ "execve of a file of the user's", OPEN, "the user's programs", execute_theirs },
	{ "execve of a program with the bit setuid", OPEN, "its privileges", execute_setuid },
	{ "chroot", SHUT, "a root in which it is believed", RAW(SYS_chroot, P("/")) },
	{ "mount", SHUT, "another root",
	  RAW(SYS_mount, P("none"), P("/"), P("tmpfs"), MS_NOSUID, P("")) },
	{ "umount2", SHUT, "what lies below a mount", RAW(SYS_umount2, P("/proc"), MNT_DETACH) },
	{ "pivot_root", SHUT, "another root", RAW(SYS_pivot_root, P("/"), P("/")) },
	{ "fsopen", SHUT, "a file system of its own", RAW(SYS_fsopen, P("tmpfs"), 0) },
	{ "open_tree OPEN_TREE_CLONE", SHUT, "the same", RAW(SYS_open_tree, AT_FDCWD, P("/"), 1) },
	{ "mount_setattr", SHUT, "a root that can be written",
	  RAW(SYS_mount_setattr, AT_FDCWD, P("/"), 0, P(secret), 32) },
	{ "sync", OPEN, "all disks kept busy", RAW(SYS_sync) },
	{ "quotactl", SHUT, "the user's quota", RAW(SYS_quotactl, 0x800001, 0, 0, 0) },
	{ "swapoff", SHUT, "the host's memory", RAW(SYS_swapoff, P("/dev/null")) },
	{ "acct", SHUT, "a file written by the kernel", RAW(SYS_acct, P("/dev/null")) },
};

const struct attempts files = { "Files", rows, sizeof rows / sizeof rows[0] };
