#include "options.h"

#include <stddef.h>
#include <string.h>

const char *const layer_names[LAYERS] = {
	[LAYER_USER] = "user",	       [LAYER_PID] = "pid",	    [LAYER_NET] = "net",
	[LAYER_IPC] = "ipc",	       [LAYER_UTS] = "uts",	    [LAYER_MOUNT] = "mount",
	[LAYER_CGROUP] = "cgroup",     [LAYER_IDS] = "ids",	    [LAYER_LIMITS] = "limits",
	[LAYER_LANDLOCK] = "landlock", [LAYER_SECCOMP] = "seccomp",
};

const char *const limit_names[LIMITS] = {
	[LIMIT_FILE_SIZE] = "file-size",
	[LIMIT_ADDRESS_SPACE] = "address-space",
	[LIMIT_OPEN_FILES] = "open-files",
	[LIMIT_THREADS] = "threads",
};

static bool number(const char *text, uint64_t max, uint64_t *into)
{
	uint64_t value = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (*text < '0' || *text > '9' || digit > max || value > (max - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*into = value;
	return true;
}

/* Returns whether a path contains `..`. The launcher refuses such a path, because in QEMU's new
 * root it could lead to another file than on the host. */
static bool goes_up(const char *path)
{
	size_t length = strlen(path);

	return strstr(path, "/../") || (length >= 3 && strcmp(path + length - 3, "/..") == 0);
}

/* The following functions set an option's field of struct options. They return false if the text of
 * the option's value is wrong. */
static bool add_path(void *field, const char *text)
{
	struct paths *paths = field;

	if (*text != '/' || goes_up(text) || paths->count == PATHS_MAX)
		return false;
	paths->at[paths->count++] = text;
	return true;
}

static bool add_file(void *field, const char *text)
{
	struct files *files = field;
	uint64_t value;

	if (files->count == FILES_MAX || !number(text, INT32_MAX, &value))
		return false;
	files->at[files->count++] = (int)value;
	return true;
}

static bool mark_layer(void *field, const char *text)
{
	bool *marked = field;

	for (unsigned i = 0; i < LAYERS; i++)
		if (strcmp(text, layer_names[i]) == 0)
			return marked[i] = true;
	return false;
}

static bool set_limit(void *field, const char *text)
{
	struct limits *limits = field;

	for (unsigned i = 0; i < LIMITS; i++) {
		size_t length = strlen(limit_names[i]);

		if (strncmp(text, limit_names[i], length) == 0 && text[length] == '=')
			return limits->given[i] = number(text + length + 1, INT64_MAX,
							 &limits->value[i]);
	}
	return false;
}

static const struct option {
	const char *name;
	size_t offset; /* offset in struct options of the field that the option sets */
	bool (*set)(void *field, const char *text); /* NULL if the field is a 32-bit number */
	uint32_t least, most;
} table[] = {
	{ "--controller", offsetof(struct options, controller), .least = 1, .most = INT32_MAX },
	{ "--status", offsetof(struct options, status), .least = 0, .most = INT32_MAX },
	{ "--cgroup", offsetof(struct options, cgroup), .least = 0, .most = INT32_MAX },
	{ "--uid", offsetof(struct options, uid), .least = 1, .most = UID_BASE_MAX },
	{ "--group", offsetof(struct options, group), .least = 0, .most = NO_GROUP - 1 },
	{ "--without", offsetof(struct options, left_out), .set = mark_layer },
	{ "--read", offsetof(struct options, read), .set = add_path },
	{ "--device", offsetof(struct options, devices), .set = add_path },
	{ "--file", offsetof(struct options, files), .set = add_file },
	{ "--disk", offsetof(struct options, disks), .set = add_file },
	{ "--writable", offsetof(struct options, writable), .set = add_file },
	{ "--limit", offsetof(struct options, limits), .set = set_limit },
};

static bool set(const struct option *option, struct options *options, const char *text)
{
	void *field = (char *)options + option->offset;
	uint64_t value;

	if (option->set)
		return option->set(field, text);
	if (!number(text, option->most, &value) || value < option->least)
		return false;
	*(uint32_t *)field = (uint32_t)value;
	return true;
}

/* Reads one option and its value. Returns the arguments behind the value, or NULL if the option or
 * the value is wrong. */
static char **read_one(struct options *options, char **arguments)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(arguments[0], table[i].name) == 0)
			return arguments[1] && set(&table[i], options, arguments[1]) ?
				       arguments + 2 :
				       NULL;
	return NULL;
}

const char *options_read(struct options *options, char **arguments)
{
	*options = (struct options){ .status = -1, .cgroup = -1, .group = NO_GROUP };
	while (*arguments && strcmp(*arguments, "--") != 0) {
		char **rest = read_one(options, arguments);

		if (!rest)
			return *arguments;
		arguments = rest;
	}
	options->program = *arguments && arguments[1] ? arguments + 1 : NULL;
	return NULL;
}
