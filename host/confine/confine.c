/* Executes a program with as little around it, and as few rights, as this host can take from it.
 *
 *     confine [OPTION]... -- PROGRAM ARGUMENT...
 *
 * The process that was spawned makes a sibling, in a new pid namespace, which becomes the program: both
 * are the controller's children, and die with it. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"
#include "filter.h"
#include "ids.h"
#include "landlock.h"
#include "lent.h"
#include "limits.h"
#include "mounts.h"
#include "namespaces.h"
#include "options.h"
#include "status.h"

/* A layer: a namespace, if it is or needs one, and what is to be done besides. */
struct step {
	enum layer layer;
	int namespace;
	layer_lay *lay;
};

/* Before there is the process that becomes the program. */
static const struct step before[] = {
	{ LAYER_USER, CLONE_NEWUSER, namespace_map },
	{ LAYER_PID, CLONE_NEWPID, NULL },
};

/* While it has the privileges that it needs for these. */
static const struct step privileged[] = {
	{ LAYER_NET, CLONE_NEWNET, NULL }, { LAYER_IPC, CLONE_NEWIPC, NULL },
	{ LAYER_UTS, CLONE_NEWUTS, NULL }, { LAYER_MOUNT, CLONE_NEWNS, mounts_replace },
	{ LAYER_CGROUP, 0, cgroup_join },  { LAYER_IDS, 0, ids_give_up },
};

static const struct step last[] = {
	{ LAYER_LIMITS, 0, limits_set },
	{ LAYER_LANDLOCK, 0, landlock_restrict },
	{ LAYER_SECCOMP, 0, filter_install },
};

#define LAY(options, steps) lay(options, steps, sizeof(steps) / sizeof *(steps))

static void lay(const struct options *options, const struct step *steps, size_t count)
{
	for (const struct step *step = steps; step < steps + count; step++) {
		char detail[DETAIL_SIZE] = "";
		const char *reason = options->left_out[step->layer] ? "left out" : NULL;

		if (!reason && step->namespace)
			reason = namespace_leave(step->namespace);
		if (!reason && step->lay)
			reason = step->lay(options, detail);
		if (reason && options->required[step->layer])
			status_fail(layer_names[step->layer], reason);
		status_layer(step->layer, !reason, reason ? reason : detail);
	}
}

static void die_with_parent(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		status_fail("controller", strerror(errno));
}

/* Nothing else may come to be a standard stream. */
static void open_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", O_RDWR);
}

/* What is for the launcher alone, where there is such a descriptor. */
static void close_on_execution(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static bool has_controller(const struct options *options)
{
	return !options->controller || getppid() == options->controller;
}

/* Tells the child its pid; and, when the child dies with the controller, that it still lives: in a pid
 * namespace it cannot see its parent. */
static _Noreturn void attend(const struct options *options, pid_t child, int link)
{
	char word;

	status_pid(child);
	if (write(link, &child, sizeof child) == sizeof child &&
	    read(link, &word, sizeof word) == sizeof word && has_controller(options))
		(void)!write(link, &word, sizeof word);
	_exit(0);
}

/* Whoever was to tell the child something has been killed, of which the program is not to blame. */
static void expect(bool told)
{
	if (!told)
		status_fail("launcher", "it was killed");
}

static void learn_pid(struct options *options, int link)
{
	pid_t pid;

	expect(read(link, &pid, sizeof pid) == sizeof pid);
	options->uid += (uid_t)pid;
}

static void expect_controller(int link)
{
	char word = 0;

	expect(send(link, &word, sizeof word, MSG_NOSIGNAL) == sizeof word &&
	       read(link, &word, sizeof word) == sizeof word);
}

static _Noreturn void become(struct options *options, int link)
{
	learn_pid(options, link);
	if (options->has_uid && !lent_open(options))
		status_fail("files", strerror(errno));
	LAY(options, privileged);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		status_fail("ids", strerror(errno));
	/* Only now: with another uid it would be forgotten. */
	die_with_parent();
	expect_controller(link);
	LAY(options, last);
	status_end();
	filter_execute(options->program);
	status_fail(options->program[0], strerror(errno));
}

int main(int argc, char **argv)
{
	static struct options options;
	const char *wrong;
	int link[2];
	pid_t child;

	open_streams();
	wrong = options_read(&options, argv + (argc > 0));
	status_open(options.status);
	if (wrong)
		status_fail("option", wrong);
	close_on_execution(options.status);
	close_on_execution(options.cgroup);
	die_with_parent();
	if (!has_controller(&options))
		status_fail("controller", "it is not the parent");
	/* A uid that nobody else has needs no namespace, nor could it be given one here. */
	options.left_out[LAYER_USER] |= options.has_uid;
	if (options.has_uid)
		lent_prepare();
	LAY(&options, before);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) < 0)
		status_fail("socketpair", strerror(errno));
	child = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
	if (child < 0)
		status_fail("clone", strerror(errno));
	close(link[child ? 1 : 0]);
	if (child)
		attend(&options, child, link[0]);
	become(&options, link[1]);
}
