/* The port to the host, and the frames that wait to be written to it. Nothing here blocks. */
#ifndef PORT_H
#define PORT_H

#include <sys/types.h>

#include "protocol.h"

/* One frame with a tail, which is only made when nothing waits, and behind it the small ones. */
enum {
	PORT_LARGE_SIZE = SANDBOXD_HEADER_SIZE + SANDBOXD_MAX_BODY_FROM_GUEST,
	PORT_SMALL_SIZE = SANDBOXD_HEADER_SIZE + SANDBOXD_MAX_TAILLESS_BODY_FROM_GUEST,
	PORT_QUEUE_SIZE = PORT_LARGE_SIZE + 32 * PORT_SMALL_SIZE,
};
_Static_assert((int)PORT_SMALL_SIZE < 128, "small frames are small: what waits is 32 of them");

struct port {
	int fd;
	size_t sent; /* of what is queued */
	size_t end;
	uint8_t queue[PORT_QUEUE_SIZE];
};

/* Waits until the host's port is there and opens it; -1 when it does not come. */
int port_open(void);

/* Reads what there is; 0 when the other end is closed, -1 with errno otherwise. */
ssize_t port_read(const struct port *port, uint8_t *into, size_t size);

/* Writes what the port takes; false when it is broken. */
bool port_flush(struct port *port);

/* Where the next frame goes; the caller has checked that it fits. */
static inline uint8_t *port_tail(struct port *port)
{
	return port->queue + port->end;
}

static inline bool port_idle(const struct port *port)
{
	return port->end == 0;
}

static inline bool port_has_room(const struct port *port, size_t size)
{
	return PORT_QUEUE_SIZE - port->end >= size;
}

#endif
