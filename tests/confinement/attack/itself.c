/* Attempts of the attacking process to survive the controller, and to change its own limits and
 * privileges. */
#define _GNU_SOURCE
#include "attack.h"
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Attempts to outlive the controller, the process that started this one. */

static long undone(void)
{
	return prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
}

static long forked(long child)
{
	if (child == 0)
		_exit(0);
	if (child > 0)
		waitpid((pid_t)child, NULL, __WALL);
	return child;
}

static long fork_it(void)
{
	return forked(syscall(SYS_fork));
}

static long clone_it(void)
{
	return forked(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static long clone_for_parent(void)
{
	return forked(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0));
}

static long clone3_it(void)
{
	unsigned long long arguments[8] = { [4] = SIGCHLD };

	return forked(syscall(SYS_clone3, arguments, sizeof arguments));
}

static long vfork_it(void)
{
	pid_t child = vfork();

	if (child == 0)
		_exit(0);
	return child;
}

static long raise_limits(void)
{
	struct rlimit limit;

	for (unsigned which = 0; which < RLIM_NLIMITS; which++) {
		if (prlimit(0, which, NULL, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
			continue;
		limit.rlim_cur = limit.rlim_max;
		return prlimit(0, which, &limit, NULL);
	}
	return fail(EPERM);
}

static long setrlimit_it(void)
{
	unsigned long limit[2];

	if (syscall(SYS_getrlimit, RLIMIT_FSIZE, limit) != 0)
		return -1;
	limit[0] = limit[1];
	return syscall(SYS_setrlimit, RLIMIT_FSIZE, limit);
}

static long all_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct sets[2] = { { ~0U, ~0U, 0 }, { 0, 0, 0 } };

	return syscall(SYS_capset, &header, sets);
}

/* Queue 1000 signals for this process, which blocks them. The kernel counts queued signals for the
 * user until they are received, so the user's other processes could queue no more. */
static long signals_queued(void)
{
	const int number = SIGRTMIN + 3;
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, number);
	if (sigprocmask(SIG_BLOCK, &one, NULL) != 0)
		return -1;
	for (int i = 0; i < 1000; i++)
		if (syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number) != 0)
			return -1;
	return 0;
}

static const struct attempt rows[] = {
	{ "prctl PR_SET_PDEATHSIG", OPEN, "a life beyond the controller's", undone },
	{ "fork", OPEN, "the same, in a child", fork_it },
	{ "vfork", OPEN, "the same", vfork_it },
	{ "clone of a process", OPEN, "the same", clone_it },
	{ "clone CLONE_PARENT", OPEN, "a child that the controller does not know",
	  clone_for_parent },
	{ "clone3", OPEN, "a life beyond the controller's", clone3_it },
	{ "prlimit64 of itself", OPEN, "a limit that is not one", raise_limits },
	{ "setrlimit", OPEN, "the same", setrlimit_it },
	{ "setuid of root", SHUT, "root", RAW(SYS_setuid, 0) },
	{ "setresuid", OPEN, "a death signal that is forgotten", RAW(SYS_setresuid, -1, -1, -1) },
	{ "setgroups", SHUT, "other groups' files", RAW(SYS_setgroups, 0, 0) },
	{ "capset", SHUT, "capabilities", all_capabilities },
	{ "prctl PR_CAP_AMBIENT", SHUT, "the same", RAW(SYS_prctl, PR_CAP_AMBIENT, 2, 21, 0, 0) },
	{ "prctl PR_SET_SECUREBITS", SHUT, "the same",
	  RAW(SYS_prctl, PR_SET_SECUREBITS, 0, 0, 0, 0) },
	{ "prctl PR_SET_MM", SHUT, "what ps shows of it",
	  RAW(SYS_prctl, PR_SET_MM, PR_SET_MM_BRK, 0, 0, 0) },
	{ "prctl PR_SET_CHILD_SUBREAPER", OPEN, "children of children",
	  RAW(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) },
	{ "tgkill of itself, a thousand times", OPEN,
	  "the signals that a user's processes may have waiting", signals_queued },
};

const struct attempts itself = { "Itself", rows, sizeof rows / sizeof rows[0] };
