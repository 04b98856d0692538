#include "listener.h"

#include <errno.h>
#include <unistd.h>

#include "address.h"
#include "link.h"

/* Maximum number of clients that wait in the queue of a socket: the maximum number of streams. */
enum { QUEUE = STREAMS_MAX_STREAMS };

struct listener listeners[LISTENERS];

struct listener *listener_of(uint32_t id)
{
	for (size_t i = 0; i < LISTENERS; i++)
		if (listeners[i].id != 0 && (listeners[i].id == id || listeners[i].offer == id))
			return &listeners[i];
	return NULL;
}

static void close_sockets(struct listener *listener)
{
	for (size_t i = 0; i < SOCKETS; i++)
		if (listener->sockets[i] >= 0)
			close(listener->sockets[i]);
}

/* Opens a socket that listens at an address. Returns its descriptor, or -1 on failure. */
static int listen_at(const union address *address)
{
	const int on = 1;
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	/* Let bind use a port even if a closed connection still occupies it (TIME_WAIT). */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, &address->any, address_size(address)) == 0 && listen(fd, QUEUE) == 0)
		return fd;

	int error = errno;

	close(fd);
	errno = error;
	return -1;
}

/* Opens a listener's socket for 127.0.0.1, and then its socket for ::1 with the same port. */
static bool open_sockets(struct listener *listener, uint16_t port)
{
	union address address;
	socklen_t size = sizeof address.v4;

	address_set_v4(&address, port);
	listener->sockets[0] = listen_at(&address);
	if (listener->sockets[0] < 0 || getsockname(listener->sockets[0], &address.any, &size) < 0)
		return false;
	listener->port = address_port(&address);
	address_set_v6(&address, listener->port);
	listener->sockets[1] = listen_at(&address);
	return listener->sockets[1] >= 0 || errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL;
}

int listener_open(uint32_t id, uint16_t port)
{
	struct listener *listener = listeners;

	while (listener < listeners + LISTENERS && listener->id != 0)
		listener++;
	if (listener == listeners + LISTENERS)
		return EMFILE;
	*listener = (struct listener){
		.state = STREAMS_STREAM_STATE_BINDING,
		.sockets = { -1, -1 },
	};
	if (!open_sockets(listener, port)) {
		int error = errno;

		close_sockets(listener);
		return error;
	}
	listener->id = id;
	return 0;
}

int listener_offer(uint32_t id, uint32_t offer, uint32_t credit)
{
	struct listener *listener = listener_of(id);

	if (!listener || listener->id != id || listener->offer != 0)
		return EINVAL;
	listener->offer = offer;
	listener->credit = credit;
	return 0;
}

uint32_t listener_reset(struct listener *listener, uint32_t id)
{
	uint32_t offer = listener->offer;

	listener->offer = 0;
	if (id == offer)
		return 0;
	close_sockets(listener);
	listener->id = 0;
	return offer;
}

bool listener_waits(const struct listener *listener)
{
	return listener->id != 0 && listener->state == STREAMS_STREAM_STATE_BINDING;
}

void listener_speak(struct listener *listener)
{
	if (!listener_waits(listener))
		return;
	link_send(listener->id, STREAMS_TYPE_LISTENING, listener->port);
	listener->state = STREAMS_STREAM_STATE_LISTENING;
}

void listeners_close(void)
{
	for (size_t i = 0; i < LISTENERS; i++)
		if (listeners[i].id != 0)
			listener_reset(&listeners[i], listeners[i].id);
}
