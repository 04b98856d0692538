/* Starts a process, and says precisely what failed when that cannot be done. */
#ifndef SPAWN_H
#define SPAWN_H

#include <sys/types.h>

#include "environment.h"
#include "protocol.h"

struct spawn_failure {
	enum sandboxd_stage stage; /* 0 when it has started */
	int error;
};

/* What a process is started with. */
struct spawn {
	struct environment environment;
	int streams[3]; /* its 0, 1 and 2; -1 for the first is /dev/null */
	bool terminal;	/* they are its controlling terminal */
	int cgroup;	/* that it lives in; -1 for ours */
};

/* Called once, before anything is started. */
bool spawn_init(void);

/* Runs the command in a session of its own. Sets `pid`. */
struct spawn_failure spawn(const struct spawn *what, pid_t *pid);

/* What was not there where the last stage was `interpreter`; else nothing. */
struct sandboxd_slice spawn_missing(void);

#endif
