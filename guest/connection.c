#include "connection.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "link.h"

struct connection connections[CONNECTIONS];
static uint8_t buffers[CONNECTIONS][WINDOW];
static uint32_t last_id;
static size_t used;

bool connections_full(void)
{
	return used == CONNECTIONS;
}

bool connections_used(void)
{
	return used > 0;
}

/* Returns the entry of a stream, or an unused entry if the id is 0; NULL if there is none. */
static struct connection *find(uint32_t id)
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

/* Closes a connection and drops its data. The server gets a reset. */
static void reset(struct connection *connection)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (connection->fd >= 0)
		setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close_socket(connection);
}

/* If all data were sent to the server, frees the entry of a closed stream, or sends the end of the
 * host's data to the server. */
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

/* Changes the address from 127.0.0.1 to ::1, and keeps the port. */
static void change_to_v6(struct connection *connection)
{
	in_port_t port = connection->address.v4.sin_port;

	memset(&connection->address, 0, sizeof connection->address);
	connection->address.v6.sin6_family = AF_INET6;
	connection->address.v6.sin6_port = port;
	connection->address.v6.sin6_addr.s6_addr[15] = 1;
}

static socklen_t size_of_address(const struct connection *connection)
{
	switch (connection->address.any.sa_family) {
	case AF_INET:
		return sizeof connection->address.v4;
	case AF_INET6:
		return sizeof connection->address.v6;
	default:
		return sizeof connection->address.local;
	}
}

/* Begins to connect to the address. Returns 0 if the socket is connected, EINPROGRESS if the result
 * is not known yet, or the `errno` of a failure. */
static int try_address(struct connection *connection)
{
	const int on = 1;

	if (connection->fd < 0)
		connection->fd = socket(connection->address.any.sa_family,
					SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0)
		return errno;
	/* Turn off Nagle's algorithm, which would delay small messages. Unix sockets lack it. */
	if (connection->address.any.sa_family != AF_UNIX)
		setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(connection->fd, &connection->address.any, size_of_address(connection)) == 0)
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
		change_to_v6(connection);
		attempted(connection, try_address(connection));
		return;
	}
	connection->due = STREAMS_TYPE_REFUSED;
}

static void set_address(struct connection *connection, const struct streams_connect *server)
{
	memset(&connection->address, 0, sizeof connection->address);
	if (server->path.size > 0) {
		connection->address.local.sun_family = AF_UNIX;
		memcpy(connection->address.local.sun_path, server->path.data, server->path.size);
		return;
	}
	const uint8_t port[] = { (uint8_t)(server->port >> 8), (uint8_t)server->port };
	const uint8_t loopback[] = { 127, 0, 0, 1 };

	connection->address.v4.sin_family = AF_INET;
	memcpy(&connection->address.v4.sin_port, port, sizeof port);
	memcpy(&connection->address.v4.sin_addr, loopback, sizeof loopback);
}

/* Begins a stream. The main loop has checked that an entry is unused. */
static struct connection *begin(uint32_t id)
{
	struct connection *connection = find(0);

	if (!connection)
		link_fail("no entry is unused");
	*connection = (struct connection){
		.id = id,
		.state = STREAMS_STREAM_STATE_NEW,
		.fd = -1,
		.given = WINDOW,
	};
	last_id = id;
	used++;
	return connection;
}

static void connect_to(struct connection *connection, const struct streams_connect *server)
{
	connection->credit = server->credit;
	if (connections_full()) {
		connection->error = EMFILE;
		connection->due = STREAMS_TYPE_REFUSED;
		return;
	}
	set_address(connection, server);
	attempted(connection, try_address(connection));
}

/* Sends data to the server. Returns the number of bytes that were sent. */
static uint32_t send_to_server(struct connection *connection, const uint8_t *data, uint32_t size)
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
	uint32_t sent = send_to_server(connection, data, connection->end - connection->begin);

	connection->begin += sent;
	settle(connection);
}

/* Sends the host's data to the server, and buffers the rest. */
static void receive_data(struct connection *connection, const struct streams_slice *data)
{
	uint8_t *buffer = buffer_of(connection);
	uint32_t sent = 0;

	if (data->size > connection->given)
		link_fail("data exceed the credit");
	connection->given -= data->size;
	if (connection->begin == connection->end && connection->fd >= 0 && data->size > 0)
		sent = send_to_server(connection, data->data, data->size);
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

void connection_receive(const struct streams_header *header, const union streams_body *body)
{
	struct connection *connection = find(header->id);
	uint8_t state = header->id > last_id ? STREAMS_STREAM_STATE_NEW :
					       STREAMS_STREAM_STATE_CLOSED;
	uint8_t next = streams_follow_stream(connection ? connection->state : state, STREAMS_HOST,
					     header->type, 0);

	if (next == STREAMS_OUT_OF_ORDER)
		link_fail("a message is out of order");
	if (next == STREAMS_IGNORED)
		return;
	if (!connection)
		connection = begin(header->id);
	connection->state = next;
	switch (header->type) {
	case STREAMS_TYPE_CONNECT:
		connect_to(connection, &body->connect);
		return;
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

/* Reads data of the server into a frame, and sends it to the host. */
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
	uint32_t number = type == STREAMS_TYPE_REFUSED ? (uint32_t)connection->error : WINDOW;

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
	for (size_t i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &connections[i];

		if (connection->id == 0 || connection->state == STREAMS_STREAM_STATE_CLOSED)
			continue;
		reset(connection);
		connection->state = STREAMS_STREAM_STATE_CLOSED;
		settle(connection);
	}
}
