#include "replay.h"

#include <assert.h>
#include <string.h>

#include "session.h"

/* Nobody may read what has not been received. */
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

static struct session session;
static uint32_t frames_left; /* how many frames the exec in flight goes on for */

static void put(struct log *log, uint64_t value, unsigned size)
{
	assert(LOG_SIZE - log->size >= size);
	for (unsigned i = 0; i < size; i++)
		log->data[log->size++] = (uint8_t)(value >> 8 * i);
}

/* The frame again, from what was decoded of it: nothing of it may have been lost. */
static void put_message(struct log *log, const struct frame *frame)
{
	size_t room = LOG_SIZE - log->size;

	assert(room >= SANDBOXD_HEADER_SIZE + SANDBOXD_MAX_BODY);
	size_t size = again(log->data + log->size, session.version, frame);
	assert(size == SANDBOXD_HEADER_SIZE + frame->header.body_length);
	log->size += size;
}

static void put_event(struct log *log, const struct frame *frame,
		      const struct sandboxd_error *refusal)
{
	put(log, session.in.dropped, 8);
	put(log, frame->header.type, 2);
	put(log, frame->header.id, 4);
	put(log, refusal->code, 2);
	put(log, refusal->offset, 4);
	put(log, refusal->field, 1);
	if (!refusal->code)
		put_message(log, frame);
}

/* What the rest of the daemon does with a frame, as far as the session depends on it. */
static void carry_out(const struct frame *frame)
{
	uint32_t id = frame->header.id;

	if (frame->header.type == SANDBOXD_TYPE_HELLO) {
		frames_left = 0;
	} else if (frame->header.type == SANDBOXD_TYPE_EXEC_REQUEST) {
		frames_left = id % 5;
		session_allow(&session, id % 8 * 16);
		if (frames_left == 0)
			session_end(&session);
	}
}

static void count_frame(void)
{
	if (frames_left > 0 && --frames_left == 0)
		session_end(&session);
}

static void take(struct log *log)
{
	static struct frame frame;
	struct sandboxd_error refusal = { 0 };
	enum session_event event;
	uint64_t counted = session.frames_seen + session.frames_refused;

	while ((event = session_next(&session, &frame, &refusal)) != SESSION_MORE) {
		assert((event == SESSION_REFUSAL) == (refusal.code != 0));
		put_event(log, &frame, &refusal);
		count_frame();
		if (event == SESSION_FRAME)
			carry_out(&frame);
	}
	assert(session.in.start <= session.in.end && session.in.end < STREAM_SIZE);
	log->frames += session.frames_seen + session.frames_refused - counted;
}

/* As the daemon does when its port can be read. */
static void feed(const uint8_t *data, size_t size, struct log *log)
{
	struct stream *in = &session.in;

	while (size > 0) {
		size_t room = STREAM_SIZE - in->end;
		size_t some = size < room ? size : room;

		assert(room > 0);
		ASAN_UNPOISON_MEMORY_REGION(in->data + in->end, some);
		memcpy(in->data + in->end, data, some);
		in->end += some;
		size_t received = in->end;
		take(log);
		ASAN_POISON_MEMORY_REGION(in->data + in->end, received - in->end);
		data += some;
		size -= some;
	}
}

void replay_host(const uint8_t *data, size_t size, const uint32_t *cuts, size_t count,
		 struct log *log)
{
	size_t at = 0;

	log->size = 0;
	log->frames = 0;
	frames_left = 0;
	session_init(&session);
	ASAN_POISON_MEMORY_REGION(session.in.data, STREAM_SIZE);
	for (size_t i = 0; i < count; at = cuts[i++])
		feed(data + at, cuts[i] - at, log);
	feed(data + at, size - at, log);
	put(log, session.in.dropped, 8);
	put(log, session.in.end, 4);
	put(log, session.frames_seen, 4);
	put(log, session.frames_refused, 4);
}

void replay_guest(const uint8_t *data, size_t size, struct log *log)
{
	static struct frame frame;
	struct sandboxd_fault_at fault = { 0 };
	struct sandboxd_error refusal = { 0 };

	log->size = 0;
	log->frames = 0;
	session_init(&session);
	while (size >= SANDBOXD_HEADER_SIZE) {
		const uint8_t *body = data + SANDBOXD_HEADER_SIZE;
		bool right = sandboxd_decode_header(data, SANDBOXD_GUEST, SANDBOXD_VERSION,
						    &frame.header, &fault);

		if (right && size - SANDBOXD_HEADER_SIZE < frame.header.body_length)
			return;
		right = right && sandboxd_decode_body(&frame.header, body, SANDBOXD_VERSION,
						      &frame.body, &fault);
		if (!right)
			refusal = (struct sandboxd_error){ .code = (uint16_t)fault.fault,
							   .offset = fault.offset,
							   .field = fault.field };
		log->frames++;
		put_event(log, &frame, &refusal);
		if (!right)
			return;
		data = body + frame.header.body_length;
		size -= SANDBOXD_HEADER_SIZE + frame.header.body_length;
	}
}

void replay_parts(const uint8_t *data, size_t size)
{
	static union sandboxd_body body;
	struct sandboxd_fault_at fault;
	struct sandboxd_header header;

	if (size < SANDBOXD_HEADER_SIZE)
		return;
	for (uint32_t version = 0; version <= SANDBOXD_VERSION; version++) {
		sandboxd_decode_header(data, SANDBOXD_BOTH, version, &header, &fault);
		header.body_length = (uint32_t)(size - SANDBOXD_HEADER_SIZE);
		sandboxd_decode_body(&header, data + SANDBOXD_HEADER_SIZE, version, &body, &fault);
	}
}
