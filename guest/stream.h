/* Splits the bytes from the host into decoded frames. This module does no I/O: the caller appends
 * bytes at `data + end`, and takes frames from `stream_next`. */
#ifndef STREAM_H
#define STREAM_H

#include "protocol.h"

enum { STREAM_SIZE = SANDBOXD_HEADER_SIZE + SANDBOXD_MAX_BODY_FROM_HOST };

struct stream {
	/* Number of bytes that were skipped up to a `hello` message, or discarded because the host
	 * has disconnected. */
	uint64_t dropped;
	size_t start; /* offset of the first byte that is not consumed yet */
	size_t end;
	bool seeking; /* true while bytes are skipped up to the next `hello`, as in a new stream */
	uint8_t data[STREAM_SIZE];
};

/* A decoded frame. Its slices point into the buffer of the stream, and are valid until the next
 * call of `stream_next`. */
struct frame {
	struct sandboxd_header header;
	union sandboxd_body body;
};

enum stream_result {
	STREAM_MORE,  /* no complete frame is left: more bytes are needed */
	STREAM_FRAME, /* a frame was decoded: `frame` is set */
	/* A frame is malformed: its header and `fault` are set. Later calls skip the bytes up to
	 * the next `hello` message. */
	STREAM_FAULT,
};

void stream_init(struct stream *stream);

/* Discards all bytes in the buffer, and skips the bytes that follow up to the next `hello`
 * message. */
void stream_cut(struct stream *stream);

enum stream_result stream_next(struct stream *stream, uint32_t version, struct frame *frame,
			       struct sandboxd_fault_at *fault);

#endif
