#include "session.h"

void session_init(struct session *session)
{
	session->state = SANDBOXD_SESSION_STATE_NEW;
	session->version = SANDBOXD_VERSION;
	session->last_id = 0;
	session->frames_seen = 0;
	session->frames_refused = 0;
	session->used = 0;
	stream_init(&session->in);
}

/* Returns the version of the protocol to use, where `theirs` is the newest version of the host.
 * Each side speaks all versions from 1 up to its newest, so the lower one of the two newest
 * versions is used. */
static uint32_t agree(uint32_t theirs)
{
	return theirs > SANDBOXD_VERSION ? SANDBOXD_VERSION : theirs > 1 ? theirs : 1;
}

static void renew(struct session *session, const struct sandboxd_hello *hello)
{
	session->version = agree(hello->version);
	session->last_id = 0;
}

/* Returns the slot of the command with this id, or the lowest free slot if `id` is 0. Returns
 * `used` if no slot below `used` has this id or is free. */
static uint32_t find(const struct session *session, uint32_t id)
{
	uint32_t slot = 0;

	while (slot < session->used && session->commands[slot].id != id)
		slot++;
	return slot;
}

static uint8_t state_of_command(const struct session *session, uint32_t id)
{
	if (id > session->last_id)
		return SANDBOXD_COMMAND_STATE_NEW;
	/* The host may send the same messages in the states `requested` and `running`. */
	return find(session, id) < session->used ? SANDBOXD_COMMAND_STATE_RUNNING :
						   SANDBOXD_COMMAND_STATE_ENDED;
}

/* Returns the state that follows a message of the host according to the protocol's tables: the state
 * of the message's command, or of the connection. May also return SANDBOXD_IGNORED or
 * SANDBOXD_OUT_OF_ORDER. Some states ignore messages about commands. stream.c drops all bytes before
 * a `hello`, so such messages never arrive here. */
static uint8_t follow(const struct session *session, const struct sandboxd_header *header)
{
	uint32_t conditions = session->used ? 0 : SANDBOXD_SESSION_CONDITION_FREE;

	if (!header->id)
		return sandboxd_follow_session(session->state, SANDBOXD_HOST, header->type,
					       conditions);
	if (!sandboxd_allows_ids(session->state, SANDBOXD_HOST))
		return SANDBOXD_OUT_OF_ORDER;
	return sandboxd_follow_command(state_of_command(session, header->id), SANDBOXD_HOST,
				       header->type, 0);
}

/* Returns whether a new command may start in this slot while the other commands run. `beside` is
 * the flag of its request. */
static bool fits(const struct session *session, uint32_t slot, bool beside)
{
	/* If several commands run, all of them have the flag `beside`, so check only one. */
	return session->used == 0 || (beside && session->commands[session->used - 1].beside &&
				      slot < SANDBOXD_MAX_COMMANDS);
}

static enum sandboxd_error_code begin(struct session *session, uint32_t id, uint32_t slot,
				      bool beside)
{
	session->last_id = id;
	if (!fits(session, slot, beside))
		return SANDBOXD_ERROR_CODE_BUSY;
	session->commands[slot] = (struct session_command){ .id = id, .beside = beside };
	session->used += slot == session->used;
	return 0;
}

static enum sandboxd_error_code take_input(struct session_command *command, uint32_t size)
{
	if (size > command->stdin_credit)
		return SANDBOXD_ERROR_CODE_OVER_CREDIT;
	command->stdin_credit -= size;
	return 0;
}

/* Updates the session for a well-formed frame of the host that leads to the state `next`. Returns the
 * error with which the frame is refused, or 0. */
static enum sandboxd_error_code consider(struct session *session, const struct frame *frame,
					 uint8_t next, uint32_t *slot)
{
	uint32_t id = frame->header.id;

	if (next == SANDBOXD_OUT_OF_ORDER && !id) /* such as a `keep` while a command runs */
		return SANDBOXD_ERROR_CODE_BUSY;
	if (next == SANDBOXD_OUT_OF_ORDER)
		return state_of_command(session, id) == SANDBOXD_COMMAND_STATE_NEW ?
			       SANDBOXD_ERROR_CODE_UNKNOWN_ID :
			       SANDBOXD_ERROR_CODE_STALE_ID;
	if (!id)
		session->state = next;
	if (frame->header.type == SANDBOXD_TYPE_HELLO)
		renew(session, &frame->body.hello);
	bool begins = frame->header.type == SANDBOXD_TYPE_EXEC_REQUEST;

	*slot = find(session, begins ? 0 : id);
	if (begins)
		return begin(session, id, *slot, frame->body.exec_request.beside);
	if (frame->header.type == SANDBOXD_TYPE_EXEC_STDIN)
		return take_input(&session->commands[*slot], frame->body.exec_stdin.data.size);
	return 0;
}

static enum session_event refuse(struct session *session)
{
	session->frames_refused++;
	return SESSION_REFUSAL;
}

enum session_event session_next(struct session *session, struct frame *frame, uint32_t *slot,
				struct sandboxd_error *refusal)
{
	struct sandboxd_fault_at fault;

	for (;;) {
		enum stream_result result = stream_next(&session->in, session->version, frame,
							&fault);

		if (result == STREAM_MORE)
			return SESSION_MORE;
		*refusal = (struct sandboxd_error){ .refused_type = frame->header.type };
		if (result == STREAM_FAULT) {
			refusal->code = (uint16_t)fault.fault;
			refusal->offset = fault.offset;
			refusal->field = fault.field;
			session_sent(session, SANDBOXD_TYPE_ERROR,
				     SANDBOXD_SESSION_CONDITION_MALFORMED);
			return refuse(session);
		}
		session->frames_seen++;
		uint8_t next = follow(session, &frame->header);

		if (next == SANDBOXD_IGNORED)
			continue;
		refusal->code = (uint16_t)consider(session, frame, next, slot);
		return refusal->code ? refuse(session) : SESSION_FRAME;
	}
}

void session_sent(struct session *session, enum sandboxd_type type, uint32_t conditions)
{
	session->state = sandboxd_follow_session(session->state, SANDBOXD_GUEST, (uint16_t)type,
						 conditions);
	if (type == SANDBOXD_TYPE_READY)
		session->used = 0;
}

void session_end(struct session *session, uint32_t slot)
{
	session->commands[slot].id = 0;
	while (session->used > 0 && session->commands[session->used - 1].id == 0)
		session->used--;
}

void session_allow(struct session *session, uint32_t slot, uint32_t amount)
{
	session->commands[slot].stdin_credit += amount;
}
