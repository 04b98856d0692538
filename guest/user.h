/* Users and groups, as /etc/passwd and /etc/group have them. Only for a process that may block. */
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
	/* Of a number that is not in /etc/passwd: itself, `/`, empty. */
	const char *name, *home, *shell;
};

/* Finds whom `NAME`, `UID` or either with `:GROUP` means; false when there is none. */
bool user_find(const char *text, struct user *user);

/* Gives the user a home. Unless `home` exists and belongs to the user, the home becomes
 * /home/UID, which is created. If that fails, `home` stays. Only root may create it, so call
 * this before the process becomes the user. */
void user_settle(struct user *user);

/* Enters the home, or `/` if that fails. Returns false if neither can be entered. */
bool user_enter_home(const struct user *user);

#endif
