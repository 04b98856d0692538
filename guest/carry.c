/* carry: copies and changes files of the guest for the host.
 *
 *     Usage: carry DIGEST
 *
 * carry reads a request from standard input and answers it on standard output, in the frames of
 * files.h. DIGEST is the digest of the schema of these frames. If carry was compiled with another
 * schema, it exits with status 2. It is started as root, and then changes to the user that the
 * request names. It needs no programs or libraries of the image in which it runs. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "change.h"
#include "decimal.h"
#include "exchange.h"
#include "target.h"
#include "user.h"

enum { OTHER_SCHEMA = 2 };

static struct request {
	char path[PATH_MAX], new_path[PATH_MAX], cwd[PATH_MAX];
	char pattern[FILES_REQUEST_PATTERN_MAX + 1], name[FILES_REQUEST_NAME_MAX + 1];
	char user[FILES_REQUEST_USER_MAX + 1], owner[FILES_REQUEST_OWNER_MAX + 1];
} request;

static void find(struct user *user, enum files_subject subject, const char *text)
{
	if (!user_find(text, user))
		end_failed(subject, ENOENT, text);
}

static bool is_relative(const char *path)
{
	return *path && *path != '/';
}

/* Becomes the user of the request. Changes to the folder in which the daemon would start a command
 * of this user, so that a relative path means the same file for carry as for a command. */
static void act_as_user(void)
{
	static struct user user = { .home = "/root" };

	if (*request.user) {
		find(&user, FILES_SUBJECT_USER, request.user);
		user_settle(&user);
		if (!user_become(&user))
			end_failed(FILES_SUBJECT_USER, errno, request.user);
	}
	if ((is_relative(request.path) || is_relative(request.new_path)) &&
	    !user_enter(&user, request.cwd))
		end_failed(FILES_SUBJECT_PATH, errno, *request.cwd ? request.cwd : user.home);
}

static _Noreturn void serve(const struct files_request *what)
{
	static struct user owner;
	struct target target = { .path = request.path, .name = request.name };
	uint8_t action = what->action;
	bool recursive = what->recursive != 0, idempotent = what->idempotent != 0;

	target.mode_rule = (enum files_mode_rule)what->mode_rule;
	target.replace = what->replace != 0;
	copy_text(request.path, &what->path);
	copy_text(request.new_path, &what->new_path);
	copy_text(request.pattern, &what->pattern);
	copy_text(request.cwd, &what->cwd);
	copy_text(request.name, &what->name);
	copy_text(request.user, &what->user);
	copy_text(request.owner, &what->owner);
	target.owned = *request.owner != 0;
	if (target.owned)
		find(&owner, FILES_SUBJECT_OWNER, request.owner);
	target.uid = owner.uid;
	target.gid = owner.gid;
	act_as_user();
	switch (action) {
	case FILES_ACTION_STAT:
	case FILES_ACTION_LSTAT:
		source_stat(request.path, action == FILES_ACTION_STAT);
	case FILES_ACTION_LIST:
	case FILES_ACTION_LIST_TARGETS:
		source_list(request.path, action == FILES_ACTION_LIST_TARGETS);
	case FILES_ACTION_MATCH:
		source_match(request.path, request.pattern);
	case FILES_ACTION_RESOLVE:
		source_resolve(request.path);
	case FILES_ACTION_READ:
	case FILES_ACTION_GET:
		source_get(request.path, action == FILES_ACTION_GET);
	case FILES_ACTION_MAKE_FOLDER:
		change_make_folder(&target, recursive, idempotent);
	case FILES_ACTION_REMOVE:
		change_remove(request.path, recursive, idempotent);
	case FILES_ACTION_RENAME:
		change_rename(request.path, request.new_path);
	default:
		target_put(&target);
	}
}

int main(int argc, char **argv)
{
	enum files_type type;
	union files_body body;

	if (argc < 2 || !is_hexadecimal(argv[1], FILES_SCHEMA_DIGEST))
		return OTHER_SCHEMA;
	if (!receive(&type, &body))
		return EXIT_FAILURE;
	serve(&body.request);
}
