/* Starts a process, and reports which step failed if it cannot be started. */
#ifndef SPAWN_H
#define SPAWN_H

#include <sys/types.h>

#include "protocol.h"
#include "user.h"

struct spawn_failure {
	enum sandboxd_stage stage; /* the step that has failed; 0 if the process was started */
	int error;
};

/* The arguments and the environment of a command, in the form that execve takes. */
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

/* The settings of a process that is to be started. */
struct spawn {
	struct environment environment;
	int streams[3]; /* descriptors of the standard streams; -1 as input means /dev/null */
	bool terminal;	/* true if the streams are the controlling terminal of the process */
	int cgroup;	/* descriptor of the cgroup; -1 for the daemon's cgroup */
};

/* Allocates the memory that `spawn` shares with child processes, and raises the daemon's limit of
 * open files. Must be called once, before `spawn`. Returns false if there is no memory. */
bool spawn_init(void);

/* Starts the command in a new session of the kernel (setsid(2)), and sets `pid` to its process
 * id. */
struct spawn_failure spawn(const struct spawn *what, pid_t *pid);

/* Returns the path of the interpreter that a script or an ELF program needs, if the last call of
 * `spawn` has failed because this interpreter is missing. Otherwise returns an empty slice. */
struct sandboxd_slice spawn_missing(void);

#endif
