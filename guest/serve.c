#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "drain.h"

/* Maximum time to wait after a `keep` message until the kernel has frozen all processes. A process
 * that hangs in the kernel never freezes, so without this limit the daemon would wait for ever. */
#define FREEZE_NS 1000000000ULL

#define COALESCE_NS (1000000ULL * EXEC_COALESCE_MS)

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

/* Returns whether the daemon can now write standard input to a command, and let the host send more
 * input. */
static bool wants_stdin(const struct server *server)
{
	return !server->renewing && port_has_room(&server->port, 2 * PORT_SMALL_SIZE);
}

static struct pollfd *polled_of(struct server *server, uint32_t slot)
{
	return server->polled + SERVE_COMMANDS + slot * EXEC_POLLED;
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

void serve_kill(struct server *server)
{
	if (server->is_init)
		kill(-1, SIGKILL);
	for (uint32_t slot = 0; !server->is_init && slot < server->session.used; slot++)
		exec_kill(&server->execs[slot]);
}

/* Handles a `hello` message, which begins a new session. Unless the host has sent `keep` before,
 * all processes are killed. The daemon answers when it has reaped them. */
static void renew(struct server *server, const struct sandboxd_hello *hello)
{
	if (!server->keep)
		serve_kill(server);
	server->nonce = hello->nonce;
	server->renewing = true;
}

static bool is_renewed(const struct server *server, bool childless)
{
	if (server->keep)
		return true;
	/* PID 1 waits until it has no children. In tests, the daemon is not PID 1, and waits only
	 * for the processes of the commands, because it cannot kill children that have left a
	 * command's process group. */
	if (server->is_init)
		return childless;
	for (uint32_t slot = 0; slot < server->session.used; slot++)
		if (server->execs[slot].pid)
			return false;
	return true;
}

static void finish_renewal(struct server *server)
{
	const struct sandboxd_ready ready = {
		.version = SANDBOXD_VERSION,
		.digest = SANDBOXD_SCHEMA_DIGEST,
		.max_body = SANDBOXD_MAX_BODY_FROM_HOST,
		.nonce = server->nonce,
	};

	for (uint32_t slot = 0; slot < server->session.used; slot++)
		exec_clear(&server->execs[slot]);
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

static void begin_exec(struct server *server, uint32_t slot, const struct frame *frame)
{
	uint32_t id = frame->header.id;
	struct spawn_failure failure = exec_start(
		&server->execs[slot], slot, id, &frame->body.exec_request, server->session.in.data);
	server->keep = false;
	/* The entries for poll still contain the events of the earlier command in this slot, so
	 * clear them. */
	memset(polled_of(server, slot), 0, EXEC_POLLED * sizeof *server->polled);
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
	session_end(&server->session, slot);
	SERVE_SEND(server, exec_failed, id, &failed);
}

static void answer_ping(struct server *server, const struct sandboxd_ping *ping)
{
	const struct sandboxd_pong pong = { ping->token };

	SERVE_SEND(server, pong, &pong);
}

/* Handles a frame that the session has accepted. If the frame has an id, `slot` is the slot of its
 * command. This command counts as running, because the session has checked the id. */
static void handle(struct server *server, const struct frame *frame, uint32_t slot)
{
	const union sandboxd_body *body = &frame->body;
	struct exec *exec = &server->execs[slot];

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
		begin_exec(server, slot, frame);
		break;
	case SANDBOXD_TYPE_EXEC_SIGNAL:
		exec_signal(exec, body->exec_signal.signal);
		break;
	case SANDBOXD_TYPE_EXEC_TERMINATE:
		exec_terminate(exec);
		break;
	case SANDBOXD_TYPE_EXEC_KILL:
		exec_kill(exec);
		break;
	case SANDBOXD_TYPE_EXEC_STDIN:
		input_add(&exec->input, body->exec_stdin.data);
		break;
	case SANDBOXD_TYPE_EXEC_RESIZE:
		exec_resize(exec, body->exec_resize.rows, body->exec_resize.columns);
		break;
	case SANDBOXD_TYPE_EXEC_CREDIT:
		exec_add_credit(exec, body->exec_credit.stream, body->exec_credit.amount);
		break;
	}
}

bool serve_input(struct server *server)
{
	static struct frame frame;
	struct sandboxd_error refusal;
	uint32_t slot = 0;

	while (!server->shutdown && serve_wants_input(server)) {
		switch (session_next(&server->session, &frame, &slot, &refusal)) {
		case SESSION_MORE:
			return true;
		case SESSION_REFUSAL:
			SERVE_SEND(server, error, frame.header.id, &refusal);
			break;
		case SESSION_FRAME:
			handle(server, &frame, slot);
			break;
		}
	}
	return false;
}

static void reap(struct server *server, pid_t pid, int status)
{
	uint64_t now = serve_clock();

	for (uint32_t slot = 0; slot < server->session.used; slot++)
		exec_reaped(&server->execs[slot], pid, status, now);
}

void serve_children(struct server *server)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		reap(server, pid, status);
	if (server->freezing)
		server->freezing = !cgroup_is_frozen() && serve_clock() < server->frozen_by_ns;
	if (server->renewing && is_renewed(server, pid < 0 && errno == ECHILD))
		finish_renewal(server);
}

static enum sandboxd_ending ending_of(const struct exec *exec, uint32_t version)
{
	if (!WIFSIGNALED(exec->status))
		return SANDBOXD_ENDING_EXITED;
	if (version >= 2 && WTERMSIG(exec->status) == SIGKILL && cgroup_out_of_memory(exec->cgroup))
		return SANDBOXD_ENDING_OUT_OF_MEMORY;
	return SANDBOXD_ENDING_SIGNALLED;
}

static void end_exec(struct server *server, uint32_t slot)
{
	struct exec *exec = &server->execs[slot];
	uint32_t version = server->session.version;
	int status = exec->status;
	const struct sandboxd_exec_response response = {
		.ending = (uint8_t)ending_of(exec, version),
		.status = (uint8_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)),
		.memory = version >= 3 ? cgroup_memory(exec->cgroup) : 0,
	};

	SERVE_SEND(server, exec_response, exec->id, &response);
	/* Write the response before the cleanup, so that the host gets it early. Ignore a failure,
	 * because the main loop notices that the port is broken. */
	(void)port_flush(&server->port);
	exec_clear(exec);
	session_end(&server->session, slot);
}

/* Lets the daemon read the output in the pipes now, instead of waiting until more collects. */
static void stop_collecting(struct server *server)
{
	for (uint32_t slot = 0; slot < server->session.used; slot++)
		server->execs[slot].coalescing = false;
	server->collected_ns = 0;
}

/* Updates the time until which output collects in the pipes, after a command has queued a frame. */
static void collect(struct server *server, bool coalescing)
{
	/* A command with much output sends one full frame after another. After each of these
	 * frames, let all other commands send their output, even if little has collected. */
	if (!coalescing)
		stop_collecting(server);
	else if (!server->collected_ns)
		/* If only one command runs, any time except 0 is enough, because the daemon reads
		 * the output of a single command after any event. */
		server->collected_ns = server->session.used > 1 ? serve_clock() + COALESCE_NS : 1;
}

/* Gives a command its turn: queues a frame of its output. If the command has exited and has no more
 * output, queues its result. */
static void give_turn(struct server *server, uint32_t slot)
{
	struct exec *exec = &server->execs[slot];
	uint64_t now = exec->terminal ? serve_clock() : 0;

	if (exec_pump(exec, &server->port, server->session.version, now, polled_of(server, slot))) {
		server->turn = slot + 1;
		collect(server, exec->coalescing);
	}
	if (exec_done(exec, &server->port, now) && port_has_room(&server->port, PORT_SMALL_SIZE))
		end_exec(server, slot);
}

void serve_output(struct server *server)
{
	uint32_t used = server->renewing ? 0 : server->session.used;
	uint32_t slot = server->turn;

	/* `exec_pump` queues a frame of output only if the queue of the port is empty. Small frames
	 * may still be in the queue, so first write them to the port. Ignore a failure, because the
	 * main loop notices that the port is broken. */
	(void)port_flush(&server->port);
	for (uint32_t i = 0; i < used; i++, slot++) {
		if (slot >= used)
			slot = 0;
		give_turn(server, slot);
	}
}

static void pass_input(struct server *server, uint32_t slot, bool waited)
{
	struct exec *exec = &server->execs[slot];
	struct input *input = &exec->input;

	input_run(input, polled_of(server, slot)[EXEC_INPUT].revents);
	const struct sandboxd_exec_stdin_credit credit = {
		input_room(input, server->session.commands[slot].stdin_credit, waited),
	};

	session_allow(&server->session, slot, credit.amount);
	if (credit.amount)
		SERVE_SEND(server, exec_stdin_credit, exec->id, &credit);
	if (input->refused)
		SERVE_SEND(server, exec_stdin_closed, exec->id);
	input->refused = false;
}

void serve_stdin(struct server *server, bool waited)
{
	for (uint32_t slot = 0; slot < server->session.used && wants_stdin(server); slot++)
		if (server->execs[slot].id)
			pass_input(server, slot, waited);
}

unsigned serve_poll(struct server *server)
{
	uint32_t slot;

	for (slot = 0; slot < server->session.used; slot++)
		exec_poll(&server->execs[slot], wants_stdin(server),
			  server->renewing || !port_idle(&server->port), polled_of(server, slot));
	return SERVE_COMMANDS + slot * EXEC_POLLED;
}

int serve_timeout_ms(const struct server *server)
{
	int least = server->collected_ns ? EXEC_COALESCE_MS : -1;

	for (uint32_t slot = 0; slot < server->session.used; slot++) {
		const struct exec *exec = &server->execs[slot];

		if (exec->input.withheld && wants_stdin(server))
			least = serve_sooner(least, EXEC_COALESCE_MS);
		if (exec->terminal && port_idle(&server->port))
			least = serve_sooner(least, exec_timeout_ms(exec, serve_clock()));
	}
	return least;
}

void serve_polled(struct server *server, bool waited)
{
	bool alone = server->session.used <= 1;

	if (server->collected_ns && (waited || alone || serve_clock() >= server->collected_ns))
		stop_collecting(server);
}
