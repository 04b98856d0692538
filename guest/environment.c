#include "environment.h"

#include <string.h>

static char *const defaults[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
	"USER=root",
	"LOGNAME=root",
	"SHELL=/bin/sh",
	"TERM=dumb",
};
enum { DEFAULTS = sizeof defaults / sizeof defaults[0] };

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
		.argv = argv,
		.envp = envp,
		.path = value_of(envp, defaults[0]),
	};
}
