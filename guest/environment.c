#include "environment.h"

#include <string.h>

enum { PATH, HOME, USER, LOGNAME, SHELL, TERM, DEFAULTS };
static char *const defaults[DEFAULTS] = {
	[PATH] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	[HOME] = "HOME=/root",
	[USER] = "USER=root",
	[LOGNAME] = "LOGNAME=root",
	[SHELL] = "SHELL=/bin/sh",
	[TERM] = "TERM=dumb",
};

static char *argv[SANDBOXD_EXEC_REQUEST_ARGV_MAX_ITEMS + 1];
static char *envp[SANDBOXD_EXEC_REQUEST_ENV_MAX_ITEMS + DEFAULTS + 1];

/* In the frame, each string is followed by a byte that has been decoded already: the prefix of
 * what comes next. That byte becomes its terminator. */
static char *terminate(uint8_t *frame, struct sandboxd_slice slice)
{
	uint8_t *text = frame + (slice.data - frame);

	text[slice.size] = 0;
	return (char *)text;
}

/* An item's prefix terminates the item in front of it as soon as it has been read. */
static size_t collect(char **out, uint8_t *frame, struct sandboxd_list list)
{
	const uint8_t *at = list.items;
	uint8_t *end = frame + (list.items - frame);

	for (uint32_t i = 0; i < list.count; i++) {
		struct sandboxd_slice item = sandboxd_next(&at);

		*end = 0;
		out[i] = (char *)frame + (item.data - frame);
		end = frame + (at - frame);
	}
	*end = 0;
	out[list.count] = NULL;
	return list.count;
}

/* The value of the variable that `entry` names, as KEY=VALUE, in `list`; NULL without one. */
static const char *value_of(char **list, const char *entry)
{
	size_t key = (size_t)(strchr(entry, '=') - entry) + 1;

	for (; *list; list++)
		if (strncmp(*list, entry, key) == 0)
			return *list + key;
	return NULL;
}

static void add_defaults(size_t count)
{
	for (size_t i = 0; i < DEFAULTS; i++)
		if (!value_of(envp, defaults[i])) {
			envp[count++] = defaults[i];
			envp[count] = NULL;
		}
}

struct environment environment_of(const struct sandboxd_exec_request *request, uint8_t *frame)
{
	collect(argv, frame, request->argv);
	add_defaults(collect(envp, frame, request->env));
	return (struct environment){
		.command = terminate(frame, request->command),
		.cwd = terminate(frame, request->cwd),
		.user = terminate(frame, request->user),
		.argv = argv,
		.envp = envp,
		.path = value_of(envp, defaults[PATH]),
	};
}

/* Where a default stands in the environment, the same key with another value comes in its place. */
static void replace(char **list, int which, const char *value)
{
	static char texts[DEFAULTS][USER_LINE_MAX + 16];
	size_t key = strcspn(defaults[which], "=") + 1;

	memcpy(texts[which], defaults[which], key);
	memcpy(texts[which] + key, value, strlen(value) + 1);
	for (; *list; list++)
		if (*list == defaults[which])
			*list = texts[which];
}

void environment_become(struct environment *environment, const struct user *user)
{
	replace(environment->envp, HOME, user->home);
	replace(environment->envp, USER, user->name);
	replace(environment->envp, LOGNAME, user->name);
	/* passwd(5): an empty one means /bin/sh, which is the default. */
	if (*user->shell)
		replace(environment->envp, SHELL, user->shell);
}
