/* What an attacker tries who has taken over QEMU: each attempt is a row of a table. */
#ifndef ATTACK_H
#define ATTACK_H

#include <stdbool.h>
#include <stddef.h>

/* Whom an attempt that succeeds would harm, and who may do it without confinement. */
enum danger {
	OPEN, /* others: any ordinary process can, so the test must see it succeed unconfined */
	SHUT, /* others: but the kernel, or want of privileges, refuses it to most, or here */
	OWN,  /* nobody but the process itself */
};

/* One attempt: a function, or a system call with its arguments.
 *
 * It has succeeded unless it returned -1, and then errno says why; errno 0: there is nothing here
 * to try it on. */
struct attempt {
	const char *name;
	enum danger danger;
	const char *gives; /* what it would give to an attacker */
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

/* Return what the test has written of its victims: a text, or ""; a number, or 0. */
const char *told(const char *key);
long told_number(const char *key);

/* Return a path below the folder of the user's, in a buffer that the next call but three reuses. */
const char *below(const char *name);

/* Try it on each inherited descriptor of a kind, until one succeeds. */
enum kind { READ_ONLY_FILE, WRITABLE_FILE, SOCKET, FOLDER };
long each(enum kind kind, long (*try)(int fd));

/* Try it on each victim: a process of the user's, such as the controller, and another machine. */
long victims(long (*try)(int pid));

/* What a victim has in its memory; at the same address in all, as this program does not move. */
extern char secret[32];

long fail(int error);
long closing(int fd); /* close it, if it is one, and return it */

int victim(void); /* be one */

#endif
