/* Proves that session.c computes the correct next event of a session, for any state, any table of
 * running commands, and any frame.
 *
 * Functions: session_init session_next session_end session_allow renew agree find fits begin take_input
 *	state_of_command follow consider refuse session_sent sandboxd_follow_session
 *	sandboxd_follow_command sandboxd_allows_ids
 * Bound: the proof covers every state, every table of commands, and every frame, with up to 3
 *	frames about ended commands in a row
 * Assumes: stream_next and the header of a frame have the properties that stream.c and
 *	header.c prove; the daemon reads no frame before its `ready`, and looks for a hello in the
 *	states `new` and `searching`; the stream has 13 bytes; at most 4 commands run at once,
 *	instead of 64; the daemon has read fewer than 2^32 frames
 * Idle: stream_init
 * Unwind: 5 */
#include "proof.h"

#define SANDBOXD_MAX_BODY_FROM_HOST 1
#undef SANDBOXD_MAX_COMMANDS
#define SANDBOXD_MAX_COMMANDS 4

#include <session.c>

enum { SLOTS = SANDBOXD_MAX_COMMANDS };

static struct session session;

/* Returns whether the daemon reads frames of any type in a state. */
static bool reads_all(uint8_t state)
{
	return state == SANDBOXD_SESSION_STATE_READY || state == SANDBOXD_SESSION_STATE_CLOSING;
}

/* Returns whether the daemon looks for a hello in a state. */
static bool seeks(uint8_t state)
{
	return state == SANDBOXD_SESSION_STATE_NEW || state == SANDBOXD_SESSION_STATE_SEARCHING;
}

/* Returns whether messages of this type come from the host and concern a command. */
static bool is_about_command(uint16_t type)
{
	return type == SANDBOXD_TYPE_EXEC_REQUEST || type == SANDBOXD_TYPE_EXEC_SIGNAL ||
	       type == SANDBOXD_TYPE_EXEC_TERMINATE || type == SANDBOXD_TYPE_EXEC_KILL ||
	       type == SANDBOXD_TYPE_EXEC_STDIN || type == SANDBOXD_TYPE_EXEC_RESIZE ||
	       type == SANDBOXD_TYPE_EXEC_CREDIT;
}

enum stream_result stream_next(struct stream *stream, uint32_t version, struct frame *frame,
			       struct sandboxd_fault_at *fault)
{
	static int turn;
	enum stream_result result = turn++ == 3 ? STREAM_MORE : (enum stream_result)nondet_byte();
	const struct sandboxd_header *header = &frame->header;

	ASSUME(result == STREAM_MORE || result == STREAM_FRAME || result == STREAM_FAULT);
	__CPROVER_havoc_object(frame);
	__CPROVER_havoc_object(fault);
	if (header->type == SANDBOXD_TYPE_EXEC_REQUEST)
		frame->body.exec_request.beside = nondet_bool();
	ASSUME(fault->fault > SANDBOXD_FAULT_NONE && fault->fault <= SANDBOXD_FAULT_TRAILING_BYTES);
	ASSUME(result != STREAM_FRAME ||
	       (header->type == SANDBOXD_TYPE_HELLO || header->type == SANDBOXD_TYPE_PING ||
		header->type == SANDBOXD_TYPE_RESUME || header->type == SANDBOXD_TYPE_SHUTDOWN ||
		header->type == SANDBOXD_TYPE_STATUS_REQUEST ||
		header->type == SANDBOXD_TYPE_KEEP) == (header->id == 0));
	ASSUME(result != STREAM_FRAME || header->id == 0 || is_about_command(header->type));
	ASSUME(result == STREAM_MORE || reads_all(session.state) ||
	       (result == STREAM_FRAME && seeks(session.state) &&
		header->type == SANDBOXD_TYPE_HELLO));
	return result;
}

/* A copy of the session, without its stream, before the session handles the frame. */
static struct {
	uint8_t state;
	uint32_t last_id, used;
	uint64_t frames_seen, frames_refused;
	struct session_command commands[SLOTS];
} before;

static bool runs(uint32_t slot) { return slot < session.used && session.commands[slot].id != 0; }

static bool ran(uint32_t slot) { return slot < before.used && before.commands[slot].id != 0; }

/* Returns whether the command in this slot is valid. Its id must be unique, and not above `last_id`
 * (except in the state GREETING, because a hello resets `last_id`). If other commands run, it must
 * have the flag `beside`. */
static bool valid_slot(uint32_t slot)
{
	const struct session_command *command = &session.commands[slot];

	for (uint32_t other = 0; other < slot; other++)
		if (runs(other) && session.commands[other].id == command->id)
			return false;
	return (command->beside || session.used == 1) &&
	       (command->id <= session.last_id || session.state == SANDBOXD_SESSION_STATE_GREETING);
}

static bool valid(void)
{
	if (session.state < SANDBOXD_SESSION_STATE_NEW ||
	    session.state > SANDBOXD_SESSION_STATE_FINISHED || session.version < 1 ||
	    session.version > SANDBOXD_VERSION || session.used > SLOTS ||
	    (session.used > 0 && !runs(session.used - 1)))
		return false;
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		if (runs(slot) && !valid_slot(slot))
			return false;
	return true;
}

/* Sets the session to an arbitrary valid state, and `before` to a copy of it. */
static void begin_anywhere(void)
{
	session.state = before.state = nondet_byte();
	session.version = nondet_u32();
	session.last_id = before.last_id = nondet_u32();
	session.used = before.used = nondet_u32();
	session.frames_seen = before.frames_seen = nondet_u32();
	session.frames_refused = before.frames_refused = nondet_u32();
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		session.commands[slot] = before.commands[slot] = (struct session_command){
			nondet_u32(),
			nondet_u32(),
			nondet_bool(),
		};
	ASSUME(valid());
}

static bool is_unchanged(uint32_t slot)
{
	const struct session_command *now = &session.commands[slot], *then = &before.commands[slot];

	return runs(slot) == ran(slot) &&
	       (!ran(slot) || (now->id == then->id && now->stdin_credit == then->stdin_credit &&
			       now->beside == then->beside));
}

/* Proves that no command in another slot than `changed` has changed. */
static void prove_others(uint32_t changed)
{
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		PROVE(slot == changed || is_unchanged(slot));
}

/* Returns whether the specification permits a new command to start while the commands of `before`
 * run. */
static bool may_begin(bool beside)
{
	uint32_t count = 0;
	bool all_beside = beside;

	for (uint32_t slot = 0; slot < SLOTS; slot++) {
		count += ran(slot);
		all_beside &= !ran(slot) || before.commands[slot].beside;
	}
	return count == 0 || (all_beside && count < SLOTS);
}

static void prove_request(const struct frame *frame, uint32_t slot)
{
	PROVE(may_begin(frame->body.exec_request.beside));
	PROVE(frame->header.id > before.last_id && frame->header.id == session.last_id);
	/* The new command got the lowest free slot. */
	PROVE(slot < SLOTS && !ran(slot) && runs(slot));
	for (uint32_t lower = 0; lower < slot; lower++)
		PROVE(ran(lower));
	PROVE(session.commands[slot].id == frame->header.id);
	PROVE(session.commands[slot].beside == frame->body.exec_request.beside);
	PROVE(session.commands[slot].stdin_credit == 0);
	prove_others(slot);
	WITNESS(slot == SLOTS - 1);
	WITNESS(slot == 1 && session.used == SLOTS);
	WITNESS(frame->header.id == UINT32_MAX);
}

static void prove_input(const struct frame *frame, uint32_t slot)
{
	uint32_t paid = before.commands[slot].stdin_credit - session.commands[slot].stdin_credit;

	PROVE(session.commands[slot].stdin_credit <= before.commands[slot].stdin_credit);
	PROVE(frame->body.exec_stdin.data.size == paid);
	PROVE(session.commands[slot].beside == before.commands[slot].beside);
	prove_others(slot);
	WITNESS(paid == 65536 && slot == SLOTS - 1);
}

static void prove_frame_of(const struct frame *frame, uint32_t slot)
{
	uint16_t type = frame->header.type;
	uint32_t id = frame->header.id;

	PROVE(session.frames_seen > before.frames_seen);
	PROVE(type == SANDBOXD_TYPE_HELLO || before.state == SANDBOXD_SESSION_STATE_READY);
	if (type == SANDBOXD_TYPE_HELLO) {
		PROVE(session.last_id == 0 && session.state == SANDBOXD_SESSION_STATE_GREETING);
		prove_others(SLOTS);
		return;
	}
	if (type == SANDBOXD_TYPE_EXEC_REQUEST) {
		prove_request(frame, slot);
		return;
	}
	/* A message other than a request has no id, or the id of the command in the slot. It ends
	 * no command. */
	PROVE(id == 0 || (ran(slot) && before.commands[slot].id == id));
	PROVE(id == 0 || session.commands[slot].id == id);
	PROVE(session.last_id == before.last_id && session.used == before.used);
	PROVE(type != SANDBOXD_TYPE_KEEP || before.used == 0);
	if (type == SANDBOXD_TYPE_EXEC_STDIN)
		prove_input(frame, slot);
	else
		prove_others(SLOTS);
	WITNESS(type == SANDBOXD_TYPE_EXEC_KILL && slot == 2 && before.used == SLOTS);
}

static void prove_refusal_of(const struct frame *frame, const struct sandboxd_error *refusal)
{
	bool requests = frame->header.type == SANDBOXD_TYPE_EXEC_REQUEST;
	uint32_t id = frame->header.id;

	prove_others(SLOTS);
	PROVE(session.used == before.used && refusal->code != 0);
	if (refusal->code == SANDBOXD_ERROR_CODE_BUSY && requests) {
		PROVE(!may_begin(frame->body.exec_request.beside));
		PROVE(id > before.last_id && session.last_id == id);
		WITNESS(before.used == 1 && before.commands[0].beside);
		WITNESS(before.used == 1 && frame->body.exec_request.beside);
		WITNESS(before.commands[0].beside && frame->body.exec_request.beside);
		return;
	}
	PROVE(session.last_id == before.last_id);
	if (before.state == SANDBOXD_SESSION_STATE_READY) {
		PROVE(refusal->code != SANDBOXD_ERROR_CODE_BUSY || before.used > 0);
		PROVE(refusal->code != SANDBOXD_ERROR_CODE_STALE_ID ||
		      (requests && id <= before.last_id));
	}
	PROVE(refusal->code != SANDBOXD_ERROR_CODE_UNKNOWN_ID || id > before.last_id);
	WITNESS(refusal->code == SANDBOXD_ERROR_CODE_BUSY);
	WITNESS(refusal->code == SANDBOXD_ERROR_CODE_OVER_CREDIT);
	WITNESS(refusal->code == SANDBOXD_ERROR_CODE_STALE_ID);
	WITNESS(refusal->code == SANDBOXD_ERROR_CODE_UNKNOWN_ID);
}

void prove_frame(void)
{
	uint32_t slot, ended = nondet_u32();
	struct frame frame;
	struct sandboxd_error refusal;

	begin_anywhere();
	/* `ended` is the id of an arbitrary earlier request whose command does not run now. */
	ASSUME(ended > 0 && ended <= session.last_id && find(&session, ended) == session.used);
	enum session_event event = session_next(&session, &frame, &slot, &refusal);

	PROVE(valid());
	PROVE(session.frames_refused == before.frames_refused + (event == SESSION_REFUSAL));
	if (event == SESSION_FRAME)
		prove_frame_of(&frame, slot);
	else if (event == SESSION_REFUSAL)
		prove_refusal_of(&frame, &refusal);
	else
		prove_others(SLOTS);
	/* A frame never restarts a command that has finished. The session gives the daemon no frame
	 * with the id of that command. */
	PROVE(find(&session, ended) == session.used);
	PROVE(event != SESSION_FRAME || frame.header.id != ended);
}

void prove_start(void)
{
	session_init(&session);
	session.version = SANDBOXD_VERSION;
	PROVE(valid() && session.used == 0 && session.last_id == 0);
}

/* Proves that all slots are free after the daemon has sent `ready`. */
void prove_ready(void)
{
	begin_anywhere();
	ASSUME(session.state == SANDBOXD_SESSION_STATE_GREETING);
	session_sent(&session, SANDBOXD_TYPE_READY, SANDBOXD_SESSION_CONDITION_OWN_NONCE);
	PROVE(session.state == SANDBOXD_SESSION_STATE_READY && session.used == 0);
	PROVE(valid());
}

/* Proves that session_end frees only the slot of its command, and that session_allow changes only
 * the credit of its command. */
void prove_end(void)
{
	uint32_t slot = nondet_u32(), room = nondet_u32();

	begin_anywhere();
	ASSUME(slot < SLOTS && runs(slot));
	/* Assume that the credit does not exceed the buffer for input, as input.c proves. */
	ASSUME(session.commands[slot].stdin_credit <= 16 * SANDBOXD_EXEC_STDIN_DATA_MAX);
	ASSUME(room <= 16 * SANDBOXD_EXEC_STDIN_DATA_MAX);
	session_allow(&session, slot, room);
	PROVE(session.commands[slot].stdin_credit == before.commands[slot].stdin_credit + room);
	prove_others(slot);
	session_end(&session, slot);
	PROVE(valid() && !runs(slot));
	prove_others(slot);
	WITNESS(before.used == SLOTS && session.used == 1);
}
