#define _GNU_SOURCE /* vfork */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child of vfork shares our memory, and we wait until it has executed or exited: it writes
 * what failed straight into this. */
static volatile struct spawn_failure failure;

static _Noreturn void fail(enum sandboxd_stage stage, int error)
{
	failure.stage = stage;
	failure.error = error;
	_exit(127);
}

static int execute(const char *file, const struct environment *environment)
{
	execve(file, environment->argv, environment->envp);
	return errno;
}

/* execve says ENOENT both for a missing file and for one whose interpreter is missing. */
static enum sandboxd_stage stage_of(const char *file, int error)
{
	return error == ENOENT && access(file, F_OK) == 0 ? SANDBOXD_STAGE_INTERPRETER :
							    SANDBOXD_STAGE_EXEC;
}

/* Puts "folder/command" into `out`; an empty folder is the working directory, as for execvp. */
static bool join(char out[static PATH_MAX], const char *folder, size_t length, const char *command)
{
	size_t size = strlen(command) + 1;
	size_t at = length;

	if (length + 1 + size > PATH_MAX)
		return false;
	memcpy(out, folder, length);
	if (length > 0)
		out[at++] = '/';
	memcpy(out + at, command, size);
	return true;
}

/* Tries each folder of PATH. What was found and would not run is worth more than "not found", and
 * an error other than these two ends the search, both as execvp does it. */
static _Noreturn void look_up(const struct environment *environment)
{
	static char file[PATH_MAX];
	enum sandboxd_stage stage = SANDBOXD_STAGE_LOOKUP;
	int worst = ENOENT;

	for (const char *folder = environment->path;; folder++) {
		size_t length = strcspn(folder, ":");

		if (join(file, folder, length, environment->command)) {
			int error = execute(file, environment);

			if (error == EACCES || stage_of(file, error) == SANDBOXD_STAGE_INTERPRETER) {
				stage = stage_of(file, error);
				worst = error;
			} else if (error != ENOENT && error != ENOTDIR) {
				fail(SANDBOXD_STAGE_EXEC, error);
			}
		}
		folder += length;
		if (!*folder)
			fail(stage, worst);
	}
}

static void enter_folder(const char *cwd)
{
	if (*cwd ? chdir(cwd) < 0 : chdir("/root") < 0 && chdir("/") < 0)
		fail(SANDBOXD_STAGE_CHDIR, errno);
}

static void take_streams(int out, int err)
{
	/* The lowest free descriptor is then 0. A guest without /dev/null has no input. */
	close(STDIN_FILENO);
	(void)!open("/dev/null", O_RDONLY);
	if (dup2(out, 1) < 0 || dup2(err, 2) < 0)
		fail(SANDBOXD_STAGE_SETUP, errno);
}

static _Noreturn void child(const struct environment *environment, int out, int err)
{
	sigset_t none;

	setsid();
	take_streams(out, err);
	setpriority(PRIO_PROCESS, 0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	enter_folder(environment->cwd);
	if (!*environment->command)
		fail(SANDBOXD_STAGE_LOOKUP, ENOENT);
	if (!strchr(environment->command, '/'))
		look_up(environment);
	int error = execute(environment->command, environment);
	fail(stage_of(environment->command, error), error);
}

struct spawn_failure spawn(const struct environment *environment, int out, int err, pid_t *pid)
{
	failure.stage = 0;
	failure.error = 0;
	*pid = vfork();
	if (*pid == 0)
		child(environment, out, err);
	if (*pid < 0)
		return (struct spawn_failure){ SANDBOXD_STAGE_FORK, errno };
	return (struct spawn_failure){ failure.stage, failure.error };
}
