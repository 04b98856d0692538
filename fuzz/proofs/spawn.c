/* Searches PATH for a command, and finds the interpreter after `#!` in a script.
 *
 * Functions: look_up join explain find_word
 * Bound: every PATH up to 4 bytes (5 folders), every command up to 4 bytes, every script of 3 to 8
 * Assumes: a PATH_MAX of 8 instead of 4096; the found files cannot be read
 * Unwind: 10 */
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
	return 0; /* an empty file has the same effect as a file that cannot be opened */
}

int execve(const char *path, char *const argv[], char *const envp[])
{
	WITNESS(strlen(path) == PATH_MAX - 1);
	errno = nondet_int();
	return -1;
}

void prove_path(void)
{
	char path[5], command[5];
	struct environment environment = { .path = path, .command = command };

	path[4] = 0;
	command[4] = 0;
	failure = &shared;
	missing = &named;
	look_up(&environment, nondet_bool() ? execute : explain);
}

void prove_interpreter(void)
{
	char text[8];
	size_t size = nondet_upto(sizeof text), start;

	ASSUME(size > 2);
	size_t length = find_word(text, size, &start);
	PROVE(start >= 2 && start <= size && length <= size - start);
	WITNESS(start == 4 && length == 3);
}
