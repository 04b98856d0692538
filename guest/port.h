/* The virtio port to the host, and the queue of frames that are written to it. Reads and writes
 * never block. */
#ifndef PORT_H
#define PORT_H

#include <sys/types.h>

#include "protocol.h"

/* The queue has room for one large frame and 32 small ones behind it. A large frame ends with data
 * of variable length, such as output, and is encoded only when the queue is empty. */
enum {
	PORT_LARGE_SIZE = SANDBOXD_HEADER_SIZE + SANDBOXD_MAX_BODY_FROM_GUEST,
	PORT_SMALL_SIZE = SANDBOXD_HEADER_SIZE + SANDBOXD_MAX_TAILLESS_BODY_FROM_GUEST,
	PORT_QUEUE_SIZE = PORT_LARGE_SIZE + 32 * PORT_SMALL_SIZE,
};
_Static_assert((int)PORT_SMALL_SIZE < 128, "small frames are small: what waits is 32 of them");

struct port {
	int fd;
	size_t sent; /* number of bytes of the queue that were written to the port */
	size_t end;
	uint8_t queue[PORT_QUEUE_SIZE];
};

/* Waits until the device of the port to the host exists, and opens it. Returns its descriptor, or
 * -1 if the device does not appear in 10 seconds. */
int port_open(void);

/* Reads the bytes that have arrived, and returns their number. Returns 0 if the host has closed the
 * port, and -1 with errno on failure. */
ssize_t port_read(const struct port *port, uint8_t *into, size_t size);

/* Writes as many bytes of the queue as the port accepts. Returns false if the port is broken. */
bool port_flush(struct port *port);

/* Returns the end of the queue, where the next frame is encoded. The caller must have checked that
 * the frame fits. */
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
