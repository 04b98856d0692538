/* The attempts of an attacker who controls QEMU, each of which is a row of a table. */
#ifndef ATTACK_H
#define ATTACK_H

#include <stdbool.h>
#include <stddef.h>

/* The victim of a successful attempt, and the processes that may make it without confinement. */
enum danger {
	OPEN, /* harms others; every process may do it, so it must succeed unconfined */
	SHUT, /* harms others; but needs privileges, or another kernel */
	OWN,  /* harms only the process itself */
};

/* One attempt: a function, or a system call with its arguments.
 *
 * It returns -1 for failure, and sets errno to the reason; errno is 0 if the attempt has no target
 * on this host. */
struct attempt {
	const char *name;
	enum danger danger;
	const char *gives; /* benefit for an attacker */
	long (*function)(void);
	long call[7];
};

#define RAW(...)            \
	NULL,               \
	{                   \
		__VA_ARGS__ \
	}
#define P(pointer) ((long)(pointer))

struct attempts {
	const char *title;
	const struct attempt *rows;
	size_t count;
};

extern const struct attempts files, descriptors, processes, itself, sockets, kernel;

/* Return a fact about the victims that the test wrote: a text, or ""; a number, or 0. */
const char *told(const char *key);
long told_number(const char *key);

/* Return a path below the user's folder, in one of four buffers that are reused in turn. */
const char *below(const char *name);

/* Make an attempt on each inherited descriptor of a kind, until one succeeds. */
enum kind { READ_ONLY_FILE, WRITABLE_FILE, SOCKET, FOLDER };
long each(enum kind kind, long (*try)(int fd));

/* Make an attempt on each victim: the controller, and another machine of the same user. */
long victims(long (*try)(int pid));

/* A secret in the memory of a victim. It has the same address in all processes of this program. */
extern char secret[32];

long fail(int error);
long closing(int fd); /* close a valid descriptor, and return it */

int victim(void); /* run as a victim */

#endif
