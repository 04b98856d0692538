#include "address.h"

#include <string.h>

/* Returns a port in the byte order of the network: the high byte is first in memory. */
static in_port_t to_kernel(uint16_t port)
{
	const uint8_t bytes[] = { (uint8_t)(port >> 8), (uint8_t)port };
	in_port_t result;

	memcpy(&result, bytes, sizeof result);
	return result;
}

void address_set_v4(union address *address, uint16_t port)
{
	const uint8_t loopback[] = { 127, 0, 0, 1 };

	memset(address, 0, sizeof *address);
	address->v4.sin_family = AF_INET;
	address->v4.sin_port = to_kernel(port);
	memcpy(&address->v4.sin_addr, loopback, sizeof loopback);
}

void address_set_v6(union address *address, uint16_t port)
{
	memset(address, 0, sizeof *address);
	address->v6.sin6_family = AF_INET6;
	address->v6.sin6_port = to_kernel(port);
	address->v6.sin6_addr.s6_addr[15] = 1;
}

void address_set_path(union address *address, const void *path, size_t size)
{
	memset(address, 0, sizeof *address);
	address->local.sun_family = AF_UNIX;
	memcpy(address->local.sun_path, path, size);
}

uint16_t address_port(const union address *address)
{
	uint8_t bytes[sizeof address->v4.sin_port];

	memcpy(bytes, &address->v4.sin_port, sizeof bytes);
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

socklen_t address_size(const union address *address)
{
	switch (address->any.sa_family) {
	case AF_INET:
		return sizeof address->v4;
	case AF_INET6:
		return sizeof address->v6;
	default:
		return sizeof address->local;
	}
}
