/* Makes the system calls that the filter allows only with certain arguments, both with these and
 * with other arguments. Prints a line for each call, which ends with the errno of the call. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *name, long result)
{
	printf("%s %d\n", name, result < 0 ? errno : 0);
}

static void try_clone(void)
{
	/* The filter must allow a new thread. The kernel itself then refuses it, because
	 * CLONE_SIGHAND is missing. */
	say("thread", syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0));
	say("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	say("sibling", syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0));
	say("namespace", syscall(SYS_clone, CLONE_THREAD | CLONE_NEWNS, 0, 0, 0, 0));
}

static void try_prctl(void)
{
	say("name", prctl(PR_SET_NAME, "name"));
	say("survive", prctl(PR_SET_PDEATHSIG, 0));
	say("subreaper", prctl(PR_SET_CHILD_SUBREAPER, 1));
	say("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	say("traced", prctl(PR_SET_PTRACER, -1));
}

static void try_limits(void)
{
	struct rlimit limit;

	say("own", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit));
	say("raise", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL));
	say("other", syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, NULL, &limit));
}

static void try_signals(void)
{
	say("self", syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0));
	say("parent", syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static void try_descriptors(void)
{
	struct flock lock = { .l_type = F_RDLCK };

	say("flags", fcntl(STDOUT_FILENO, F_GETFL));
	say("lock", fcntl(STDOUT_FILENO, F_SETLK, &lock));
	say("owner", fcntl(STDOUT_FILENO, F_SETOWN, getpid()));
	say("terminal", ioctl(STDIN_FILENO, TIOCSTI, ""));
	/* The filter must allow this ioctl. /dev/null then returns ENOTTY. */
	say("kvm", ioctl(STDIN_FILENO, 0xae00, 0));
}

static void try_seccomp(void)
{
	uint32_t action = 0;

	say("question", syscall(SYS_seccomp, 2, 0, &action));
	say("listener", syscall(SYS_seccomp, 1, 1 << 3, NULL));
}

static void try_execution(void)
{
	char *none[] = { NULL };

	say("execve", execve("/bin/true", none, none));
	say("execveat", syscall(SYS_execveat, AT_FDCWD, "/bin/true", none, none, 0));
}

int main(void)
{
	try_clone();
	try_prctl();
	try_limits();
	try_signals();
	try_descriptors();
	try_seccomp();
	try_execution();
	fflush(stdout);
	return 0;
}
