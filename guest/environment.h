/* The arguments and the environment of a command, in the form that execve takes. */
#ifndef ENVIRONMENT_H
#define ENVIRONMENT_H

#include "protocol.h"
#include "user.h"

struct environment {
	char *command;
	char *cwd;  /* working directory; empty for the user's home */
	char *user; /* user that runs the command; empty for root */
	char **argv;
	char **envp;
	const char *path; /* value of PATH in `envp` */
};

/* Returns the arguments and the environment that an exec_request contains. The strings stay in
 * `frame`, from which the request was decoded, and each gets a NUL there. The result is valid until
 * the next call. */
struct environment environment_of(const struct sandboxd_exec_request *request, uint8_t *frame);

/* Sets HOME, USER, LOGNAME and SHELL to the values for a user, except those that the request has
 * set. */
void environment_become(struct environment *environment, const struct user *user);

#endif
