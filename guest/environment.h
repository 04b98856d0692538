/* The arguments and the environment of a command, as execve takes them. */
#ifndef ENVIRONMENT_H
#define ENVIRONMENT_H

#include "protocol.h"

struct environment {
	char *command;
	char *cwd; /* empty: the default */
	char **argv;
	char **envp;
	const char *path; /* where commands are looked up */
};

/* Points into the frame that the request was decoded from, and terminates the strings in it. It
 * holds until the next call. */
struct environment environment_of(const struct sandboxd_exec_request *request, uint8_t *frame);

#endif
