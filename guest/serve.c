#include "serve.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "boot.h"

void serve_init(struct server *server, bool is_init)
{
	server->is_init = is_init;
	server->counters.started_ns = serve_clock();
	server->port.version = SANDBOXD_VERSION;
	stream_init(&server->in);
}

uint64_t serve_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

bool serve_wants_input(const struct server *server)
{
	return !server->renewing && port_has_room(&server->port, PORT_SMALL_SIZE);
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

static void refuse(struct server *server, const struct sandboxd_header *header,
		   const struct sandboxd_error *error)
{
	server->counters.frames_refused++;
	server->port.end += sandboxd_encode_error(port_tail(&server->port), server->port.version,
						  header->id, error);
}

static void refuse_id(struct server *server, const struct sandboxd_header *header,
		      enum sandboxd_error_code code)
{
	const struct sandboxd_error error = { .code = (uint16_t)code,
					      .refused_type = header->type };

	refuse(server, header, &error);
}

static void refuse_malformed(struct server *server, const struct sandboxd_header *header,
			     const struct sandboxd_fault_at *fault)
{
	const struct sandboxd_error error = { .code = (uint16_t)fault->fault,
					      .refused_type = header->type,
					      .offset = fault->offset,
					      .field = fault->field };

	refuse(server, header, &error);
}

/* Both sides speak every version up to their own; there is none below 1. */
static uint32_t agree(uint32_t theirs)
{
	return theirs > SANDBOXD_VERSION ? SANDBOXD_VERSION : theirs > 1 ? theirs : 1;
}

/* A hello ends the life before it: what runs is killed, and reaped before the answer. */
static void renew(struct server *server, const struct sandboxd_hello *hello)
{
	if (server->is_init)
		kill(-1, SIGKILL);
	else
		exec_kill(&server->exec);
	server->nonce = hello->nonce;
	server->port.version = agree(hello->version);
	server->renewing = true;
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
	server->last_id = 0;
	server->renewing = false;
	server->port.end += sandboxd_encode_ready(port_tail(&server->port), server->port.version,
						  &ready);
}

static void answer_status(struct server *server)
{
	server->counters.now_ns = serve_clock();
	server->counters.bytes_dropped = server->in.dropped;
	server->port.end += sandboxd_encode_status(port_tail(&server->port), server->port.version,
						   &server->counters);
}

static void begin_exec(struct server *server, const struct frame *frame)
{
	const struct sandboxd_header *header = &frame->header;

	if (header->id <= server->last_id) {
		refuse_id(server, header, SANDBOXD_ERROR_CODE_STALE_ID);
		return;
	}
	server->last_id = header->id;
	if (server->exec.id) {
		refuse_id(server, header, SANDBOXD_ERROR_CODE_BUSY);
		return;
	}
	struct spawn_failure failure = exec_start(&server->exec, header->id,
						  &frame->body.exec_request, server->in.data);
	if (!failure.stage) {
		server->counters.execs++;
	} else {
		const struct sandboxd_exec_failed failed = {
			.stage = (uint8_t)failure.stage,
			.error_number = (uint32_t)failure.error,
		};
		server->port.end += sandboxd_encode_exec_failed(port_tail(&server->port),
								server->port.version, header->id,
								&failed);
	}
}

/* Frames about an exec that is over have crossed its end on the way, and are ignored. */
static bool is_current(struct server *server, const struct sandboxd_header *header)
{
	if (header->id > server->last_id)
		refuse_id(server, header, SANDBOXD_ERROR_CODE_UNKNOWN_ID);
	return server->exec.id == header->id;
}

static void handle(struct server *server, const struct frame *frame)
{
	const union sandboxd_body *body = &frame->body;

	switch (frame->header.type) {
	case SANDBOXD_TYPE_HELLO:
		renew(server, &body->hello);
		break;
	case SANDBOXD_TYPE_RESUME:
		if (server->is_init)
			boot_resume(&body->resume);
		break;
	case SANDBOXD_TYPE_PING: {
		const struct sandboxd_pong pong = { body->ping.token };
		server->port.end += sandboxd_encode_pong(port_tail(&server->port),
							 server->port.version, &pong);
		break;
	}
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
		if (is_current(server, &frame->header))
			exec_signal(&server->exec, body->exec_signal.signal);
		break;
	case SANDBOXD_TYPE_EXEC_TERMINATE:
		if (is_current(server, &frame->header))
			exec_terminate(&server->exec);
		break;
	case SANDBOXD_TYPE_EXEC_KILL:
		if (is_current(server, &frame->header))
			exec_kill(&server->exec);
		break;
	case SANDBOXD_TYPE_EXEC_STDIN:
		if (is_current(server, &frame->header) &&
		    !input_add(&server->exec.input, body->exec_stdin.data))
			refuse_id(server, &frame->header, SANDBOXD_ERROR_CODE_OVER_CREDIT);
		break;
	case SANDBOXD_TYPE_EXEC_RESIZE:
		if (is_current(server, &frame->header))
			exec_resize(&server->exec, body->exec_resize.rows,
				    body->exec_resize.columns);
		break;
	case SANDBOXD_TYPE_EXEC_CREDIT:
		if (is_current(server, &frame->header))
			exec_add_credit(&server->exec, body->exec_credit.stream,
					body->exec_credit.amount);
		break;
	}
}

bool serve_input(struct server *server)
{
	static struct frame frame;
	struct sandboxd_fault_at fault;

	while (!server->shutdown && serve_wants_input(server)) {
		switch (stream_next(&server->in, server->port.version, &frame, &fault)) {
		case STREAM_MORE:
			return true;
		case STREAM_FAULT:
			refuse_malformed(server, &frame.header, &fault);
			break;
		case STREAM_FRAME:
			server->counters.frames_seen++;
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
	/* Outside PID 1, children that left the process group are not ours to wait for. */
	if (server->renewing && (server->is_init ? pid < 0 && errno == ECHILD : !server->exec.pid))
		finish_renewal(server);
}

static void end_exec(struct server *server)
{
	int status = server->exec.status;
	const struct sandboxd_exec_response response =
		WIFSIGNALED(status) ? (struct sandboxd_exec_response){
			SANDBOXD_ENDING_SIGNALLED, (uint8_t)WTERMSIG(status)
		} : (struct sandboxd_exec_response){
			SANDBOXD_ENDING_EXITED, (uint8_t)WEXITSTATUS(status)
		};

	server->port.end += sandboxd_encode_exec_response(port_tail(&server->port),
							  server->port.version, server->exec.id,
							  &response);
	exec_clear(&server->exec);
}

void serve_output(struct server *server)
{
	if (server->renewing)
		return;
	uint64_t now = server->exec.terminal ? serve_clock() : 0;

	exec_pump(&server->exec, &server->port, now);
	if (exec_done(&server->exec, &server->port, now) && port_has_room(&server->port, PORT_SMALL_SIZE))
		end_exec(server);
}

void serve_stdin(struct server *server, short events)
{
	struct input *input = &server->exec.input;

	if (!serve_wants_stdin(server))
		return;
	input_run(input, events);
	const struct sandboxd_exec_stdin_credit credit = { input_take_credit(input) };

	if (credit.amount)
		server->port.end += sandboxd_encode_exec_stdin_credit(
			port_tail(&server->port), server->port.version, server->exec.id, &credit);
	if (input->refused)
		server->port.end += sandboxd_encode_exec_stdin_closed(
			port_tail(&server->port), server->port.version, server->exec.id);
	input->refused = false;
}
