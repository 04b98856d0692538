/* Attempts on sockets: on those that the attacker creates, and on those that QEMU inherits. */
#define _GNU_SOURCE
#include "attack.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
#define SIOCGSKNS 0x894C

static long made(int family, int type, int protocol)
{
	return closing(socket(family, type | SOCK_CLOEXEC, protocol));
}

static long connected(int family, int type, const void *address, size_t size)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);
	long done = fd < 0 ? -1 : connect(fd, address, (socklen_t)size);

	if (done == 0 && type == SOCK_DGRAM)
		done = send(fd, "x", 1, MSG_NOSIGNAL);
	closing(fd);
	return done;
}

static long internet(int type, const char *key)
{
	struct sockaddr_in address = { .sin_family = AF_INET };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((unsigned short)told_number(key));
	return connected(AF_INET, type, &address, sizeof address);
}

static long tcp(void)
{
	return internet(SOCK_STREAM, "tcp");
}

static long udp(void)
{
	return internet(SOCK_DGRAM, "udp");
}

static long tcp6(void)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6,
					.sin6_addr = IN6ADDR_LOOPBACK_INIT };

	address.sin6_port = htons((unsigned short)told_number("tcp6"));
	return connected(AF_INET6, SOCK_STREAM, &address, sizeof address);
}

static long fast_open(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long done;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((unsigned short)told_number("tcp"));
	done = fd < 0 ? -1 :
			sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&address,
			       sizeof address);
	closing(fd);
	return done;
}

static long listening(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET };
	long done = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof address);

	if (done == 0)
		done = listen(fd, 1);
	closing(fd);
	return done;
}

static long abstract(int type, const char *key)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s", told(key));

	return connected(AF_UNIX, type, &address,
			 offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static long abstract_stream(void)
{
	return abstract(SOCK_STREAM, "stream");
}

static long abstract_datagram(void)
{
	return abstract(SOCK_DGRAM, "datagram");
}

static long named(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof address.sun_path, "%s", below("socket"));
	return connected(AF_UNIX, SOCK_STREAM, &address, sizeof address);
}

static long pair(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return -1;
	closing(ends[0]);
	return closing(ends[1]);
}

static long route(void)
{
	return made(AF_NETLINK, SOCK_RAW, 0);
}

static long packet(void)
{
	return made(AF_PACKET, SOCK_RAW, 0x300);
}

static long raw(void)
{
	return made(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static long ping(void)
{
	return made(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
}

static long vsock(void)
{
	return made(AF_VSOCK, SOCK_STREAM, 0);
}

static long cipher(void)
{
	return made(AF_ALG, SOCK_SEQPACKET, 0);
}

static long any_family(void)
{
	const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET };
	int error = EAFNOSUPPORT;

	for (int family = 3; family < 46; family++) {
		for (size_t i = 0; i < 4; i++) {
			if (family == AF_INET6 || family == AF_NETLINK || family == AF_PACKET ||
			    family == AF_VSOCK || family == AF_ALG)
				continue;
			if (made(family, types[i], 0) >= 0)
				return family;
			if (errno == EPERM)
				error = errno;
		}
	}
	return fail(error);
}

/* Attempts on the sockets that QEMU inherits. */

static long connected_anew(int fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s",
			      told("stream"));

	return connect(fd, (struct sockaddr *)&address,
		       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length));
}

static long sent_elsewhere(int fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s",
			      told("datagram"));

	return sendto(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length));
}

static long listened(int fd)
{
	return listen(fd, 1);
}

static long interfaces(int fd)
{
	struct ifconf found = { 0 };

	return ioctl(fd, SIOCGIFCONF, &found);
}

static long interface_down(int fd)
{
	struct ifreq request = { .ifr_name = "lo" };

	request.ifr_flags = IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request);
}

static long namespace_of(int fd)
{
	return closing(ioctl(fd, SIOCGSKNS));
}

static long filtered(int fd)
{
	struct sock_filter all = { BPF_RET | BPF_K, 0, 0, 0xFFFFFFFF };
	struct sock_fprog program = { 1, &all };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static long handles_passed(int fd)
{
	int on = 1;

	return setsockopt(fd, SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on);
}

/* Send a byte of out-of-band data to standard error, between two lines of output. The test that
 * reads the output ignores this byte. */
static long urgent_sent(void)
{
	return send(2, "!", 1, MSG_OOB | MSG_NOSIGNAL | MSG_DONTWAIT);
}

static long urgent_received(int fd)
{
	char byte;
	long found = recv(fd, &byte, 1, MSG_OOB | MSG_DONTWAIT);

	/* EINVAL shows that the call was allowed, but has found no out-of-band data. */
	return found == -1 && errno == EINVAL ? 0 : found;
}

#define ON_SOCKETS(name, try)             \
	static long name(void)            \
	{                                 \
		return each(SOCKET, try); \
	}

ON_SOCKETS(connect_again, connected_anew)
ON_SOCKETS(send_elsewhere, sent_elsewhere)
ON_SOCKETS(listen_on, listened)
ON_SOCKETS(list_interfaces, interfaces)
ON_SOCKETS(take_down, interface_down)
ON_SOCKETS(take_namespace, namespace_of)
ON_SOCKETS(filter, filtered)
ON_SOCKETS(pass_handles, handles_passed)
ON_SOCKETS(receive_urgent, urgent_received)

static const struct attempt rows[] = {
	{ "connect to TCP", OPEN, "the user's services on this host, and the network", tcp },
	{ "connect to TCP by IPv6", OPEN, "the same", tcp6 },
	{ "sendto MSG_FASTOPEN", OPEN, "the same, without connect", fast_open },
	{ "sendto UDP", OPEN, "the same, name servers above all", udp },
	{ "listen on TCP", OPEN, "a service of its own", listening },
	{ "connect to an abstract socket", OPEN, "the user's services, such as D-Bus",
	  abstract_stream },
	{ "send to an abstract socket", OPEN, "the same", abstract_datagram },
	{ "connect to a socket's path", OPEN, "the same, such as Docker or an agent of SSH",
	  named },
	{ "socketpair", OPEN, "memory of the kernel, beyond its own", pair },
	{ "socket AF_NETLINK", OPEN, "the host's network, and much of its kernel", route },
	{ "socket AF_PACKET", SHUT, "what others send", packet },
	{ "socket SOCK_RAW", SHUT, "forged packets", raw },
	{ "socket of ping", SHUT, "the network", ping },
	{ "socket AF_VSOCK", SHUT, "a hypervisor below", vsock },
	{ "socket AF_ALG", SHUT, "much of the kernel", cipher },
	{ "socket of any other family", SHUT, "the same", any_family },
	{ "connect of an inherited socket", SHUT, "the user's services", connect_again },
	{ "sendto of an inherited socket", SHUT, "the same", send_elsewhere },
	{ "listen on an inherited socket", SHUT, "the same", listen_on },
	{ "ioctl SIOCGIFCONF", OPEN, "the host's addresses, of whose network the socket is",
	  list_interfaces },
	{ "ioctl SIOCSIFFLAGS", SHUT, "the host's network", take_down },
	{ "ioctl SIOCGSKNS", SHUT, "the same", take_namespace },
	{ "setsockopt SO_ATTACH_FILTER", OPEN, "programs in the kernel", filter },
	{ "setsockopt SO_PASSPIDFD", OPEN, "handles of who writes to it", pass_handles },
	{ "send MSG_OOB", SHUT, "code of the kernel that has let others out", urgent_sent },
	{ "recv MSG_OOB", SHUT, "the same", receive_urgent },
};

const struct attempts sockets = { "Sockets", rows, sizeof rows / sizeof rows[0] };
