/* Real-time priorities, which let the daemon answer at once even if many processes are busy. */
#ifndef PRIORITY_H
#define PRIORITY_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

/* PRIORITY_STARTING is the priority of a child until it calls execve. The daemon waits for that
 * call. PRIORITY_DAEMON is higher, so after the call the daemon runs before the new program. */
enum { PRIORITY_NONE, PRIORITY_STARTING, PRIORITY_DAEMON };

/* Sets the priority of a process, or of the caller if `pid` is 0. The children of this process do
 * not inherit the priority. Returns false if the kernel refuses the priority. */
static inline bool priority_set(pid_t pid, int priority)
{
	const int reset_on_fork = 0x40000000; /* SCHED_RESET_ON_FORK of sched(7) */
	const struct sched_param param = { .sched_priority = priority };

	return sched_setscheduler(pid, priority ? SCHED_FIFO | reset_on_fork : SCHED_OTHER,
				  &param) == 0;
}

#endif
