#define _GNU_SOURCE /* makes the headers declare accept4 */
#include "connection.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "link.h"

struct connection connections[CONNECTIONS];
static uint8_t buffers[CONNECTIONS][WINDOW];
static size_t used;

bool connections_full(void)
{
	return used == CONNECTIONS;
}

bool connections_used(void)
{
	return used > 0;
}

bool connections_at_limit(void)
{
	return used >= STREAMS_MAX_STREAMS;
}

struct connection *connection_find(uint32_t id)
{
	for (size_t i = 0; i < CONNECTIONS; i++)
		if (connections[i].id == id)
			return &connections[i];
	return NULL;
}

static uint8_t *buffer_of(const struct connection *connection)
{
	return buffers[connection - connections];
}

/* Returns the state after a message of the guest; 0 if it must not be sent. */
static uint8_t state_after(const struct connection *connection, uint8_t type)
{
	uint8_t next = streams_follow_stream(connection->state, STREAMS_GUEST, type, 0);

	return next == STREAMS_IGNORED ? STREAMS_OUT_OF_ORDER : next;
}

static bool may_send(const struct connection *connection, uint8_t type)
{
	return state_after(connection, type) != STREAMS_OUT_OF_ORDER;
}

static void close_socket(struct connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	connection->begin = connection->end = 0;
}

/* Closes a connection and drops its data. The kernel sends a reset to the peer. */
static void reset(struct connection *connection)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (connection->fd >= 0)
		setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close_socket(connection);
}

/* Does nothing while data for the peer are buffered. Otherwise frees the entry of a closed stream,
 * or sends the end of the host's data to the peer. */
static void settle(struct connection *connection)
{
	if (connection->id == 0 || connection->begin < connection->end)
		return;
	if (connection->state == STREAMS_STREAM_STATE_CLOSED) {
		close_socket(connection);
		connection->id = 0;
		used--;
	} else if (connection->state == STREAMS_STREAM_STATE_HOST_ENDED && !connection->is_shut) {
		connection->is_shut = true;
		shutdown(connection->fd, SHUT_WR);
	}
}

/* Sends a message to the host, and changes to the state that follows. */
static void say(struct connection *connection, uint8_t type, uint32_t number)
{
	link_send(connection->id, (enum streams_type)type, number);
	connection->state = state_after(connection, type);
	settle(connection);
}

/* Closes a failed connection. The host gets a `reset` later, unless it has closed the stream. */
static void fail(struct connection *connection)
{
	close_socket(connection);
	connection->due = may_send(connection, STREAMS_TYPE_RESET) ? STREAMS_TYPE_RESET : 0;
	settle(connection);
}

/* Turns off Nagle's algorithm, which would delay the small packets of a connection. */
static void send_at_once(int fd)
{
	const int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Begins to connect to the address. Returns 0 if the socket is connected, EINPROGRESS if the result
 * is not known yet, or the `errno` of a failure. */
static int try_address(struct connection *connection)
{
	if (connection->fd < 0)
		connection->fd = socket(connection->address.any.sa_family,
					SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0)
		return errno;
	if (connection->address.any.sa_family != AF_UNIX)
		send_at_once(connection->fd);
	if (connect(connection->fd, &connection->address.any, address_size(&connection->address)) ==
	    0)
		return 0;
	return errno;
}

/* Handles the result of an attempt to connect. */
static void attempted(struct connection *connection, int error)
{
	/* EAGAIN means that the queue of a Unix socket is full. */
	connection->retries = error == EAGAIN;
	if (error == EINPROGRESS || error == EAGAIN)
		return;
	if (error == 0) {
		connection->due = STREAMS_TYPE_CONNECTED;
		return;
	}
	close_socket(connection);
	if (connection->error == 0)
		connection->error = error;
	if (connection->address.any.sa_family == AF_INET) {
		address_set_v6(&connection->address, address_port(&connection->address));
		attempted(connection, try_address(connection));
		return;
	}
	connection->due = STREAMS_TYPE_REFUSED;
}

/* Begins a stream in an unused entry of `connections`. The main loop has checked that there is one. */
static struct connection *begin(uint32_t id, uint8_t state)
{
	struct connection *connection = connection_find(0);

	if (!connection)
		link_fail("no entry is unused");
	*connection = (struct connection){
		.id = id,
		.state = state,
		.fd = -1,
		.given = WINDOW,
	};
	used++;
	return connection;
}

void connection_refuse(uint32_t id, uint8_t state, int error)
{
	struct connection *connection = begin(id, state);

	connection->error = error;
	if (state == STREAMS_STREAM_STATE_CONNECTING)
		connection->due = STREAMS_TYPE_REFUSED;
	else if (state == STREAMS_STREAM_STATE_ACCEPTING)
		connection->due = STREAMS_TYPE_NOT_ACCEPTED;
	else
		connection->due = STREAMS_TYPE_NOT_LISTENING;
}

void connection_connect(uint32_t id, const struct streams_connect *server)
{
	if (connections_at_limit()) {
		connection_refuse(id, STREAMS_STREAM_STATE_CONNECTING, EMFILE);
		return;
	}
	struct connection *connection = begin(id, STREAMS_STREAM_STATE_CONNECTING);

	connection->credit = server->credit;
	if (server->path.size > 0)
		address_set_path(&connection->address, server->path.data, server->path.size);
	else
		address_set_v4(&connection->address, server->port);
	attempted(connection, try_address(connection));
}

void connection_accept(struct listener *listener, int fd)
{
	int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	uint32_t id = listener->offer;

	/* The client that poll has reported may have reset its connection meanwhile. Then wait for
	 * the next client. */
	if (client < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
		return;
	listener->offer = 0;
	if (client < 0) {
		connection_refuse(id, STREAMS_STREAM_STATE_ACCEPTING, errno);
		return;
	}
	struct connection *connection = begin(id, STREAMS_STREAM_STATE_ACCEPTING);

	send_at_once(client);
	connection->fd = client;
	connection->credit = listener->credit;
	connection->due = STREAMS_TYPE_ACCEPTED;
}

/* Sends data to the peer. Returns the number of bytes that were sent. */
static uint32_t send_to_peer(struct connection *connection, const uint8_t *data, uint32_t size)
{
	ssize_t n = sendto(connection->fd, data, size, MSG_NOSIGNAL, NULL, 0);

	if (n >= 0) {
		connection->owed += (uint32_t)n;
		return (uint32_t)n;
	}
	if (errno != EAGAIN && errno != EINTR)
		fail(connection);
	return 0;
}

static void send_buffered(struct connection *connection)
{
	const uint8_t *data = buffer_of(connection) + connection->begin;
	uint32_t sent = send_to_peer(connection, data, connection->end - connection->begin);

	connection->begin += sent;
	settle(connection);
}

/* Sends the host's data to the peer, and buffers the rest. */
static void receive_data(struct connection *connection, const struct streams_slice *data)
{
	uint8_t *buffer = buffer_of(connection);
	uint32_t sent = 0;

	if (data->size > connection->given)
		link_fail("data exceed the credit");
	connection->given -= data->size;
	if (connection->begin == connection->end && connection->fd >= 0 && data->size > 0)
		sent = send_to_peer(connection, data->data, data->size);
	if (connection->fd < 0) /* the connection has failed, so its data are dropped */
		return;
	if (connection->end + data->size - sent > WINDOW) {
		connection->end -= connection->begin;
		memmove(buffer, buffer + connection->begin, connection->end);
		connection->begin = 0;
	}
	memcpy(buffer + connection->end, data->data + sent, data->size - sent);
	connection->end += data->size - sent;
}

static void add_credit(struct connection *connection, uint32_t amount)
{
	uint32_t room = UINT32_MAX - connection->credit;

	connection->credit += amount < room ? amount : room;
}

void connection_receive(struct connection *connection, uint16_t type,
			const union streams_body *body)
{
	switch (type) {
	case STREAMS_TYPE_DATA:
		receive_data(connection, &body->data.data);
		return;
	case STREAMS_TYPE_CREDIT:
		add_credit(connection, body->credit.amount);
		return;
	case STREAMS_TYPE_RESET:
		reset(connection);
		break;
	}
	settle(connection);
}

short connection_events(const struct connection *connection, bool can_send)
{
	short events = 0;

	if (connection->id == 0 || connection->fd < 0 || connection->retries)
		return 0;
	if (connection->state == STREAMS_STREAM_STATE_CONNECTING)
		return connection->due ? 0 : POLLOUT;
	if (connection->begin < connection->end)
		events |= POLLOUT;
	if (can_send && connection->credit > 0 && may_send(connection, STREAMS_TYPE_DATA))
		events |= POLLIN;
	return events;
}

static bool owes_credit(const struct connection *connection)
{
	return connection->owed >= WINDOW / 2 && may_send(connection, STREAMS_TYPE_CREDIT);
}

bool connection_waits(const struct connection *connection)
{
	return connection->id != 0 && (connection->due || owes_credit(connection));
}

void connection_advance(struct connection *connection)
{
	int error = 0;
	socklen_t size = sizeof error;

	if (connection->retries) {
		attempted(connection, try_address(connection));
	} else if (connection->state != STREAMS_STREAM_STATE_CONNECTING) {
		if (connection->begin < connection->end)
			send_buffered(connection);
	} else if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0) {
		attempted(connection, error);
	}
}

/* Reads data of the peer into a frame, and sends it to the host. */
static void relay_data(struct connection *connection)
{
	uint32_t most = connection->credit < STREAMS_DATA_DATA_MAX ? connection->credit :
								     STREAMS_DATA_DATA_MAX;
	ssize_t n = read(connection->fd, link_room(), most);

	if (n > 0) {
		connection->credit -= (uint32_t)n;
		say(connection, STREAMS_TYPE_DATA, (uint32_t)n);
	} else if (n == 0) {
		say(connection, STREAMS_TYPE_EOF, 0);
	} else if (errno != EAGAIN && errno != EINTR) {
		fail(connection);
	}
}

/* Sends the message whose type is `due`, unless the state of the stream no longer allows it. */
static void say_due(struct connection *connection)
{
	uint8_t type = connection->due;
	bool opens = type == STREAMS_TYPE_CONNECTED || type == STREAMS_TYPE_ACCEPTED;
	uint32_t number = opens ? WINDOW : (uint32_t)connection->error;

	connection->due = 0;
	if (may_send(connection, type))
		say(connection, type, number);
}

void connection_speak(struct connection *connection, bool is_readable)
{
	if (connection->id == 0)
		return;
	if (connection->due) {
		say_due(connection);
	} else if (owes_credit(connection)) {
		uint32_t owed = connection->owed;

		connection->given += owed;
		connection->owed = 0;
		say(connection, STREAMS_TYPE_CREDIT, owed);
	} else if (is_readable && connection->fd >= 0 && connection->credit > 0 &&
		   may_send(connection, STREAMS_TYPE_DATA)) {
		relay_data(connection);
	}
}

void connections_close(void)
{
	listeners_close();
	for (size_t i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &connections[i];

		if (connection->id == 0 || connection->state == STREAMS_STREAM_STATE_CLOSED)
			continue;
		reset(connection);
		connection->state = STREAMS_STREAM_STATE_CLOSED;
		settle(connection);
	}
}
