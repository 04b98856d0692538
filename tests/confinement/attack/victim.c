/* A victim of the attempts, in the place of the controller: a process that has everything that an
 * attacker may want.
 *
 * The victim prints where its secrets are, and runs until its standard input ends. It blocks all
 * signals except SIGTERM, so that its /proc/PID/status shows which signals it has received. */
#define _GNU_SOURCE
#include "attack.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int bound(int family, int type, const struct sockaddr *address, size_t size)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, address, (socklen_t)size) != 0)
		return -1;
	if (type == SOCK_STREAM && listen(fd, 8) != 0)
		return -1;
	return fd;
}

static int internet(int family, int type)
{
	struct sockaddr_in four = { .sin_family = AF_INET };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in6 found = { 0 };
	socklen_t size = sizeof found;
	int fd;

	four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = family == AF_INET ? bound(family, type, (struct sockaddr *)&four, sizeof four) :
				 bound(family, type, (struct sockaddr *)&six, sizeof six);
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&found, &size) != 0)
		return 0;
	return ntohs(found.sin6_port); /* the port is at the same offset in an IPv4 address */
}

static void abstract(int type, const char *kind)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "attacked-%s-%d",
			      kind, getpid());

	if (bound(AF_UNIX, type, (struct sockaddr *)&address,
		  offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length) >= 0)
		printf("%s=%s\n", kind, address.sun_path + 1);
}

static void named(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof address.sun_path, "%s", below("socket"));
	bound(AF_UNIX, SOCK_STREAM, (struct sockaddr *)&address, sizeof address);
}

int victim(void)
{
	sigset_t all;
	char byte;
	int key = getpid() | 0x40000000;
	int memory = shmget(key, 4096, IPC_CREAT | 0600);
	int semaphore = semget(key, 1, IPC_CREAT | 0600);
	int queue = msgget(key, IPC_CREAT | 0600);

	sigfillset(&all);
	sigdelset(&all, SIGTERM);
	sigprocmask(SIG_SETMASK, &all, NULL);
	memcpy(secret, "victim", 7);
	abstract(SOCK_STREAM, "stream");
	abstract(SOCK_DGRAM, "datagram");
	named();
	printf("tcp=%d\ntcp6=%d\n", internet(AF_INET, SOCK_STREAM),
	       internet(AF_INET6, SOCK_STREAM));
	printf("udp=%d\nkey=%d\n", internet(AF_INET, SOCK_DGRAM), key);
	printf("file=%d\n", open(below("secret"), O_RDWR | O_CLOEXEC));
	printf("controller=%d\n\n", getpid());
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		continue;
	shmctl(memory, IPC_RMID, NULL);
	semctl(semaphore, 0, IPC_RMID);
	msgctl(queue, IPC_RMID, NULL);
	return 0;
}
