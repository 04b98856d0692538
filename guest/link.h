/* Input and output of the program `relay`. These functions read the frames of the host from standard
 * input, and write the frames of `relay` to standard output. They never block. */
#ifndef LINK_H
#define LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "streams.h"

/* Makes standard input and output non-blocking. */
void link_open(void);

/* Reads the next frame from standard input, as far as it has arrived. Returns FRAME if it is
 * complete, and END at the end of the input. The body is valid until the next call. */
enum link_input { NOTHING, FRAME, END };
enum link_input link_read(struct streams_header *header, union streams_body *body);

/* Returns whether all frames have been written, so that another one can be sent. */
bool link_is_free(void);

/* To send data, write them to the memory that `link_room` returns, and then send a frame with them.
 * It has room for the data of the longest frame. */
uint8_t *link_room(void);

/* Sends a frame. If `type` is `data`, the frame contains the first `number` bytes of `link_room`.
 * Otherwise `number` is the value of the message's field, if it has one. */
void link_send(uint32_t id, enum streams_type type, uint32_t number);

/* Writes as much of the frame as standard output takes. */
void link_write(void);

/* Writes the reason why the link has failed to standard error, and exits with status 1. */
_Noreturn void link_fail(const char *reason);

#endif
