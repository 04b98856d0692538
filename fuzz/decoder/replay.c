/* A target for the fuzzer libFuzzer. Decodes each input with the daemon's code, as a whole and in
 * pieces, logs the results, and checks that they are the same. */
#include <assert.h>
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <string.h>

#include "session.h"

enum { LOG_SIZE = 16 << 20, CUTS = 300 };

struct log {
	size_t size;
	uint8_t data[LOG_SIZE];
};

/* Encodes a decoded message. build.py generates this function, with a case for each message. */
size_t again(uint8_t *out, size_t room, uint32_t version, const struct sandboxd_header *header,
	     const union sandboxd_body *body);

static struct session session;
static uint32_t frames_left[SANDBOXD_MAX_COMMANDS]; /* for each command: frames until its end */

static void put(struct log *log, uint64_t value, unsigned size)
{
	assert(LOG_SIZE - log->size >= size);
	for (unsigned i = 0; i < size; i++)
		log->data[log->size++] = (uint8_t)(value >> 8 * i);
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
	if (refusal->code)
		return;
	/* Encode the decoded frame again, so that the log shows if decoding lost anything. */
	size_t size = again(log->data + log->size, LOG_SIZE - log->size, session.version,
			    &frame->header, &frame->body);

	assert(size == SANDBOXD_HEADER_SIZE + frame->header.body_length);
	log->size += size;
}

/* Updates the session after an accepted frame, in place of the rest of the daemon. Unlike the
 * daemon, this program answers a hello at once, and also reads frames after a shutdown. It starts
 * no process, but only pretends that commands run: the command of an exec_request gets credit for
 * id % 8 * 16 bytes of input, and ends after id % 100 more frames. So the result depends only on
 * the frames, and not on how reads split the bytes. */
static void carry_out(const struct frame *frame, uint32_t slot)
{
	if (frame->header.type == SANDBOXD_TYPE_HELLO) {
		memset(frames_left, 0, sizeof frames_left);
		session_sent(&session, SANDBOXD_TYPE_READY, SANDBOXD_SESSION_CONDITION_OWN_NONCE);
	}
	if (frame->header.type == SANDBOXD_TYPE_EXEC_REQUEST) {
		frames_left[slot] = 1 + frame->header.id % 100;
		session_allow(&session, slot, frame->header.id % 8 * 16);
	}
}

/* Counts down the numbers in `frames_left`, and ends each command whose number becomes 0. */
static void end_commands(void)
{
	for (uint32_t slot = 0; slot < SANDBOXD_MAX_COMMANDS; slot++)
		if (frames_left[slot] > 0 && --frames_left[slot] == 0)
			session_end(&session, slot);
}

static void take(struct log *log)
{
	static struct frame frame;
	struct sandboxd_error refusal = { 0 };
	enum session_event event;
	uint32_t slot = 0;

	while ((event = session_next(&session, &frame, &slot, &refusal)) != SESSION_MORE) {
		assert((event == SESSION_REFUSAL) == (refusal.code != 0));
		put_event(log, &frame, &refusal);
		if (event == SESSION_FRAME)
			carry_out(&frame, slot);
		end_commands();
	}
	assert(session.in.start <= session.in.end && session.in.end < STREAM_SIZE);
}

/* Appends bytes to the stream, as the daemon does when it receives them, and decodes them. The rest
 * of the buffer is poisoned, so that AddressSanitizer reports each read beyond the bytes. */
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

/* Logs how the daemon decodes the bytes of a host, which arrive in several reads. `cuts` are the
 * offsets, in ascending order, at which another read begins. Returns the number of accepted and
 * refused frames. */
size_t replay_host(const uint8_t *data, size_t size, const uint32_t *cuts, size_t count,
		   struct log *log)
{
	size_t at = 0;

	log->size = 0;
	memset(frames_left, 0, sizeof frames_left);
	session_init(&session);
	ASAN_POISON_MEMORY_REGION(session.in.data, STREAM_SIZE);
	for (size_t i = 0; i < count; at = cuts[i++])
		feed(data + at, cuts[i] - at, log);
	feed(data + at, size - at, log);
	put(log, session.in.dropped, 8);
	put(log, session.in.end, 4);
	put(log, session.frames_seen, 4);
	put(log, session.frames_refused, 4);
	return session.frames_seen + session.frames_refused;
}

/* Logs how a host in C would decode the bytes of a guest, up to the first malformed frame. Returns
 * the number of frames. */
size_t replay_guest(const uint8_t *data, size_t size, struct log *log)
{
	static struct frame frame;
	struct sandboxd_fault_at fault = { 0 };
	struct sandboxd_error refusal = { 0 };
	size_t frames = 0;

	log->size = 0;
	session_init(&session);
	while (size >= SANDBOXD_HEADER_SIZE) {
		const uint8_t *body = data + SANDBOXD_HEADER_SIZE;
		bool right = sandboxd_decode_header(data, SANDBOXD_GUEST, SANDBOXD_VERSION,
						    &frame.header, &fault);

		if (right && size - SANDBOXD_HEADER_SIZE < frame.header.body_length)
			break;
		if (!right || !sandboxd_decode_body(&frame.header, body, SANDBOXD_VERSION,
						    &frame.body, &fault))
			refusal = (struct sandboxd_error){ .code = (uint16_t)fault.fault,
							   .offset = fault.offset,
							   .field = fault.field };
		frames++;
		put_event(log, &frame, &refusal);
		if (refusal.code)
			break;
		data = body + frame.header.body_length;
		size -= SANDBOXD_HEADER_SIZE + frame.header.body_length;
	}
	return frames;
}

/* Decodes the first bytes as a header, in each version, and all other bytes as a body of the
 * header's type. Calls the decoders directly, so that they also get bytes that an earlier check
 * would refuse. */
static void replay_parts(const uint8_t *data, size_t size)
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

static struct log whole, cut;
static size_t frames; /* number of decoded frames, without those that `compare` decodes again */

__attribute__((destructor)) static void report(void)
{
	if (frames)
		fprintf(stderr, "frames: %zu\n", frames);
}

/* Decodes an input again, in pieces of `step` bytes, and checks that the log equals that of the
 * whole input. After CUTS pieces, the rest of the input is one piece. */
static void compare(const uint8_t *data, size_t size, size_t step)
{
	static uint32_t cuts[CUTS];
	size_t count = 0;

	for (size_t at = step; at < size && count < CUTS; at += step)
		cuts[count++] = (uint32_t)at;
	replay_host(data, size, cuts, count, &cut);
	bool same = whole.size == cut.size && memcmp(whole.data, cut.data, whole.size) == 0;
	assert(same && "another cut gives the same events");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	frames += replay_host(data, size, NULL, 0, &whole);
	if (size <= CUTS)
		compare(data, size, 1);
	compare(data, size, 1 + data[size / 2] * size / 256);
	frames += replay_guest(data, size, &whole);
	replay_parts(data, size);
	return 0;
}
