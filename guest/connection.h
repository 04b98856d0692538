/* The streams that `relay` carries: connections to servers in the guest. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <stdbool.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "streams.h"

/* CONNECTIONS is one more than the maximum number of streams: the last entry is needed to refuse
 * another stream. WINDOW is the number of bytes of a stream that the host may send at first. */
enum { CONNECTIONS = STREAMS_MAX_STREAMS + 1, WINDOW = 1 << 17 };

struct connection {
	uint32_t id;	 /* id of the stream; 0 if this entry is unused */
	uint8_t state;	 /* state of the stream: enum streams_stream_state */
	uint8_t due;	 /* type of the message to send next; 0 if there is none */
	bool retries;	 /* true if the server's queue is full; then connect again later */
	bool is_shut;	 /* true if the end of the host's data was sent to the server */
	int fd;		 /* the socket; -1 if it is closed */
	int error;	 /* the `errno` with which the stream is refused */
	uint32_t credit; /* number of bytes that the guest may still send */
	uint32_t given;	 /* number of bytes that the host may still send */
	uint32_t owed; /* number of bytes to grant to the host again, because the server got them */
	uint32_t begin, end; /* positions in the buffer of the data to send to the server */
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	} address;
};

extern struct connection connections[CONNECTIONS];

/* Returns whether every entry is used. Then no message of the host can be executed. */
bool connections_full(void);

/* Returns whether at least one entry is used. */
bool connections_used(void);

/* Executes a message of the host. */
void connection_receive(const struct streams_header *header, const union streams_body *body);

/* Returns the events that poll should wait for at the socket; 0 for none. `can_send` is true if a
 * frame can be sent to the host now. */
short connection_events(const struct connection *connection, bool can_send);

/* Returns whether a message to the host waits for its turn. */
bool connection_waits(const struct connection *connection);

/* Handles the result of connecting, connects again, or sends buffered data. Does not wait. */
void connection_advance(struct connection *connection);

/* Sends at most one message to the host. `is_readable` is true if the server may have sent data, or
 * has closed the connection. */
void connection_speak(struct connection *connection, bool is_readable);

/* Closes all connections, except those that the host has closed and whose data were not sent yet. */
void connections_close(void);

#endif
