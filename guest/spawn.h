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

/* Runs the command in a session of its own, reading /dev/null and writing to the descriptors
 * `out` and `err`. Sets `pid`. */
struct spawn_failure spawn(const struct environment *environment, int out, int err, pid_t *pid);

#endif
