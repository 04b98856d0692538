/* Executes the messages that the host sends to `relay`. */
#ifndef MESSAGES_H
#define MESSAGES_H

#include "streams.h"

/* Executes a message. If the protocol does not permit the message now, the program exits. At least
 * one entry of `connections` must be unused. */
void execute_message(const struct streams_header *header, const union streams_body *body);

#endif
