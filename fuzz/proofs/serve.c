/* Proves that serve.c answers every frame of the host, and queues a message only if the queue has
 * room. Also proves that the commands take turns to send their output.
 *
 * Functions: serve_input serve_children serve_output serve_stdin serve_wants_input serve_waits serve_kill
 *	serve_poll serve_timeout_ms serve_polled serve_sooner wants_stdin polled_of handle keep go_on
 *	renew is_renewed finish_renewal answer_status answer_ping begin_exec reap ending_of end_exec
 *	stop_collecting collect give_turn pass_input
 * Bound: the proof covers every state and every frame, with up to 2 frames and 2 exited
 *	children in one turn of the main loop
 * Assumes: the encoders, the functions of a session, and input_room behave as encoding.c,
 *	session.c and input.c prove; the daemon has 3 slots instead of 64, and a stream of 13
 *	bytes; it starts fewer than 2^64 commands
 * Idle: session_init exec_reaped exec_signal exec_terminate exec_kill exec_resize exec_add_credit
 *	drain_clear port_flush cgroup_out_of_memory cgroup_memory spawn_missing input_add input_run
 *	input_poll resume status_fill kill cgroup_freeze cgroup_is_frozen
 * Unwind: 5
 * Wraps: conversion */
#include "proof.h"

#define SANDBOXD_MAX_BODY_FROM_HOST 1
#undef SANDBOXD_MAX_COMMANDS
#define SANDBOXD_MAX_COMMANDS 3

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

/* Replaces memset, because the solver of CBMC is too slow if the address depends on a slot. */
static void clear(const void *fds, size_t size) { PROVE(__CPROVER_w_ok(fds, size)); }
#define memset(fds, byte, size) clear(fds, size)

#include <serve.c>

enum { SLOTS = SANDBOXD_MAX_COMMANDS };

static struct server server;
static int turn;

static bool runs(uint32_t slot)
{
	return slot < server.session.used && server.session.commands[slot].id != 0;
}

/* The indices of the commands that the next two frames are about: the first frame is about the
 * command slots[0], and the second one about slots[1]. Each proof assigns constants, because the
 * solver of CBMC is too slow if the address of a command depends on a variable. */
static uint32_t slots[2];

/* Assumes that `slot` fits a frame: a request for a command gets a free slot, and any other frame
 * is about the command in its slot. Puts a requested command into the slot. */
static void choose_slot(struct session *session, const struct sandboxd_header *header,
			uint32_t slot)
{
	bool begins = header->type == SANDBOXD_TYPE_EXEC_REQUEST;

	if (!header->id)
		return;
	ASSUME(runs(slot) != begins && slot <= session->used);
	if (begins) {
		session->commands[slot] = (struct session_command){ .id = header->id };
		session->used += slot == session->used;
	}
}

enum session_event session_next(struct session *session, struct frame *frame, uint32_t *slot,
				struct sandboxd_error *refusal)
{
	const struct sandboxd_header *header = &frame->header;

	__CPROVER_havoc_object(frame);
	__CPROVER_havoc_object(refusal);
	if (turn == 2)
		return SESSION_MORE;
	*slot = slots[turn++];
	ASSUME((header->type >= SANDBOXD_TYPE_EXEC_REQUEST) == (header->id != 0));
	if (nondet_bool())
		return SESSION_REFUSAL;
	choose_slot(session, header, *slot);
	return SESSION_FRAME;
}

void session_end(struct session *session, uint32_t slot)
{
	PROVE(runs(slot));
	session->commands[slot].id = 0;
	while (session->used > 0 && session->commands[session->used - 1].id == 0)
		session->used--;
}

void session_sent(struct session *session, enum sandboxd_type type, uint32_t conditions)
{
	PROVE(type == SANDBOXD_TYPE_READY);
	session->used = 0;
}

struct spawn_failure exec_start(struct exec *exec, uint32_t slot, uint32_t id,
				const struct sandboxd_exec_request *request, uint8_t *frame)
{
	struct spawn_failure failure;

	PROVE(exec == &server.execs[slot] && exec->id == 0);
	if (!failure.stage)
		exec->id = id;
	ASSUME(failure.error >= 0);
	return failure;
}

static bool has_output[SLOTS];
static uint32_t sender; /* slot of the command that has sent output; SLOTS if no command has */

bool exec_pump(struct exec *exec, struct port *port, uint32_t version, uint64_t now_ns,
	       const struct pollfd *fds)
{
	uint32_t slot = (uint32_t)(exec - server.execs);

	PROVE(slot < SLOTS && fds == &server.polled[SERVE_COMMANDS + slot * EXEC_POLLED]);
	if (!exec->id || !port_idle(port) || !has_output[slot])
		return false;
	port->end = nondet_upto(PORT_LARGE_SIZE - 1) + 1;
	exec->coalescing = nondet_bool();
	sender = slot;
	return true;
}

bool exec_done(const struct exec *exec, const struct port *port, uint64_t now_ns)
{
	return exec->id && !has_output[exec - server.execs] && nondet_bool();
}

void exec_clear(struct exec *exec) { exec->id = 0; }

void exec_poll(const struct exec *exec, bool takes_input, bool busy, struct pollfd *fds)
{
	PROVE(__CPROVER_w_ok(fds, EXEC_POLLED * sizeof *fds));
}

int exec_timeout_ms(const struct exec *exec, uint64_t now_ns)
{
	int ms = nondet_int();

	ASSUME(ms >= -1 && ms <= 101);
	return ms;
}

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

uint32_t input_room(struct input *input, uint32_t allowed, bool waited)
{
	uint32_t room = (uint32_t)nondet_upto(INPUT_SIZE);

	ASSUME(room <= INPUT_SIZE - allowed);
	return room;
}

void session_allow(struct session *session, uint32_t slot, uint32_t amount)
{
	PROVE(runs(slot));
	session->commands[slot].stdin_credit += amount;
}

/* Returns whether the daemon can be in the current state: the tables of the session and of the
 * server contain the same commands, and while a `hello` message waits for its answer, the queue has
 * room for this answer. */
static bool valid(void)
{
	const struct session *session = &server.session;
	size_t kept = server.renewing ? PORT_SMALL_SIZE : 0;

	if (session->used > SLOTS || (session->used > 0 && !runs(session->used - 1)))
		return false;
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		if (server.execs[slot].id != (runs(slot) ? session->commands[slot].id : 0) ||
		    session->commands[slot].stdin_credit > INPUT_SIZE)
			return false;
	return server.port.end <= PORT_QUEUE_SIZE - kept && server.turn <= SLOTS &&
	       server.counters.execs < UINT32_MAX;
}

static void begin_anywhere(void)
{
	__CPROVER_havoc_object(&server);
	server.port.end = nondet_upto(PORT_QUEUE_SIZE);
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		has_output[slot] = nondet_bool();
	ASSUME(valid());
}

static void prove_frames(uint32_t first, uint32_t second)
{
	slots[0] = first;
	slots[1] = second;
	begin_anywhere();
	serve_input(&server);
	WITNESS(server.port.end == PORT_QUEUE_SIZE);
	WITNESS(server.renewing);
	WITNESS(server.session.used == SLOTS);
	ASSUME(server.counters.execs < UINT32_MAX);
	PROVE(valid());
}

void prove_frames_of_one(void) { prove_frames(SLOTS - 1, SLOTS - 1); }

void prove_frames_of_two(void) { prove_frames(0, 1); }

void prove_children(void)
{
	begin_anywhere();
	serve_children(&server);
	WITNESS(server.port.end == PORT_QUEUE_SIZE);
	PROVE(valid());
}

void prove_input(void)
{
	begin_anywhere();
	serve_stdin(&server, nondet_bool());
	PROVE(valid());
	serve_polled(&server, nondet_bool());
	serve_kill(&server);
	PROVE(valid());
	unsigned polled = serve_poll(&server);
	PROVE(polled == SERVE_COMMANDS + server.session.used * EXEC_POLLED);
	int timeout = serve_timeout_ms(&server);
	PROVE(timeout >= -1 && timeout <= 101);
}

/* Returns how many other slots have their turn to send output before this slot. */
static uint32_t distance(uint32_t slot) { return (slot + SLOTS - server.turn % SLOTS) % SLOTS; }

/* Proves that a call of serve_output that sends output either sends the output of the slot
 * `waiting`, or reduces the number of slots that have their turn before this slot. So this output
 * waits for at most one frame of output of each other slot, even if other commands end and start
 * while it waits. */
static void prove_turn(uint32_t used, uint32_t first)
{
	uint32_t waiting = nondet_u32();

	server.session.used = used;
	server.turn = first;
	for (uint32_t slot = 0; slot < SLOTS; slot++) {
		has_output[slot] = nondet_bool();
		server.session.commands[slot].id = nondet_u32();
		server.execs[slot].id = runs(slot) ? server.session.commands[slot].id : 0;
	}
	ASSUME(valid() && waiting < SLOTS && runs(waiting) && has_output[waiting]);
	uint32_t before = distance(waiting);
	sender = SLOTS;
	serve_output(&server);
	PROVE(valid());
	/* A call that sends no output sends the result of a command. The number of such calls is
	 * limited, because each command has only one result. */
	PROVE(sender < SLOTS || (server.port.end > 0 && distance(waiting) == before));
	PROVE(sender >= SLOTS || sender == waiting || distance(waiting) < before);
	WITNESS(used == SLOTS && before == SLOTS - 1 && sender != waiting);
}

void prove_turns(void)
{
	for (uint32_t used = 1; used <= SLOTS; used++)
		for (uint32_t first = 0; first <= SLOTS; first++)
			if (nondet_bool()) {
				prove_turn(used, first);
				return;
			}
}
