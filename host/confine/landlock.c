/* Restricts QEMU's access to files, TCP and other processes with Landlock, a security module of
 * Linux. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "options.h"

/* Definitions of linux/landlock.h, which musl lacks. */
enum { CREATE_RULESET_VERSION = 1, RULE_PATH_BENEATH = 1 };
enum {
	EXECUTE = 1 << 0,
	WRITE_FILE = 1 << 1,
	READ_FILE = 1 << 2,
	READ_DIR = 1 << 3,
	TRUNCATE = 1 << 14,
	IOCTL_DEV = 1 << 15,
	OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV,
};

struct ruleset {
	uint64_t files;
	uint64_t net;
	uint64_t scoped;
};

struct path_beneath {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));

/* The accesses that each version of Landlock's ABI can restrict. The version is the index. */
static const struct ruleset by_version[] = {
	{ 0 },
	{ (1 << 13) - 1, 0, 0 },
	{ (1 << 14) - 1, 0, 0 },
	{ (1 << 15) - 1, 0, 0 },
	{ (1 << 15) - 1, 3, 0 },
	{ (1 << 16) - 1, 3, 0 },
	{ (1 << 16) - 1, 3, 3 },
};

enum { NEWEST = sizeof by_version / sizeof *by_version - 1 };

/* Returns the size of a ruleset up to its last field that is not 0. An older kernel knows fewer
 * fields, and accepts nothing but zeros behind them. */
static size_t size_of(const struct ruleset *ruleset)
{
	return ruleset->scoped ? sizeof *ruleset :
	       ruleset->net    ? offsetof(struct ruleset, scoped) :
				 offsetof(struct ruleset, net);
}

struct rules {
	int fd;
	uint64_t handled;
};

static bool allow(const struct rules *rules, int fd, uint64_t access)
{
	struct stat status;
	struct path_beneath rule = { .allowed = access & rules->handled, .parent = fd };

	if (fstat(fd, &status) < 0)
		return false;
	if (!S_ISDIR(status.st_mode))
		rule.allowed &= OF_FILES;
	if (syscall(SYS_landlock_add_rule, rules->fd, RULE_PATH_BENEATH, &rule, 0) == 0)
		return true;
	/* The call fails with EBADFD for a file that is in no mounted file system, such as a memfd.
	 * Landlock does not restrict such a file, so the file needs no rule. */
	return errno == EBADFD;
}

/* Allows access to those of the paths that exist. A path that does not exist needs no rule. */
static bool allow_paths(const struct rules *rules, const struct paths *paths, uint64_t access)
{
	bool done = true;

	for (unsigned i = 0; done && i < paths->count; i++) {
		int fd = open(paths->at[i], O_PATH | O_CLOEXEC);

		if (fd < 0)
			continue;
		done = allow(rules, fd, access);
		close(fd);
	}
	return done;
}

static bool allow_files(const struct rules *rules, const struct files *files, uint64_t access)
{
	bool done = true;

	for (unsigned i = 0; done && i < files->count; i++)
		done = allow(rules, files->at[i], access);
	return done;
}

static bool allow_all(const struct rules *rules, const struct options *options)
{
	static const struct paths null = { 1, { "/dev/null" } };
	const uint64_t written = READ_FILE | WRITE_FILE | TRUNCATE;

	return allow_paths(rules, &options->read, EXECUTE | READ_FILE | READ_DIR) &&
	       allow_paths(rules, &options->devices, READ_FILE | WRITE_FILE | IOCTL_DEV) &&
	       allow_paths(rules, &null, written) &&
	       allow_files(rules, &options->files, READ_FILE) &&
	       allow_files(rules, &options->disks, READ_FILE) &&
	       allow_files(rules, &options->writable, written);
}

const char *landlock_restrict(const struct options *options, char detail[static DETAIL_SIZE])
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
	const struct ruleset *held;
	struct rules rules;
	bool done;

	if (version < 1)
		return version < 0 ? strerror(errno) : "the kernel supports no version of Landlock";
	held = &by_version[version < NEWEST ? version : NEWEST];
	rules.handled = held->files;
	rules.fd = (int)syscall(SYS_landlock_create_ruleset, held, size_of(held), 0);
	if (rules.fd < 0)
		return strerror(errno);
	done = allow_all(&rules, options) && syscall(SYS_landlock_restrict_self, rules.fd, 0) == 0;
	if (!done)
		return strerror(errno);
	close(rules.fd);
	snprintf(detail, DETAIL_SIZE, "ABI %ld", version);
	return NULL;
}
