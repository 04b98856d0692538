/* The port to the host, and the queue of frames that are written to it. Reads and writes never
 * block. */
#ifndef PORT_H
#define PORT_H

#include <sys/types.h>

#include "protocol.h"

/* The queue holds one frame with a tail, which is encoded only when the queue is empty, and 32
 * small frames behind it. */
enum {
	PORT_LARGE_SIZE = SANDBOXD_HEADER_SIZE + SANDBOXD_MAX_BODY_FROM_GUEST,
	PORT_SMALL_SIZE = SANDBOXD_HEADER_SIZE + SANDBOXD_MAX_TAILLESS_BODY_FROM_GUEST,
	PORT_QUEUE_SIZE = PORT_LARGE_SIZE + 32 * PORT_SMALL_SIZE,
};
_Static_assert((int)PORT_SMALL_SIZE < 128, "small frames are small: what waits is 32 of them");

struct port {
	int fd;
	size_t sent; /* number of bytes of the queue that were written */
	size_t end;
	uint8_t queue[PORT_QUEUE_SIZE];
};

/* Waits until the host's port exists, and opens it. Returns -1 if it does not appear in 10
 * seconds. */
int port_open(void);

/* Reads the bytes that have arrived. Returns 0 if the host has closed the port, and -1 with errno
 * on failure. */
ssize_t port_read(const struct port *port, uint8_t *into, size_t size);

/* Writes as much of the queue as the port accepts. Returns false if the port is broken. */
bool port_flush(struct port *port);

/* Returns where to encode the next frame. The caller has checked that the frame fits. */
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
