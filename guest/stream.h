/* The bytes that come from the host, cut into decoded frames. No I/O here: bytes are put behind
 * `data + end`, frames come out of `stream_next`. */
#ifndef STREAM_H
#define STREAM_H

#include "protocol.h"

enum { STREAM_SIZE = SANDBOXD_HEADER_SIZE + SANDBOXD_MAX_BODY_FROM_HOST };

struct stream {
	uint64_t dropped; /* bytes skipped while seeking */
	size_t start;	  /* what is before it has been consumed */
	size_t end;
	bool seeking; /* for the next hello; so does a new stream begin */
	uint8_t data[STREAM_SIZE];
};

/* A decoded frame; its slices point into the stream and hold until the next call. */
struct frame {
	struct sandboxd_header header;
	union sandboxd_body body;
};

enum stream_result {
	STREAM_MORE,  /* feed it */
	STREAM_FRAME, /* `frame` is set */
	STREAM_FAULT, /* `fault` and the frame's header are set; the stream is seeking now */
};

void stream_init(struct stream *stream);

/* Drops what is held: what comes next need not continue it. */
void stream_cut(struct stream *stream);

enum stream_result stream_next(struct stream *stream, uint32_t version, struct frame *frame,
			       struct sandboxd_fault_at *fault);

#endif
