/* A cgroup for each command: what kills it with all that it has started, and what limits it. */
#ifndef CGROUP_H
#define CGROUP_H

#include "protocol.h"

/* Of a file that tells what has happened in a cgroup, in bytes; the kernel's have some hundred. */
enum { CGROUP_EVENTS_SIZE = 256 };

/* Finds out whether the kernel has what is needed, and makes the first one. What it has not, with the
 * errno of that; NULL where it has all. */
const char *cgroup_init(void);

/* The cgroup of the next command, as a descriptor for clone3; -1 where there are none. */
int cgroup_fd(void);

/* Limits the next command; 0 is no limit. False when it cannot. */
bool cgroup_limit(uint32_t processes, uint64_t memory);

/* Whether the kernel has killed the command in the current one: it wanted more memory than its limit. */
bool cgroup_out_of_memory(void);

/* The most memory that the command in the current one took at a time, with all that it has started, in
 * bytes; 0 where that is not known. */
uint64_t cgroup_memory(void);

/* Kills everything in the current one, where there is one. */
void cgroup_kill(void);

/* Is done with the current one: an idle one in which nothing happened serves the next command too, else it is replaced. */
void cgroup_renew(void);

/* Freezes what runs in all but the current one, which must have no command then; or lets it go on. */
void cgroup_freeze(bool freezing);

/* Whether all of that is frozen by now. */
bool cgroup_is_frozen(void);

/* Makes a new one; what still runs in the old one goes on. False where there are none. */
bool cgroup_replace(void);

#endif
