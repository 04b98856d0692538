/* Looks up users and groups in /etc/passwd and /etc/group, and changes to a user. Reading these
 * files may block, so PID 1 must not call these functions. */
#ifndef USER_H
#define USER_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

enum { USER_GROUPS_MAX = 64, USER_LINE_MAX = 1024 };

struct user {
	uid_t uid;
	gid_t gid;
	int group_count;
	gid_t groups[USER_GROUPS_MAX];
	/* Name, home and shell as in /etc/passwd. If the uid is not listed there: the uid in
	 * decimal, `/`, and an empty string. */
	const char *name, *home, *shell;
};

/* Finds the user that `text` names: `NAME` or `UID`, optionally with `:GROUP`. Returns false if
 * there is no such user or group. */
bool user_find(const char *text, struct user *user);

/* Makes sure that the user has a usable home. If `home` is not a folder of the user, creates
 * /home/UID and sets `home` to it. If this fails, `home` stays as it is. Only root can do this, so
 * it must be called before the process changes its uid. */
void user_settle(struct user *user);

/* Changes the user and the groups of this process. Returns false if the kernel refuses. */
bool user_become(const struct user *user);

/* Changes to the folder `cwd`. If it is empty, changes to the user's home, or to `/` if that fails.
 * Returns false, with errno, on failure. */
bool user_enter(const struct user *user, const char *cwd);

#endif
