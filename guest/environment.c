/* The arguments and the environment of a command, in the form that execve takes. */
#include <string.h>

#include "spawn.h"

enum { PATH, HOME, USER, LOGNAME, SHELL, TERM, DEFAULTS };
static char *const defaults[DEFAULTS] = {
	[PATH] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	[HOME] = "HOME=/root",
	[USER] = "USER=root",
	[LOGNAME] = "LOGNAME=root",
	[SHELL] = "SHELL=/bin/sh",
	[TERM] = "TERM=dumb",
};

enum {
	ARGUMENTS = SANDBOXD_EXEC_REQUEST_ARGV_MAX_ITEMS +
		SANDBOXD_EXEC_REQUEST_MORE_ARGV_MAX_ITEMS,
	VARIABLES = SANDBOXD_EXEC_REQUEST_ENV_MAX_ITEMS + SANDBOXD_EXEC_REQUEST_MORE_ENV_MAX_ITEMS,
};
static char *argv[ARGUMENTS + 1];
static char *envp[VARIABLES + DEFAULTS + 1];

/* Adds a NUL to a string of a received frame, without copying the string to other memory. Moves the
 * string one byte to the left, over the last byte of its encoded length, which is no longer needed.
 * That leaves room for the NUL, so the bytes behind the string stay intact. */
static char *terminate(uint8_t *frame, struct sandboxd_slice slice)
{
	uint8_t *text = frame + (slice.data - frame) - 1;

	memmove(text, slice.data, slice.size);
	text[slice.size] = 0;
	return (char *)text;
}

static size_t collect(char **out, uint8_t *frame, struct sandboxd_list list)
{
	const uint8_t *at = list.items;

	for (uint32_t i = 0; i < list.count; i++)
		out[i] = terminate(frame, sandboxd_next(&at));
	out[list.count] = NULL;
	return list.count;
}

/* Returns the value that the environment `list` contains for the variable KEY, where `entry` has
 * the form KEY=VALUE. Returns NULL if `list` does not contain this variable. */
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
	size_t arguments = collect(argv, frame, request->argv);
	size_t variables = collect(envp, frame, request->env);

	collect(argv + arguments, frame, request->more_argv);
	variables += collect(envp + variables, frame, request->more_env);
	add_defaults(variables);
	return (struct environment){
		.command = terminate(frame, request->command),
		.cwd = terminate(frame, request->cwd),
		.user = terminate(frame, request->user),
		.argv = argv,
		.envp = envp,
		.path = value_of(envp, defaults[PATH]),
	};
}

/* Replaces the default value of a variable in the environment, unless the request has set this
 * variable. */
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
	/* Keep the default /bin/sh if the user's shell in /etc/passwd is empty, because an empty
	 * shell means /bin/sh there (passwd(5)). */
	if (*user->shell)
		replace(environment->envp, SHELL, user->shell);
}
