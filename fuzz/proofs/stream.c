/* Splits bytes into frames: computes the next frame from any state of a stream.
 *
 * Functions: stream_init stream_cut stream_next seek compact malformed
 * Bound: every state of the whole stream (6299841 bytes); up to 3 bytes are dropped at a time
 * Assumes: the decoders behave as header.c, body.c and request.c prove; comparing and moving bytes is
 *	replaced by checks of the arguments
 * Unwind: 5 */
#include "proof.h"

static bool decode_header(const uint8_t *frame, struct sandboxd_header *header)
{
	bool good = nondet_bool();

	PROVE(__CPROVER_r_ok(frame, SANDBOXD_HEADER_SIZE));
	header->body_length = good ? (uint32_t)nondet_upto(SANDBOXD_MAX_BODY_FROM_HOST) :
				     nondet_u32();
	return good;
}
#define sandboxd_decode_header(frame, sender, version, header, fault) decode_header(frame, header)

static bool decode_body(const struct sandboxd_header *header, const uint8_t *body)
{
	PROVE(__CPROVER_r_ok(body, header->body_length));
	return nondet_bool();
}
#define sandboxd_decode_body(header, body, version, out, fault) decode_body(header, body)

static int compare(const void *bytes, size_t size)
{
	static int turn;

	PROVE(__CPROVER_r_ok(bytes, size));
	return turn++ == 3 ? 0 : nondet_int();
}
#define memcmp(bytes, what, size) compare(bytes, size)

static void move(const void *to, const void *from, size_t size);
#define memmove(to, from, size) move(to, from, size)

#include <stream.c>

static struct stream stream;

/* Proves that all remaining bytes are moved to the front. */
static void move(const void *to, const void *from, size_t size)
{
	PROVE(to == stream.data && from == stream.data + stream.start);
	PROVE(size == stream.end - stream.start);
}

static bool valid(void) { return stream.start <= stream.end && stream.end <= STREAM_SIZE; }

void prove(void)
{
	struct frame frame;
	struct sandboxd_fault_at fault;

	stream_init(&stream);
	PROVE(valid() && stream.seeking);
	stream.start = nondet_upto(STREAM_SIZE);
	stream.end = nondet_upto(STREAM_SIZE);
	ASSUME(valid());
	size_t held = stream.end - stream.start;
	stream_cut(&stream);
	PROVE(valid() && stream.seeking && stream.end == 0 && stream.dropped == held);
	stream_init(&stream);
	stream.start = nondet_upto(STREAM_SIZE);
	stream.end = nondet_upto(STREAM_SIZE);
	stream.seeking = nondet_bool();
	ASSUME(valid());

	bool was_seeking = stream.seeking;
	size_t start = stream.start, end = stream.end;
	enum stream_result result = stream_next(&stream, nondet_u32(), &frame, &fault);
	size_t dropped = stream.dropped;
	size_t taken = result == STREAM_FRAME ? SANDBOXD_HEADER_SIZE + frame.header.body_length : 0;

	PROVE(valid());
	PROVE(dropped == 0 || was_seeking);
	if (result == STREAM_MORE)
		PROVE(stream.start == 0 && stream.end == end - (start + dropped));
	else
		PROVE(stream.start == start + dropped + taken && stream.end == end);
	/* Decoding never gets stuck: STREAM_MORE leaves room for more bytes, and STREAM_FRAME
	 * consumes at least one byte. */
	PROVE(result != STREAM_MORE || stream.end < STREAM_SIZE);
	PROVE(result != STREAM_FRAME || (taken > 0 && !stream.seeking));
	PROVE(result != STREAM_FAULT || stream.seeking);
	WITNESS(result == STREAM_MORE && stream.end == STREAM_SIZE - 1);
	WITNESS(result == STREAM_FRAME && taken == STREAM_SIZE);
	WITNESS(result == STREAM_FRAME && dropped == 3);
	WITNESS(result == STREAM_FAULT);
}
