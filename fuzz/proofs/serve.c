/* Answers every frame of the host, and only if there is room in the queue.
 *
 * Functions: serve_input serve_children serve_output serve_stdin serve_wants_input
 *	serve_wants_stdin serve_wants_output serve_waits handle keep go_on renew kill_all is_renewed finish_renewal answer_status answer_ping
 *	begin_exec ending_of end_exec
 * Bound: every state, every frame; up to 2 frames and 2 children in one turn
 * Assumes: the encoders, session_next and input_room behave as encoding.c, session.c and input.c prove;
 *	fewer than 2^64 commands
 * Idle: session_init session_end exec_reaped exec_signal exec_terminate exec_kill exec_resize
 *	exec_add_credit drain_clear port_flush cgroup_out_of_memory cgroup_memory spawn_missing input_add input_run
 *	resume status_fill kill cgroup_freeze cgroup_is_frozen
 * Unwind: 4
 * Wraps: conversion */
#include "proof.h"

#define sandboxd_encode_ready(out, room, ...) nondet_frame(out, room, SANDBOXD_READY_MAX_BODY)
#define sandboxd_encode_status(out, room, ...) nondet_frame(out, room, SANDBOXD_STATUS_MAX_BODY)
#define sandboxd_encode_exec_failed(out, room, ...) \
	nondet_frame(out, room, SANDBOXD_EXEC_FAILED_MAX_BODY)
#define sandboxd_encode_pong(out, room, ...) nondet_frame(out, room, SANDBOXD_PONG_MAX_BODY)
#define sandboxd_encode_error(out, room, ...) nondet_frame(out, room, SANDBOXD_ERROR_MAX_BODY)
#define sandboxd_encode_exec_response(out, room, ...) \
	nondet_frame(out, room, SANDBOXD_EXEC_RESPONSE_MAX_BODY)
#define sandboxd_encode_exec_stdin_credit(out, room, ...) \
	nondet_frame(out, room, SANDBOXD_EXEC_STDIN_CREDIT_MAX_BODY)
#define sandboxd_encode_exec_stdin_closed(out, room, ...) \
	nondet_frame(out, room, SANDBOXD_EXEC_STDIN_CLOSED_MAX_BODY)

#include <serve.c>

static struct server server;
static int turn;

enum session_event session_next(struct session *session, struct frame *frame,
				struct sandboxd_error *refusal)
{
	__CPROVER_havoc_object(frame);
	__CPROVER_havoc_object(refusal);
	return turn++ == 2 ? SESSION_MORE : nondet_bool() ? SESSION_FRAME : SESSION_REFUSAL;
}

struct spawn_failure exec_start(struct exec *exec, uint32_t id,
				const struct sandboxd_exec_request *request, uint8_t *frame)
{
	struct spawn_failure failure;

	exec->id = nondet_u32();
	ASSUME(failure.error >= 0);
	return failure;
}

void exec_pump(struct exec *exec, struct port *port, uint32_t version, uint64_t now_ns,
	       const struct pollfd *fds)
{
	if (exec->id && port_idle(port) && nondet_bool())
		port->end = nondet_upto(PORT_LARGE_SIZE);
}

bool exec_done(const struct exec *exec, const struct port *port, uint64_t now_ns)
{
	return exec->id && nondet_bool();
}

void exec_clear(struct exec *exec) { exec->id = 0; }

pid_t waitpid(pid_t pid, int *status, int options)
{
	*status = nondet_int();
	errno = nondet_int();
	return turn++ == 2 ? -1 : nondet_int();
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	time->tv_sec = nondet_u32();
	time->tv_nsec = (long)(nondet_u32() % 1000000000);
	return 0;
}

uint32_t input_room(const struct input *input, uint32_t allowed)
{
	uint32_t room = (uint32_t)nondet_upto(INPUT_SIZE);

	ASSUME(room <= INPUT_SIZE - allowed);
	return room;
}

void session_allow(struct session *session, uint32_t amount) { session->stdin_credit += amount; }

/* Returns whether the daemon can be in this state. While a `hello` message waits for its answer, the
 * queue keeps room for this answer. */
static bool valid(void)
{
	size_t kept = server.renewing ? PORT_SMALL_SIZE : 0;

	return server.port.end <= PORT_QUEUE_SIZE - kept &&
	       server.session.stdin_credit <= INPUT_SIZE && server.counters.execs < UINT32_MAX;
}

void prove(void)
{
	__CPROVER_havoc_object(&server);
	server.port.end = nondet_upto(PORT_QUEUE_SIZE);
	server.session.stdin_credit = (uint32_t)nondet_upto(INPUT_SIZE);
	ASSUME(valid());
	switch (nondet_int()) {
	case 0:
		serve_input(&server);
		WITNESS(server.port.end == PORT_QUEUE_SIZE);
		WITNESS(server.renewing);
		break;
	case 1:
		serve_children(&server);
		WITNESS(server.port.end == PORT_QUEUE_SIZE);
		break;
	case 2:
		serve_output(&server, NULL);
		break;
	default:
		serve_stdin(&server, nondet_short(), nondet_bool());
	}
	ASSUME(server.counters.execs < UINT32_MAX);
	PROVE(valid());
}
