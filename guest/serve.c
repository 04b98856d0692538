#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "cgroup.h"
#include "drain.h"

/* Maximum time to wait after a `keep` message until the kernel has frozen all processes. A process
 * that hangs in the kernel never freezes, so without this limit the daemon would wait for ever. */
#define FREEZE_NS 1000000000ULL

void serve_init(struct server *server, bool is_init)
{
	server->is_init = is_init;
	server->counters.started_ns = serve_clock();
	session_init(&server->session);
}

uint64_t serve_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

bool serve_waits(const struct server *server)
{
	return server->renewing || server->freezing;
}

bool serve_wants_input(const struct server *server)
{
	return !serve_waits(server) && port_has_room(&server->port, PORT_SMALL_SIZE);
}

bool serve_wants_stdin(const struct server *server)
{
	return server->exec.id && !server->renewing &&
	       port_has_room(&server->port, 2 * PORT_SMALL_SIZE);
}

bool serve_wants_output(const struct server *server)
{
	return !server->renewing && port_idle(&server->port);
}

/* Handles a `keep` message, which the host sends before it saves the machine. Freezes the processes
 * of commands. The daemon handles the next frame only when all processes are frozen, so its answer
 * to that frame tells the host that they are. */
static void keep(struct server *server)
{
	server->keep = true;
	server->freezing = true;
	server->frozen_by_ns = serve_clock() + FREEZE_NS;
	cgroup_freeze(true);
}

/* Handles a `resume` message, which the host sends to a machine that it has saved, and to each
 * clone of it. Only a clone gets new ids. The flag `keep` tells them apart: a clone has received a
 * `hello` message before, which has cleared the flag. */
static void go_on(struct server *server, const struct sandboxd_resume *given)
{
	if (server->is_init)
		resume(given, !server->keep);
	server->keep = false;
	cgroup_freeze(false);
}

static void kill_all(struct server *server)
{
	if (server->is_init)
		kill(-1, SIGKILL);
	else
		exec_kill(&server->exec);
}

/* Handles a `hello` message, which begins a new session. Unless the host has sent `keep` before,
 * all processes are killed. The daemon answers when it has reaped them. */
static void renew(struct server *server, const struct sandboxd_hello *hello)
{
	if (!server->keep)
		kill_all(server);
	server->nonce = hello->nonce;
	server->renewing = true;
}

static bool is_renewed(const struct server *server, bool childless)
{
	if (server->keep)
		return true;
	/* PID 1 waits until it has no children. In tests, the daemon is not PID 1, and waits only
	 * for the process of the command, because it cannot kill children that have left the
	 * command's process group. */
	return server->is_init ? childless : !server->exec.pid;
}

static void finish_renewal(struct server *server)
{
	const struct sandboxd_ready ready = {
		.version = SANDBOXD_VERSION,
		.digest = SANDBOXD_SCHEMA_DIGEST,
		.max_body = SANDBOXD_MAX_BODY_FROM_HOST,
		.nonce = server->nonce,
	};

	exec_clear(&server->exec);
	if (!server->keep)
		drain_clear();
	server->keep = false;
	server->renewing = false;
	session_sent(&server->session, SANDBOXD_TYPE_READY, SANDBOXD_SESSION_CONDITION_OWN_NONCE);
	SERVE_SEND(server, ready, &ready);
}

static void answer_status(struct server *server)
{
	server->counters.now_ns = serve_clock();
	server->counters.frames_seen = server->session.frames_seen;
	server->counters.frames_refused = server->session.frames_refused;
	server->counters.bytes_dropped = server->session.in.dropped;
	status_fill(&server->counters);
	SERVE_SEND(server, status, &server->counters);
}

static void begin_exec(struct server *server, const struct frame *frame)
{
	uint32_t id = frame->header.id;
	struct spawn_failure failure = exec_start(&server->exec, id, &frame->body.exec_request,
						  server->session.in.data);
	server->keep = false;
	struct sandboxd_exec_failed failed = {
		.stage = (uint8_t)failure.stage,
		.error_number = (uint32_t)failure.error,
	};

	if (!failure.stage) {
		server->counters.execs++;
		return;
	}
	if (server->session.version >= 2)
		failed.missing = spawn_missing();
	session_end(&server->session);
	SERVE_SEND(server, exec_failed, id, &failed);
}

static void answer_ping(struct server *server, const struct sandboxd_ping *ping)
{
	const struct sandboxd_pong pong = { ping->token };

	SERVE_SEND(server, pong, &pong);
}

/* Handles a frame that the session has accepted. A frame about a command is always about the one
 * that runs now, because the session has checked its id. */
static void handle(struct server *server, const struct frame *frame)
{
	const union sandboxd_body *body = &frame->body;

	switch (frame->header.type) {
	case SANDBOXD_TYPE_HELLO:
		renew(server, &body->hello);
		break;
	case SANDBOXD_TYPE_RESUME:
		go_on(server, &body->resume);
		break;
	case SANDBOXD_TYPE_KEEP:
		keep(server);
		break;
	case SANDBOXD_TYPE_PING:
		answer_ping(server, &body->ping);
		break;
	case SANDBOXD_TYPE_STATUS_REQUEST:
		answer_status(server);
		break;
	case SANDBOXD_TYPE_SHUTDOWN:
		server->shutdown = true;
		break;
	case SANDBOXD_TYPE_EXEC_REQUEST:
		begin_exec(server, frame);
		break;
	case SANDBOXD_TYPE_EXEC_SIGNAL:
		exec_signal(&server->exec, body->exec_signal.signal);
		break;
	case SANDBOXD_TYPE_EXEC_TERMINATE:
		exec_terminate(&server->exec);
		break;
	case SANDBOXD_TYPE_EXEC_KILL:
		exec_kill(&server->exec);
		break;
	case SANDBOXD_TYPE_EXEC_STDIN:
		input_add(&server->exec.input, body->exec_stdin.data);
		break;
	case SANDBOXD_TYPE_EXEC_RESIZE:
		exec_resize(&server->exec, body->exec_resize.rows, body->exec_resize.columns);
		break;
	case SANDBOXD_TYPE_EXEC_CREDIT:
		exec_add_credit(&server->exec, body->exec_credit.stream, body->exec_credit.amount);
		break;
	}
}

bool serve_input(struct server *server)
{
	static struct frame frame;
	struct sandboxd_error refusal;

	while (!server->shutdown && serve_wants_input(server)) {
		switch (session_next(&server->session, &frame, &refusal)) {
		case SESSION_MORE:
			return true;
		case SESSION_REFUSAL:
			SERVE_SEND(server, error, frame.header.id, &refusal);
			break;
		case SESSION_FRAME:
			handle(server, &frame);
			break;
		}
	}
	return false;
}

void serve_children(struct server *server)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		exec_reaped(&server->exec, pid, status, serve_clock());
	if (server->freezing)
		server->freezing = !cgroup_is_frozen() && serve_clock() < server->frozen_by_ns;
	if (server->renewing && is_renewed(server, pid < 0 && errno == ECHILD))
		finish_renewal(server);
}

static enum sandboxd_ending ending_of(const struct server *server)
{
	int status = server->exec.status;

	if (!WIFSIGNALED(status))
		return SANDBOXD_ENDING_EXITED;
	if (server->session.version >= 2 && WTERMSIG(status) == SIGKILL && cgroup_out_of_memory())
		return SANDBOXD_ENDING_OUT_OF_MEMORY;
	return SANDBOXD_ENDING_SIGNALLED;
}

static void end_exec(struct server *server)
{
	int status = server->exec.status;
	const struct sandboxd_exec_response response = {
		.ending = (uint8_t)ending_of(server),
		.status = (uint8_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)),
		.memory = server->session.version >= 3 ? cgroup_memory() : 0,
	};

	SERVE_SEND(server, exec_response, server->exec.id, &response);
	/* Write the response before the cleanup, so that the host gets it early. Ignore a failure,
	 * because the main loop notices that the port is broken. */
	(void)port_flush(&server->port);
	exec_clear(&server->exec);
	session_end(&server->session);
}

void serve_output(struct server *server, const struct pollfd *fds)
{
	if (server->renewing)
		return;
	uint64_t now = server->exec.terminal ? serve_clock() : 0;

	exec_pump(&server->exec, &server->port, server->session.version, now, fds);
	if (exec_done(&server->exec, &server->port, now) &&
	    port_has_room(&server->port, PORT_SMALL_SIZE))
		end_exec(server);
}

void serve_stdin(struct server *server, short events, bool waited)
{
	struct input *input = &server->exec.input;

	if (!serve_wants_stdin(server))
		return;
	input_run(input, events);
	const struct sandboxd_exec_stdin_credit credit = {
		input_room(input, server->session.stdin_credit, waited),
	};

	session_allow(&server->session, credit.amount);
	if (credit.amount)
		SERVE_SEND(server, exec_stdin_credit, server->exec.id, &credit);
	if (input->refused)
		SERVE_SEND(server, exec_stdin_closed, server->exec.id);
	input->refused = false;
}
