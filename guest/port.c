#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"

#define PORTS "/sys/class/virtio-ports"
/* The name of the virtio port to the host, with the newline that the kernel appends to it in
 * sysfs. */
#define NAME SANDBOXD_PORT_NAME "\n"

enum { OPEN_TRIES = 20000, OPEN_PAUSE_NS = 500000 };

/* One read of a virtio port returns the data of only one buffer, which is a page (port_fops_read in
 * drivers/char/virtio_console.c). So call readv with one vector for each page. One call then reads
 * several buffers. */
enum { PAGE = 4096, PAGES = 16 };

/* Returns whether a virtio port, such as vport0p1, is the port to the host. */
static bool is_ours(int ports, const char *device)
{
	char name[sizeof NAME];
	int folder = openat(ports, device, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = openat(folder, "name", O_RDONLY | O_CLOEXEC);
	ssize_t size = read(fd, name, sizeof name);

	close(fd);
	close(folder);
	return size == sizeof NAME - 1 && memcmp(name, NAME, sizeof NAME - 1) == 0;
}

static int open_device(const char *device)
{
	int folder = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = openat(folder, device, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	close(folder);
	return fd;
}

static int open_ours(int ports)
{
	static _Alignas(struct entry) char entries[2048];
	long size = syscall(SYS_getdents64, ports, entries, sizeof entries);

	for (long at = 0; at < size;) {
		const struct entry *entry = (const void *)(entries + at);

		if (is_ours(ports, entry->name))
			return open_device(entry->name);
		at += entry->length;
	}
	return -1;
}

int port_open(void)
{
	const struct timespec pause = { 0, OPEN_PAUSE_NS };

	/* The device of the port may appear after the start of the daemon. No event announces it,
	 * so look again after a pause. */
	for (int i = 0; i < OPEN_TRIES; i++) {
		int ports = open(PORTS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		int fd = ports < 0 ? -1 : open_ours(ports);

		close(ports);
		if (fd >= 0)
			return fd;
		nanosleep(&pause, NULL);
	}
	return -1;
}

ssize_t port_read(const struct port *port, uint8_t *into, size_t size)
{
	struct iovec pages[PAGES];
	int count = 0;

	for (; size > 0 && count < PAGES; count++) {
		size_t part = size < PAGE ? size : PAGE;

		pages[count] = (struct iovec){ into, part };
		into += part;
		size -= part;
	}
	return readv(port->fd, pages, count);
}

bool port_flush(struct port *port)
{
	while (port->sent < port->end) {
		ssize_t n = write(port->fd, port->queue + port->sent, port->end - port->sent);

		if (n < 0 && errno == EINTR)
			continue;
		/* Try again later if the port accepts no bytes now. A virtio port may accept 0
		 * bytes while no host is connected. */
		if (n == 0 || (n < 0 && errno == EAGAIN))
			return true;
		if (n < 0)
			return false;
		port->sent += (size_t)n;
	}
	port->sent = 0;
	port->end = 0;
	return true;
}
