/* A command looked up in the PATH that the host has sent.
 *
 * Functions: look_up join stage_of
 * Bound: every PATH up to 4 bytes (5 folders), every command up to 4 bytes
 * Assumes: a PATH_MAX of 8 in the place of 4096; of what is found nothing can be read (interpreter.c has
 *	what can)
 * Unwind: 9 */
#include "proof.h"

#include <limits.h>
#undef PATH_MAX
#define PATH_MAX 8

#include <spawn.c>

static struct spawn_failure shared;
static struct missing named;

ssize_t read(int fd, void *into, size_t size)
{
	PROVE(__CPROVER_w_ok(into, size));
	return 0; /* as where it cannot be opened: nothing follows from the difference */
}

int execve(const char *path, char *const argv[], char *const envp[])
{
	WITNESS(strlen(path) == PATH_MAX - 1);
	errno = nondet_int();
	return -1;
}

void prove(void)
{
	char path[5], command[5];
	struct environment environment = { .path = path, .command = command };

	path[4] = 0;
	command[4] = 0;
	failure = &shared;
	missing = &named;
	look_up(&environment);
}
