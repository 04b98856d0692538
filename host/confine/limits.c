/* Sets the resource limits of QEMU, such as the maximum number of open files. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "options.h"
#include "status.h"

static const struct {
	int resource;
	/* True if only the soft limit is set, and not the hard limit. The controller, which is the
	 * process that started the launcher, can then raise the limit of a running QEMU to save a
	 * snapshot. */
	bool is_soft;
} kinds[LIMITS] = {
	[LIMIT_FILE_SIZE] = { RLIMIT_FSIZE, true },
	[LIMIT_ADDRESS_SPACE] = { RLIMIT_AS, false },
	[LIMIT_OPEN_FILES] = { RLIMIT_NOFILE, false },
	[LIMIT_THREADS] = { RLIMIT_NPROC, false },
};

/* Returns whether the kernel counts the threads and processes of a user separately in each user
 * namespace, as it does since Linux 5.14. */
static bool counts_by_namespace(void)
{
	struct utsname name;
	char *rest;
	long major, minor;

	if (uname(&name) < 0)
		return false;
	major = strtol(name.release, &rest, 10);
	minor = *rest == '.' ? strtol(rest + 1, NULL, 10) : 0;
	return major > 5 || (major == 5 && minor >= 14);
}

static bool set(int resource, rlim_t value, bool is_soft)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return false;
	limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
	if (!is_soft)
		limit.rlim_max = limit.rlim_cur;
	return setrlimit(resource, &limit) == 0;
}

/* Returns whether a limit of threads would count only QEMU's threads. A limit that also counts the
 * user's other processes must not be set. */
static bool counts_threads(const struct options *options)
{
	return options->uid ? status_holds(LAYER_IDS) :
			      status_holds(LAYER_USER) && counts_by_namespace();
}

const char *limits_set(const struct options *options, char detail[static DETAIL_SIZE])
{
	const struct limits *limits = &options->limits;

	/* Limit core dumps to 1 byte instead of 0. With 0, the kernel would still write a core dump
	 * if the core pattern is a pipe to a program (core(5)). Limit queued signals to a few,
	 * because the kernel counts those of all processes of a user together. Without this limit,
	 * QEMU could use up the limit of the user's other processes. */
	if (!set(RLIMIT_CORE, 1, false) || !set(RLIMIT_SIGPENDING, 256, false))
		return strerror(errno);
	strcpy(detail, "core");
	for (unsigned i = 0; i < LIMITS; i++) {
		if (!limits->given[i] || (i == LIMIT_THREADS && !counts_threads(options)))
			continue;
		if (!set(kinds[i].resource, limits->value[i], kinds[i].is_soft))
			return strerror(errno);
		/* The size need not be checked, because `detail` has room for the names of all
		 * limits. */
		strcat(strcat(detail, " "), limit_names[i]);
	}
	/* Ignore SIGXFSZ, so that a write beyond the limit of file size fails with an error, which
	 * QEMU handles, and does not kill QEMU. */
	signal(SIGXFSZ, SIG_IGN);
	return NULL;
}
