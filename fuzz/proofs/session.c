/* Computes the next event of a session from any state and any frame.
 *
 * Functions: session_init session_next session_end session_allow renew agree begin take_input
 *	state_of_command follow consider refuse session_sent sandboxd_follow_session
 *	sandboxd_follow_command sandboxd_allows_ids
 * Bound: every state, and every frame, with up to 3 late frames in a row
 * Assumes: stream_next and the header of a frame have the properties that stream.c and header.c prove;
 *	the daemon reads no frame before its `ready`, and looks for a hello in the states `new` and
 *	`searching`; the id of the running exec is not above the last id; fewer than 2^32 frames before
 * Idle: stream_init
 * Unwind: 5 */
#include "proof.h"

#include <session.c>

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

enum stream_result stream_next(struct stream *stream, uint32_t version, struct frame *frame,
			       struct sandboxd_fault_at *fault)
{
	static int turn;
	enum stream_result result = turn++ == 3 ? STREAM_MORE : (enum stream_result)nondet_byte();
	const struct sandboxd_header *header = &frame->header;

	ASSUME(result == STREAM_MORE || result == STREAM_FRAME || result == STREAM_FAULT);
	__CPROVER_havoc_object(frame);
	__CPROVER_havoc_object(fault);
	ASSUME(fault->fault > SANDBOXD_FAULT_NONE && fault->fault <= SANDBOXD_FAULT_TRAILING_BYTES);
	ASSUME(result != STREAM_FRAME ||
	       (header->type == SANDBOXD_TYPE_HELLO || header->type == SANDBOXD_TYPE_PING ||
		header->type == SANDBOXD_TYPE_RESUME || header->type == SANDBOXD_TYPE_SHUTDOWN ||
		header->type == SANDBOXD_TYPE_STATUS_REQUEST ||
		header->type == SANDBOXD_TYPE_KEEP) == (header->id == 0));
	ASSUME(result == STREAM_MORE || reads_all(session.state) ||
	       (result == STREAM_FRAME && seeks(session.state) &&
		header->type == SANDBOXD_TYPE_HELLO));
	return result;
}

static bool valid(const struct session *session)
{
	return session->state >= SANDBOXD_SESSION_STATE_NEW &&
	       session->state <= SANDBOXD_SESSION_STATE_FINISHED &&
	       session->current <= session->last_id && session->version >= 1 &&
	       session->version <= SANDBOXD_VERSION && (session->current || !session->stdin_credit);
}

void prove(void)
{
	struct {
		uint8_t state;
		uint32_t last_id, current, stdin_credit;
		uint64_t frames_seen, frames_refused;
	} before;
	struct frame frame;
	struct sandboxd_error refusal;

	session_init(&session);
	PROVE(valid(&session));
	session.state = before.state = nondet_byte();
	session.version = nondet_u32();
	session.last_id = before.last_id = nondet_u32();
	session.current = before.current = nondet_u32();
	session.stdin_credit = before.stdin_credit = nondet_u32();
	session.frames_seen = before.frames_seen = nondet_u32();
	session.frames_refused = before.frames_refused = nondet_u32();
	ASSUME(valid(&session));
	enum session_event event = session_next(&session, &frame, &refusal);
	uint16_t type = frame.header.type;
	uint32_t id = frame.header.id;

	PROVE(valid(&session));
	PROVE(session.stdin_credit <= before.stdin_credit);
	PROVE(session.frames_refused == before.frames_refused + (event == SESSION_REFUSAL));
	PROVE(event != SESSION_REFUSAL || refusal.code != 0);
	if (event == SESSION_FRAME) {
		PROVE(session.frames_seen > before.frames_seen);
		if (type == SANDBOXD_TYPE_EXEC_REQUEST) {
			PROVE(before.current == 0 && id > before.last_id);
			PROVE(session.current == id && session.last_id == id);
			WITNESS(id == UINT32_MAX);
		} else if (type == SANDBOXD_TYPE_HELLO) {
			PROVE(session.current == 0 && session.last_id == 0);
			PROVE(session.state == SANDBOXD_SESSION_STATE_GREETING);
		} else {
			/* Other messages have no id, or the id of the running command, and do not end
			 * this command. */
			PROVE(id == 0 || id == before.current);
			PROVE(session.current == before.current);
			PROVE(session.last_id == before.last_id);
		}
		PROVE(type == SANDBOXD_TYPE_HELLO || before.state == SANDBOXD_SESSION_STATE_READY);
		PROVE(type != SANDBOXD_TYPE_KEEP || before.current == 0);
		if (type == SANDBOXD_TYPE_EXEC_STDIN) {
			uint32_t paid = before.stdin_credit - session.stdin_credit;

			PROVE(frame.body.exec_stdin.data.size == paid);
			WITNESS(paid == 65536);
		}
	} else if (event == SESSION_REFUSAL) {
		PROVE(session.current == before.current);
		PROVE(session.stdin_credit == before.stdin_credit);
		PROVE(session.last_id >= before.last_id);
		WITNESS(refusal.code == SANDBOXD_ERROR_CODE_BUSY);
		WITNESS(refusal.code == SANDBOXD_ERROR_CODE_OVER_CREDIT);
		WITNESS(refusal.code == SANDBOXD_ERROR_CODE_STALE_ID);
		WITNESS(refusal.code == SANDBOXD_ERROR_CODE_UNKNOWN_ID);
	}
	if (session.state == SANDBOXD_SESSION_STATE_GREETING) {
		session_sent(&session, SANDBOXD_TYPE_READY, SANDBOXD_SESSION_CONDITION_OWN_NONCE);
		PROVE(session.state == SANDBOXD_SESSION_STATE_READY);
	}
	session_end(&session);
	PROVE(valid(&session));
	/* Assume that the credit does not exceed the buffer for input, as input.c proves. */
	uint32_t room = nondet_u32();
	ASSUME(room <= 16 * SANDBOXD_EXEC_STDIN_DATA_MAX);
	session_allow(&session, room);
	PROVE(session.stdin_credit == room);
}
