/* The listeners of `relay`: ports of the guest at which it accepts clients for the host. */
#ifndef LISTENER_H
#define LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "streams.h"

/* LISTENERS is the maximum number of listeners. SOCKETS is the number of sockets of a listener: one
 * for 127.0.0.1, and one for ::1. */
enum { LISTENERS = STREAMS_MAX_LISTENERS, SOCKETS = 2 };

struct listener {
	uint32_t id;	 /* id of the listener; 0 if this entry is unused */
	uint8_t state;	 /* state of the listener: enum streams_stream_state */
	uint16_t port;	 /* port of both sockets */
	uint32_t offer;	 /* id of the `accept` that waits for a client; 0 if no `accept` waits */
	uint32_t credit; /* first credit of the client's stream: bytes that the guest may send */
	int sockets[SOCKETS]; /* descriptors of the sockets; -1 for ::1 if the guest has no IPv6 */
};

extern struct listener listeners[LISTENERS];

/* Returns the listener that has this id, or at which an `accept` with this id waits. Returns NULL
 * if no such listener exists. */
struct listener *listener_of(uint32_t id);

/* Opens a listener at a port, or at a free port if `port` is 0. Returns 0, or the `errno` of a
 * failure. */
int listener_open(uint32_t id, uint16_t port);

/* Executes an `accept` message: records that it waits at the listener for a client. `id` is the id
 * of the client's stream, and `credit` is the number of bytes that the guest may send on it at
 * first. Returns 0, or the `errno` of a failure. */
int listener_offer(uint32_t listener, uint32_t id, uint32_t credit);

/* Executes a `reset` of the host. If `id` is the id of the `accept` that waits at the listener,
 * cancels only this `accept`. Otherwise closes the listener; if an `accept` waits at it, returns
 * the id of this `accept`, which the caller must refuse. Returns 0 in all other cases. */
uint32_t listener_reset(struct listener *listener, uint32_t id);

/* Returns whether the `listening` message of the listener was not sent to the host yet. */
bool listener_waits(const struct listener *listener);

/* Sends the `listening` message of a listener to the host, if it was not sent yet. */
void listener_speak(struct listener *listener);

/* Closes all listeners. */
void listeners_close(void);

#endif
