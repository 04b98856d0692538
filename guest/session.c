#include "session.h"

void session_init(struct session *session)
{
	session->version = SANDBOXD_VERSION;
	session->last_id = 0;
	session->frames_seen = 0;
	session->frames_refused = 0;
	session_end(session);
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
	session_end(session);
}

static enum sandboxd_error_code begin(struct session *session, uint32_t id)
{
	if (id <= session->last_id)
		return SANDBOXD_ERROR_CODE_STALE_ID;
	session->last_id = id;
	if (session->current)
		return SANDBOXD_ERROR_CODE_BUSY;
	session->current = id;
	return 0;
}

static enum sandboxd_error_code take_input(struct session *session, uint32_t size)
{
	if (size > session->stdin_credit)
		return SANDBOXD_ERROR_CODE_OVER_CREDIT;
	session->stdin_credit -= size;
	return 0;
}

/* Returns whether a frame is about a command that has ended. The host sent this frame before it
 * knew that the command had ended, so the daemon ignores the frame. */
static bool is_late(const struct session *session, const struct sandboxd_header *header)
{
	return header->id && header->type != SANDBOXD_TYPE_EXEC_REQUEST &&
	       header->id <= session->last_id && header->id != session->current;
}

/* Checks whether the host may send a well-formed frame now, and updates the session for it. Returns
 * the error with which the frame is refused, or 0. */
static enum sandboxd_error_code consider(struct session *session, const struct frame *frame)
{
	const struct sandboxd_header *header = &frame->header;

	if (header->type == SANDBOXD_TYPE_HELLO)
		renew(session, &frame->body.hello);
	if (header->type == SANDBOXD_TYPE_EXEC_REQUEST)
		return begin(session, header->id);
	if (header->type == SANDBOXD_TYPE_KEEP && session->current)
		return SANDBOXD_ERROR_CODE_BUSY;
	if (header->id > session->last_id)
		return SANDBOXD_ERROR_CODE_UNKNOWN_ID;
	if (header->type == SANDBOXD_TYPE_EXEC_STDIN)
		return take_input(session, frame->body.exec_stdin.data.size);
	return 0;
}

static enum session_event refuse(struct session *session)
{
	session->frames_refused++;
	return SESSION_REFUSAL;
}

enum session_event session_next(struct session *session, struct frame *frame,
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
			return refuse(session);
		}
		session->frames_seen++;
		if (is_late(session, &frame->header))
			continue;
		refusal->code = (uint16_t)consider(session, frame);
		return refusal->code ? refuse(session) : SESSION_FRAME;
	}
}

void session_end(struct session *session)
{
	session->current = 0;
	session->stdin_credit = 0;
}

void session_allow(struct session *session, uint32_t amount)
{
	session->stdin_credit += amount;
}
