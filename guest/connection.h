/* The streams that `relay` carries: connections to servers and clients in the guest. The comments
 * call such a server or client the peer of its connection. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <stdbool.h>

#include "address.h"
#include "listener.h"
#include "streams.h"

/* CONNECTIONS is one more than the maximum number of streams: the last entry is needed to refuse
 * another stream. WINDOW is the number of bytes of a stream that the host may send at first. */
enum { CONNECTIONS = STREAMS_MAX_STREAMS + 1, WINDOW = 1 << 17 };

struct connection {
	uint32_t id;	 /* id of the stream; 0 if this entry is unused */
	uint8_t state;	 /* state of the stream: enum streams_stream_state */
	uint8_t due;	 /* type of the message to send next; 0 if there is none */
	bool retries;	 /* true if the server's queue is full; then connect again later */
	bool is_shut;	 /* true if the end of the host's data was sent to the peer */
	int fd;		 /* the socket; -1 if it is closed */
	int error;	 /* the `errno` with which the request is refused */
	uint32_t credit; /* number of bytes that the guest may still send */
	uint32_t given;	 /* number of bytes that the host may still send */
	uint32_t owed;	 /* number of bytes sent to the peer, not granted to the host again yet */
	uint32_t begin, end; /* offsets of the data for the peer in the buffer */
	union address address;
};

extern struct connection connections[CONNECTIONS];

/* Returns whether every entry is used. Then no message of the host can be executed. */
bool connections_full(void);

/* Returns whether at least one entry is used. */
bool connections_used(void);

/* Returns whether the maximum number of streams exists, so that no client can be accepted. */
bool connections_at_limit(void);

/* Returns the entry of the stream with this id, or an unused entry if the id is 0. Returns NULL if
 * no such entry exists. */
struct connection *connection_find(uint32_t id);

/* Connects the stream `id` to a server. At least one entry of `connections` must be unused before
 * the call. The same is true for connection_accept and connection_refuse. */
void connection_connect(uint32_t id, const struct streams_connect *server);

/* Accepts a client that has connected to the socket `fd` of a listener. This answers the `accept`
 * message that waits at the listener. */
void connection_accept(struct listener *listener, int fd);

/* Refuses a request of the host, with this `errno`. `state` is the state of the stream or listener
 * after the request. The refusal occupies an entry of `connections` until it is sent to the
 * host. */
void connection_refuse(uint32_t id, uint8_t state, int error);

/* Executes a message of the host about the stream of `connection`. The caller must have set the
 * `state` of the connection to the state after this message. */
void connection_receive(struct connection *connection, uint16_t type,
			const union streams_body *body);

/* Returns the events that poll should wait for at the socket; 0 for none. `can_send` is true if a
 * frame can be sent to the host now. */
short connection_events(const struct connection *connection, bool can_send);

/* Returns whether a message to the host waits for its turn. */
bool connection_waits(const struct connection *connection);

/* Handles the result of connecting, connects again, or sends buffered data. Does not wait. */
void connection_advance(struct connection *connection);

/* Sends at most one message to the host. `is_readable` is true if the peer may have sent data, or
 * has closed the connection. */
void connection_speak(struct connection *connection, bool is_readable);

/* Closes all listeners and connections. A connection whose stream is closed stays open until its
 * buffered data were sent to the peer. */
void connections_close(void);

#endif
