/* The arguments and the environment of a command, as execve takes them. */
#ifndef ENVIRONMENT_H
#define ENVIRONMENT_H

#include "protocol.h"
#include "user.h"

struct environment {
	char *command;
	char *cwd;  /* working directory; empty for the user's home */
	char *user; /* user to run as; empty for root */
	char **argv;
	char **envp;
	const char *path; /* the value of PATH */
};

/* Returns the arguments and the environment of a request. They point into the frame that the
 * request was decoded from, in which the strings are terminated. They are valid until the next
 * call. */
struct environment environment_of(const struct sandboxd_exec_request *request, uint8_t *frame);

/* Sets HOME, USER, LOGNAME and SHELL to the user's values, unless the request has set them. */
void environment_become(struct environment *environment, const struct user *user);

#endif
