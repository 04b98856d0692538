/* The streams that `relay` carries: connections to servers in the guest. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <stdbool.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "streams.h"

/* There is an entry for each stream, and one more, from which a stream too many is refused. WINDOW
 * is the number of bytes that the host may send before the server has received them. */
enum { CONNECTIONS = STREAMS_MAX_STREAMS + 1, WINDOW = 1 << 17 };

struct connection {
	uint32_t id;	 /* of the stream; 0 if this entry is unused */
	uint8_t state;	 /* of the stream, as streams.h defines it */
	uint8_t due;	 /* type of the message to send next; 0 if there is none */
	bool retries;	 /* the server's queue is full, so connect again later */
	bool is_shut;	 /* the end of the host's data was sent to the server */
	int fd;		 /* the socket; -1 if it is closed */
	int error;	 /* the `errno` with which the stream is refused */
	uint32_t credit; /* number of bytes that the host allows */
	uint32_t given;	 /* number of bytes that the guest still allows to the host */
	uint32_t owed;	 /* number of bytes sent to the server for which the host gets credit */
	uint32_t begin,
		end; /* positions of the data that were received and not sent to the server */
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	} address;
};

extern struct connection connections[CONNECTIONS];

/* Returns whether no message of the host can be executed now, because every entry is used. */
bool connections_full(void);

/* Returns whether an entry is used. */
bool connections_used(void);

/* Executes a message of the host. */
void connection_receive(const struct streams_header *header, const union streams_body *body);

/* Returns the events of the socket to wait for; 0 for none. `can_send` is true if a frame can be
 * sent to the host now. */
short connection_events(const struct connection *connection, bool can_send);

/* Returns whether a message to the host waits for its turn. */
bool connection_waits(const struct connection *connection);

/* Connects, and sends data to the server, as far as possible now. */
void connection_advance(struct connection *connection);

/* Sends at most one message to the host. `is_readable` is true if the server may have sent data, or
 * has closed the connection. */
void connection_speak(struct connection *connection, bool is_readable);

/* Closes all connections, except those that the host has closed and whose data were not sent yet. */
void connections_close(void);

#endif
