/* Starts a command: creates its pipes or its terminal, and starts its process in a cgroup. */
#define _GNU_SOURCE /* makes the headers declare pipe2 and F_SETPIPE_SZ */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "exec.h"

/* The ioctl that opens the slave of a pseudo-terminal without using its path (ioctl_tty(2)). The
 * headers of musl lack this constant. */
#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

/* Descriptors of a command's standard streams: the ends that the command gets (`theirs`), and the
 * other ends, which the daemon keeps (`ours`). */
struct ends {
	int theirs[3];
	int ours[3];
};

static void close_first(int count, int fds[static 3])
{
	for (int i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

/* Creates a pipe between the daemon and a command. Only the daemon's end is non-blocking, because a
 * command expects a pipe that blocks. */
static bool make_pipe(int *ours, int *theirs, bool we_read)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	*ours = ends[we_read ? 0 : 1];
	*theirs = ends[we_read ? 1 : 0];
	return fcntl(*ours, F_SETFL, O_NONBLOCK) == 0;
}

/* Opens a new pseudo-terminal. The command gets its slave, and the daemon keeps its master, which
 * is non-blocking. */
static bool make_terminal(struct ends *ends, const struct sandboxd_exec_request *request)
{
	int unlocked = 0, master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	ends->ours[1] = master;
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0)
		return false;
	ends->theirs[1] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (ends->theirs[1] < 0)
		return false;
	const struct winsize size = { .ws_row = request->rows, .ws_col = request->columns };

	ioctl(master, TIOCSWINSZ, &size);
	ends->ours[0] = fcntl(ends->ours[1], F_DUPFD_CLOEXEC, 0);
	ends->theirs[0] = fcntl(ends->theirs[1], F_DUPFD_CLOEXEC, 0);
	ends->theirs[2] = fcntl(ends->theirs[1], F_DUPFD_CLOEXEC, 0);
	return ends->ours[0] >= 0 && ends->theirs[0] >= 0 && ends->theirs[2] >= 0;
}

static bool make_ends(struct ends *ends, const struct sandboxd_exec_request *request, uint32_t slot)
{
	*ends = (struct ends){ { -1, -1, -1 }, { -1, -1, -1 } };
	if (request->rows)
		return make_terminal(ends, request);
	if (request->stdin_from == SANDBOXD_STDIN_KIND_HOST) {
		if (!make_pipe(&ends->ours[0], &ends->theirs[0], false))
			return false;
		int size = (int)input_limit(slot);

		/* If the daemon does not run as root, as in tests, the kernel may refuse a large
		 * pipe (fs.pipe-max-size), so try a smaller one. */
		if (fcntl(ends->ours[0], F_SETPIPE_SZ, INPUT_PIPES * size) < 0)
			fcntl(ends->ours[0], F_SETPIPE_SZ, size);
	}
	if (!make_pipe(&ends->ours[1], &ends->theirs[1], true))
		return false;
	if (!request->joined)
		return make_pipe(&ends->ours[2], &ends->theirs[2], true);
	ends->theirs[2] = fcntl(ends->theirs[1], F_DUPFD_CLOEXEC, 0);
	return ends->theirs[2] >= 0;
}

static struct spawn_failure spawn_limited(struct spawn *what, pid_t *pid, struct cgroup *cgroup,
					  const struct sandboxd_exec_request *request)
{
	if (!cgroup_limit(cgroup, request->max_processes, request->max_memory))
		return (struct spawn_failure){ SANDBOXD_STAGE_LIMIT, errno };
	what->cgroup = cgroup_fd(cgroup);
	return spawn(what, pid);
}

static bool is_cgroups_fault(struct spawn_failure failure)
{
	return failure.stage == SANDBOXD_STAGE_LIMIT || failure.stage == SANDBOXD_STAGE_FORK ||
	       (failure.stage == SANDBOXD_STAGE_SETUP && failure.error == ETIMEDOUT);
}

static struct spawn_failure start(const struct ends *ends, pid_t *pid, struct cgroup *cgroup,
				  const struct sandboxd_exec_request *request, uint8_t *frame)
{
	struct spawn what = {
		.environment = environment_of(request, frame),
		.streams = { ends->theirs[0], ends->theirs[1], ends->theirs[2] },
		.terminal = request->rows > 0,
	};
	struct spawn_failure failure = spawn_limited(&what, pid, cgroup, request);

	/* If the cgroup may have caused the failure, try to start the command again, in a new
	 * cgroup. A process that an earlier command has left behind may have removed or frozen the
	 * old cgroup. */
	if (is_cgroups_fault(failure) && cgroup_replace(cgroup))
		failure = spawn_limited(&what, pid, cgroup, request);
	return failure;
}

struct spawn_failure exec_start(struct exec *exec, uint32_t slot, uint32_t id,
				const struct sandboxd_exec_request *request, uint8_t *frame)
{
	struct spawn_failure failure = { SANDBOXD_STAGE_PIPE, 0 };
	struct cgroup *cgroup = cgroup_of(slot);
	struct ends ends;
	pid_t pid;

	if (make_ends(&ends, request, slot))
		failure = start(&ends, &pid, cgroup, request, frame);
	else
		failure.error = errno;
	/* After a successful start, keep the write ends of the output pipes open. Otherwise the
	 * pipes would be at end of file when the command has closed its streams, and each poll
	 * would return at once. */
	close_first(failure.stage || request->rows ? 3 : 1, ends.theirs);
	if (failure.stage) {
		close_first(3, ends.ours);
		return failure;
	}
	*exec = (struct exec){
		.id = id,
		.slot = slot,
		.terminal = request->rows > 0,
		.pid = pid,
		.group = pid,
		.cgroup = cgroup,
	};
	for (int i = 0; i < EXEC_STREAMS; i++)
		exec->streams[i] = (struct exec_stream){
			.fd = ends.ours[1 + i],
			.theirs = ends.theirs[1 + i],
			.credit = i ? request->stderr_credit : request->stdout_credit,
		};
	input_open(&exec->input, ends.ours[0], exec->terminal, slot);
	return failure;
}
