/* The attempts of an attacker who controls QEMU. Each attempt is a row of a table. */
#ifndef ATTACK_H
#define ATTACK_H

#include <stdbool.h>
#include <stddef.h>

/* The danger of an attempt, which harms others if it succeeds. */
enum danger {
	OPEN, /* must succeed without confinement, because any process may do it */
	SHUT, /* needs privileges or another kernel, so it may always fail */
};

/* An attempt: a function, or a system call with its arguments.
 *
 * A failed attempt returns -1, and sets errno to the reason. errno is 0 if the attempt has no
 * target on this host. */
struct attempt {
	const char *name;
	enum danger danger;
	const char *gives; /* benefit of a success for an attacker */
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

/* Return a fact about the victims, which the test has written into the program. told returns its
 * text, or "" if the fact is missing; told_number returns its number, or 0. */
const char *told(const char *key);
long told_number(const char *key);

/* Return the path of a file in the user's folder. The text is in one of four buffers, which are
 * reused in turn. */
const char *below(const char *name);

/* Make an attempt on each inherited descriptor of one kind, until an attempt succeeds. */
enum kind { READ_ONLY_FILE, WRITABLE_FILE, SOCKET, FOLDER };
long each(enum kind kind, long (*try)(int fd));

/* Make an attempt on each victim, which are the controller and another machine of the same user. */
long victims(long (*try)(int pid));

/* A secret in the memory of a victim. It has the same address in all processes of this program, so
 * an attacker knows where to look. */
extern char secret[32];

long fail(int error);
long closing(int fd); /* close a descriptor if it is valid, and return it */

int victim(void); /* run this process as a victim */

#endif
