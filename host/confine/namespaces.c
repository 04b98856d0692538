/* Moves this process to new namespaces, in which there are no other processes, and to the cgroup of
 * QEMU. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "options.h"

const char *namespace_leave(int kind)
{
	return unshare(kind) == 0 ? NULL : strerror(errno);
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) >= 0;

	if (fd >= 0)
		close(fd);
	return done;
}

/* Maps a uid or a gid to itself in a new user namespace, so that files have the same owner inside
 * the namespace as outside. */
static bool map(const char *path, unsigned id)
{
	char line[32];

	snprintf(line, sizeof line, "%u %u 1", id, id);
	return write_file(path, line);
}

/* Maps the uid and the gid of this process to themselves in the new user namespace, to which
 * namespace_leave has moved this process. */
const char *namespace_map(const struct options *options, char detail[static DETAIL_SIZE])
{
	/* Get the uid and the gid with which the launcher was executed from the auxiliary vector.
	 * They are not mapped in the new namespace yet, so geteuid and getegid do not return
	 * them. */
	unsigned uid = (unsigned)getauxval(AT_EUID), gid = (unsigned)getauxval(AT_EGID);

	(void)options, (void)detail;
	/* Deny setgroups first, because otherwise only root on the host may write to gid_map. */
	return write_file("/proc/self/setgroups", "deny") && map("/proc/self/gid_map", gid) &&
			       map("/proc/self/uid_map", uid) ?
		       NULL :
		       strerror(errno);
}

const char *cgroup_join(const struct options *options, char detail[static DETAIL_SIZE])
{
	if (options->cgroup < 0)
		return "no cgroup was created for QEMU";
	if (write(options->cgroup, "0", 1) < 0)
		return strerror(errno);
	/* Enter a new cgroup namespace only after joining the cgroup, so that this cgroup is the
	 * root of the namespace. */
	if (!namespace_leave(CLONE_NEWCGROUP))
		strcpy(detail, "with a cgroup namespace");
	return NULL;
}
