#include "stream.h"

#include <string.h>

/* The byte of the protocol's magic number that is at position `at` on the wire. */
#define MAGIC(at) (uint8_t)(SANDBOXD_MAGIC >> 8 * (at))

/* The first bytes of every `hello` message: its header, then the protocol's magic number. */
enum { HELLO_START = SANDBOXD_HEADER_SIZE + 8 };
/* clang-format off */
static const uint8_t hello_start[HELLO_START] = {
	SANDBOXD_HELLO_MAX_BODY, 0, 0, 0, SANDBOXD_TYPE_HELLO, 0, 0, 0, 0, 0, 0, 0,
	MAGIC(0), MAGIC(1), MAGIC(2), MAGIC(3), MAGIC(4), MAGIC(5), MAGIC(6), MAGIC(7),
};
/* clang-format on */
_Static_assert(SANDBOXD_HELLO_MAX_BODY < 256 && SANDBOXD_TYPE_HELLO < 256, "one byte each above");

void stream_init(struct stream *stream)
{
	stream->dropped = 0;
	stream->start = 0;
	stream->end = 0;
	stream_cut(stream);
}

void stream_cut(struct stream *stream)
{
	stream->dropped += stream->end - stream->start;
	stream->start = 0;
	stream->end = 0;
	stream->seeking = true;
}

/* Moves the bytes that are not decoded yet to the start of the buffer, so that a whole frame
 * fits. */
static void compact(struct stream *stream)
{
	size_t left = stream->end - stream->start;

	if (stream->start == 0)
		return;
	memmove(stream->data, stream->data + stream->start, left);
	stream->start = 0;
	stream->end = left;
}

/* Skips bytes up to the next position at which a `hello` message begins. Also stops if the buffer
 * ends with the first bytes of a `hello` message, because the others may still arrive. */
static void seek(struct stream *stream)
{
	for (; stream->start < stream->end; stream->start++, stream->dropped++) {
		size_t left = stream->end - stream->start;
		size_t seen = left < HELLO_START ? left : HELLO_START;

		if (memcmp(stream->data + stream->start, hello_start, seen) == 0) {
			stream->seeking = left < HELLO_START;
			return;
		}
	}
}

static enum stream_result malformed(struct stream *stream)
{
	stream->seeking = true;
	return STREAM_FAULT;
}

enum stream_result stream_next(struct stream *stream, uint32_t version, struct frame *frame,
			       struct sandboxd_fault_at *fault)
{
	if (stream->seeking)
		seek(stream);
	const uint8_t *at = stream->data + stream->start;
	size_t left = stream->end - stream->start;

	if (stream->seeking || left < SANDBOXD_HEADER_SIZE) {
		compact(stream);
		return STREAM_MORE;
	}
	if (!sandboxd_decode_header(at, SANDBOXD_HOST, version, &frame->header, fault))
		return malformed(stream);
	size_t size = SANDBOXD_HEADER_SIZE + frame->header.body_length;
	if (left < size) {
		compact(stream);
		return STREAM_MORE;
	}
	if (!sandboxd_decode_body(&frame->header, at + SANDBOXD_HEADER_SIZE, version, &frame->body,
				  fault))
		return malformed(stream);
	stream->start += size;
	return STREAM_FRAME;
}
