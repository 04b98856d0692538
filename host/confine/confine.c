/* confine: executes a program with as few privileges, and as little access to the host, as
 * possible.
 *
 *     Usage: confine [OPTION VALUE]... -- PROGRAM [ARGUMENT]...
 *
 * The controller is the process that starts confine. confine clones a second process in a new pid
 * namespace, and that process executes the program. Both processes are children of the controller,
 * and the kernel kills both when the controller exits. */
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

#include "filter.h"
#include "options.h"
#include "reopen.h"
#include "status.h"

/* A layer of the confinement, and how it is applied: the namespace to enter, or 0 for none, and the
 * function to call, or NULL. */
struct step {
	enum layer layer;
	int namespace;
	layer_lay *lay;
};

/* Layers that are applied before the launcher clones the process that executes QEMU. */
static const struct step before[] = {
	{ LAYER_USER, CLONE_NEWUSER, namespace_map },
	{ LAYER_PID, CLONE_NEWPID, NULL },
};

/* Layers that need privileges. They are applied while the process that executes QEMU still has
 * them. */
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
		const char *reason = options->left_out[step->layer] ? "disabled" : NULL;

		if (!reason && step->namespace)
			reason = namespace_leave(step->namespace);
		if (!reason && step->lay)
			reason = step->lay(options, detail);
		status_layer(step->layer, !reason, reason ? reason : detail);
	}
}

static void die_with_parent(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		status_fail("cannot ask the kernel to end QEMU with microvm", "", strerror(errno));
}

/* Opens /dev/null as each standard stream that is closed. Otherwise the next file that the launcher
 * opens would become this stream. */
static void open_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", O_RDWR);
}

/* Marks a descriptor to be closed on exec, because only the launcher uses it. A negative number
 * means that there is no descriptor. */
static void close_on_execution(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static bool has_controller(const struct options *options)
{
	return !options->controller || getppid() == options->controller;
}

/* The last steps of the launcher's first process, for the second process, which will execute QEMU.
 * The second process is a child of the controller, the process that started the launcher, and is in
 * a new pid namespace. So it can find out neither its pid outside the namespace, nor whether the
 * controller is still alive. This function sends it the pid, and waits until it has asked the
 * kernel to be killed with its parent. If the controller is still alive after that, this function
 * sends a confirmation. */
static _Noreturn void attend(const struct options *options, pid_t child, int link)
{
	char word;

	status_pid(child);
	if (write(link, &child, sizeof child) == sizeof child &&
	    read(link, &word, sizeof word) == sizeof word && has_controller(options))
		(void)!write(link, &word, sizeof word);
	_exit(0);
}

/* Fails if a message between the launcher's two processes was not transferred. The error says that
 * the first process was killed, so that the user does not suspect QEMU. */
static void expect(bool transferred)
{
	if (!transferred)
		status_fail("cannot confine QEMU", "",
			    "the launcher's first process was killed; start the machine again");
}

static void learn_pid(struct options *options, int link)
{
	pid_t pid;

	expect(read(link, &pid, sizeof pid) == sizeof pid);
	if (options->uid)
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
	if (options->uid && !reopen_files(options))
		status_fail("cannot let QEMU's user read its files", "", strerror(errno));
	LAY(options, privileged);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		status_fail("cannot set no_new_privs", "", strerror(errno));
	/* A change of the uid cancels a request to be killed with the parent process, and the layer
	 * "ids" has just changed the uid. So ask the kernel only now to kill this process when the
	 * controller, which is the process that started the launcher, exits. */
	die_with_parent();
	expect_controller(link);
	LAY(options, last);
	status_end();
	filter_execute(options->program);
	status_fail("cannot execute ", options->program[0], strerror(errno));
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
	if (wrong || !options.program)
		status_fail(wrong ? "wrong option: " : "missing program", wrong ? wrong : "",
			    "the usage is confine [OPTION VALUE]... -- PROGRAM [ARGUMENT]...");
	close_on_execution(options.status);
	close_on_execution(options.cgroup);
	die_with_parent();
	if (!has_controller(&options))
		status_fail("cannot find the controller", "",
			    "the process that started the launcher has exited");
	/* Make no user namespace if QEMU gets a uid of its own. QEMU then needs none, and this uid
	 * would not exist in a new user namespace. */
	options.left_out[LAYER_USER] |= options.uid != 0;
	if (options.uid)
		reopen_prepare();
	LAY(&options, before);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) < 0)
		status_fail("cannot create a socket pair", "", strerror(errno));
	child = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
	if (child < 0)
		status_fail("cannot create a process", "", strerror(errno));
	close(link[child ? 1 : 0]);
	if (child)
		attend(&options, child, link[0]);
	become(&options, link[1]);
}
