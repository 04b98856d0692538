#include "namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

const char *namespace_leave(int kind)
{
	return unshare(kind) == 0 ? NULL : strerror(errno);
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), error;
	ssize_t size = fd < 0 ? -1 : write(fd, text, strlen(text));

	error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	return size >= 0;
}

/* Maps a uid or a gid to itself in a new user namespace, so that files have the same owner inside
 * the namespace as outside. */
static bool map(const char *path, unsigned id)
{
	char line[32];

	snprintf(line, sizeof line, "%u %u 1", id, id);
	return write_file(path, line);
}

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
