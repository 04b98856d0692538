/* relay: connects the host to servers in the guest, and clients in the guest to the host.
 *
 *     Usage: relay DIGEST
 *
 * relay reads messages from standard input and answers them on standard output, in the frames of
 * streams.h. It carries many streams at a time. Each stream is a connection to a server at the
 * guest's loopback interface or at a Unix socket, or a connection of a client to one of relay's
 * listeners at the loopback interface. The argument DIGEST is the digest of the host's schema of
 * these frames. relay exits with status 2 if it was compiled with another schema, with status 1 if
 * the host violates the protocol, and otherwise at the end of its input. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "connection.h"
#include "decimal.h"
#include "link.h"
#include "listener.h"
#include "messages.h"

/* If the queue of a Unix socket is full, relay connects again after RETRY_TIME milliseconds. It
 * executes at most MOST_FRAMES frames of the host before it handles the connections again. */
enum { OTHER_SCHEMA = 2, RETRY_TIME = 10, MOST_FRAMES = 32 };

/* `polled` contains the entries for poll. The other variables contain the events that poll has
 * reported for standard input, for each socket of a listener, and for each connection. */
static struct pollfd polled[2 + LISTENERS * SOCKETS + CONNECTIONS];
static nfds_t polled_count;
static short input_events, socket_events[LISTENERS][SOCKETS], events[CONNECTIONS];

/* Adds a descriptor to `polled`, unless `wanted` is 0. If a connection was hung up, poll reports
 * POLLHUP at once each time, even if no events are wanted. So such a connection must not be in
 * `polled`. */
static void await(int fd, short wanted)
{
	if (wanted)
		polled[polled_count++] = (struct pollfd){ .fd = fd, .events = wanted };
}

/* Returns the events that have occurred for `fd`; 0 if `fd` was not polled. `next` is the first
 * entry of `polled` after those of earlier calls, so the calls must have the order of `polled`. */
static short occurred(const struct pollfd **next, int fd)
{
	bool is_polled = *next < polled + polled_count && (*next)->fd == fd;

	return is_polled ? (*next)++->revents : 0;
}

static bool can_accept(const struct listener *listener)
{
	return listener->offer != 0 && !connections_at_limit();
}

/* Adds entries for poll: one for each socket of a listener, which waits only if the listener can
 * accept a client. Returns whether a listener has a message to send. */
static bool await_clients(void)
{
	bool waits = false;

	for (size_t i = 0; i < LISTENERS; i++) {
		const struct listener *listener = &listeners[i];

		waits = waits || listener_waits(listener);
		for (size_t j = 0; j < SOCKETS; j++)
			await(listener->sockets[j], can_accept(listener) ? POLLIN : 0);
	}
	return waits;
}

/* Waits until something can be done. `is_open` is true until the end of standard input. */
static void wait_for_events(bool is_open)
{
	bool can_send = link_is_free();
	int timeout = -1;

	polled_count = 0;
	await(STDIN_FILENO, is_open && !connections_full() ? POLLIN : 0);
	await(STDOUT_FILENO, can_send ? 0 : POLLOUT);
	if (await_clients() && can_send)
		timeout = 0;
	for (size_t i = 0; i < CONNECTIONS; i++) {
		const struct connection *connection = &connections[i];

		await(connection->fd, connection_events(connection, can_send));
		if (can_send && connection_waits(connection))
			timeout = 0;
		else if (connection->id != 0 && connection->retries && timeout < 0)
			timeout = RETRY_TIME;
	}
	if (poll(polled, polled_count, timeout) < 0 && errno != EINTR)
		link_fail("poll has failed");

	const struct pollfd *next = polled;

	input_events = occurred(&next, STDIN_FILENO);
	occurred(&next, STDOUT_FILENO);
	for (size_t i = 0; i < LISTENERS; i++)
		for (size_t j = 0; j < SOCKETS; j++)
			socket_events[i][j] =
				occurred(&next, listeners[i].id ? listeners[i].sockets[j] : -1);
	for (size_t i = 0; i < CONNECTIONS; i++)
		events[i] = occurred(&next, connections[i].id ? connections[i].fd : -1);
}

/* Accepts a client at each listening socket for which poll has reported a client. */
static void accept_clients(void)
{
	for (size_t i = 0; i < LISTENERS; i++)
		for (size_t j = 0; j < SOCKETS; j++)
			if (socket_events[i][j] && can_accept(&listeners[i]))
				connection_accept(&listeners[i], listeners[i].sockets[j]);
}

static void advance_all(void)
{
	for (size_t i = 0; i < CONNECTIONS; i++)
		if (connections[i].id != 0 && (connections[i].retries || (events[i] & ~POLLIN)))
			connection_advance(&connections[i]);
}

/* Executes frames that have arrived. Returns false at the end of standard input. */
static bool execute_frames(void)
{
	for (int count = 0; count < MOST_FRAMES && !connections_full(); count++) {
		struct streams_header header;
		union streams_body body;
		enum link_input input = link_read(&header, &body);

		if (input != FRAME)
			return input != END;
		execute_message(&header, &body);
	}
	return true;
}

/* Lets each listener and each connection send at most one frame. Stops early if standard output is
 * full. The next call then begins with the connection after the last one that had its turn. */
static void speak_in_turns(void)
{
	static size_t first;
	size_t at = first;

	for (size_t i = 0; i < LISTENERS && link_is_free(); i++)
		listener_speak(&listeners[i]);
	for (size_t count = 0; count < CONNECTIONS && link_is_free(); count++) {
		connection_speak(&connections[at], events[at] & ~POLLOUT);
		at = (at + 1) % CONNECTIONS;
	}
	first = at;
}

int main(int argc, char **argv)
{
	bool is_open = true;

	if (argc < 2 || !is_hexadecimal(argv[1], STREAMS_SCHEMA_DIGEST))
		return OTHER_SCHEMA;
	link_open();
	while (is_open || connections_used()) {
		wait_for_events(is_open);
		if (!link_is_free())
			link_write();
		advance_all();
		accept_clients();
		if (input_events && !execute_frames()) {
			is_open = false;
			connections_close();
		}
		speak_in_turns();
	}
	return EXIT_SUCCESS;
}
