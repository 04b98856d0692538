/* Addresses of the guest's sockets: TCP sockets on the loopback interface, and Unix sockets. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <sys/un.h>

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

/* Sets `address` to 127.0.0.1 (address_set_v4) or ::1 (address_set_v6), with this port. */
void address_set_v4(union address *address, uint16_t port);
void address_set_v6(union address *address, uint16_t port);

/* Sets `address` to the path of a Unix socket. `size` is at most STREAMS_CONNECT_PATH_MAX. */
void address_set_path(union address *address, const void *path, size_t size);

/* Returns the port of `address`, which must be an IPv4 address. */
uint16_t address_port(const union address *address);

/* Returns the size of the address in bytes, as connect and bind expect it for its family. */
socklen_t address_size(const union address *address);

#endif
