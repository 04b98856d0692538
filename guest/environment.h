/* The arguments and the environment of a command, as execve takes them. */
#ifndef ENVIRONMENT_H
#define ENVIRONMENT_H

#include "protocol.h"
#include "user.h"

struct environment {
	char *command;
	char *cwd;  /* empty: the default */
	char *user; /* empty: root */
	char **argv;
	char **envp;
	const char *path; /* where commands are looked up */
};

/* Points into the frame that the request was decoded from, and terminates the strings in it. It
 * holds until the next call. */
struct environment environment_of(const struct sandboxd_exec_request *request, uint8_t *frame);

/* Puts the user's name, home and shell in the place of the defaults for root. */
void environment_become(struct environment *environment, const struct user *user);

#endif
