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

static bool add_path(struct paths *paths, const char *text)
{
	if (*text != '/' || goes_up(text) || paths->count == PATHS_MAX)
		return false;
	paths->at[paths->count++] = text;
	return true;
}

static bool descriptor(const char *text, int *into)
{
	uint64_t value;

	if (!number(text, INT32_MAX, &value))
		return false;
	*into = (int)value;
	return true;
}

static bool add_file(struct files *files, const char *text)
{
	return files->count < FILES_MAX && descriptor(text, &files->at[files->count]) &&
	       ++files->count;
}

static bool mark_layer(bool marked[LAYERS], const char *text)
{
	for (unsigned i = 0; i < LAYERS; i++)
		if (strcmp(text, layer_names[i]) == 0)
			return marked[i] = true;
	return false;
}

static bool set_limit(struct options *options, const char *text)
{
	for (unsigned i = 0; i < LIMITS; i++) {
		size_t length = strlen(limit_names[i]);

		if (strncmp(text, limit_names[i], length) == 0 && text[length] == '=')
			return options->limited[i] = number(text + length + 1, INT64_MAX,
							    &options->limits[i]);
	}
	return false;
}

static bool set_controller(struct options *options, const char *text)
{
	uint64_t value;

	if (!number(text, INT32_MAX, &value) || value == 0)
		return false;
	options->controller = (pid_t)value;
	return true;
}

static bool set_status(struct options *options, const char *text)
{
	return descriptor(text, &options->status);
}

static bool set_cgroup(struct options *options, const char *text)
{
	return descriptor(text, &options->cgroup);
}

static bool set_uid(struct options *options, const char *text)
{
	uint64_t value;

	if (!number(text, UID_BASE_MAX, &value) || value == 0)
		return false;
	options->uid = (uid_t)value;
	return options->has_uid = true;
}

static bool set_group(struct options *options, const char *text)
{
	uint64_t value;

	if (!number(text, UINT32_MAX - 1, &value))
		return false;
	options->group = (gid_t)value;
	return options->has_group = true;
}

static bool set_required(struct options *options, const char *text)
{
	return mark_layer(options->required, text);
}

static bool set_left_out(struct options *options, const char *text)
{
	return mark_layer(options->left_out, text);
}

static bool add_read(struct options *options, const char *text)
{
	return add_path(&options->read, text);
}

static bool add_device(struct options *options, const char *text)
{
	return add_path(&options->devices, text);
}

static bool add_readable(struct options *options, const char *text)
{
	return add_file(&options->files, text);
}

static bool add_disk(struct options *options, const char *text)
{
	return add_file(&options->disks, text);
}

static bool add_writable(struct options *options, const char *text)
{
	return add_file(&options->writable, text);
}

static const struct {
	const char *name;
	bool (*set)(struct options *options, const char *text);
} table[] = {
	{ "--controller", set_controller },
	{ "--status", set_status },
	{ "--require", set_required },
	{ "--without", set_left_out },
	{ "--read", add_read },
	{ "--device", add_device },
	{ "--file", add_readable },
	{ "--disk", add_disk },
	{ "--writable", add_writable },
	{ "--uid", set_uid },
	{ "--group", set_group },
	{ "--limit", set_limit },
	{ "--cgroup", set_cgroup },
};

/* Reads one option and its value. Returns the arguments behind the value, or NULL if the option or
 * the value is wrong. */
static char **read_one(struct options *options, char **arguments)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(arguments[0], table[i].name) == 0)
			return arguments[1] && table[i].set(options, arguments[1]) ? arguments + 2 :
										     NULL;
	return NULL;
}

const char *options_read(struct options *options, char **arguments)
{
	*options = (struct options){ .status = -1, .cgroup = -1 };
	while (*arguments && strcmp(*arguments, "--") != 0) {
		char **rest = read_one(options, arguments);

		if (!rest)
			return *arguments;
		arguments = rest;
	}
	if (!*arguments || !arguments[1])
		return "no program";
	options->program = arguments + 1;
	return NULL;
}
