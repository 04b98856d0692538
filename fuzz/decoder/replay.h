/* The daemon's decoders over bytes in any cut, and a log of what came of them. */
#ifndef REPLAY_H
#define REPLAY_H

#include <stddef.h>
#include <stdint.h>

#include "stream.h"

/* Encodes what has been decoded of a frame; a case for each message, written by build.py. */
size_t again(uint8_t *out, uint32_t version, const struct frame *frame);

enum { LOG_SIZE = 16 << 20 };

struct log {
	size_t size;
	uint64_t frames; /* taken or refused */
	uint8_t data[LOG_SIZE];
};

/* What the daemon makes of a host's bytes. `cuts` rise; each is where another read begins.
 *
 * What the session cannot know follows from the frames alone, so that any cut gives the same log: an
 * exec ends behind its id % 5 next frames, and may be sent id % 8 * 16 bytes of input. */
void replay_host(const uint8_t *data, size_t size, const uint32_t *cuts, size_t count,
		 struct log *log);

/* What a C host would make of a guest's bytes; it stops at the first malformed frame. */
void replay_guest(const uint8_t *data, size_t size, struct log *log);

/* The decoders by themselves, behind no check of another's: each version's rules for the header, and
 * what follows it as the body of its type. */
void replay_parts(const uint8_t *data, size_t size);

#endif
