/* The cgroup in which a command runs. With it, the daemon limits the command, and kills the command
 * with every process that it started. */
#ifndef CGROUP_H
#define CGROUP_H

#include "protocol.h"

/* Maximum size in bytes of a cgroup file that counts events, such as memory.events. In Linux, these
 * files have about 100 bytes. */
enum { CGROUP_EVENTS_SIZE = 256 };

/* Checks that the kernel supports cgroups as needed, and creates the first cgroup. Returns NULL, or
 * the name of the missing file or folder, with errno set. */
const char *cgroup_init(void);

/* Returns a descriptor of the cgroup in which clone3 is to start the next command. Returns -1 if
 * the guest cannot use cgroups. */
int cgroup_fd(void);

/* Limits the number of processes and the memory (in bytes) of the next command; 0 means no limit.
 * Returns false if a limit cannot be set. */
bool cgroup_limit(uint32_t processes, uint64_t memory);

/* Returns whether the kernel has killed the current command because it exceeded its memory
 * limit. */
bool cgroup_out_of_memory(void);

/* Returns the peak memory use of the current command and of every process that it started, in
 * bytes. Returns 0 if the peak is unknown. */
uint64_t cgroup_memory(void);

/* Kills every process of the current command, if the guest can use cgroups. */
void cgroup_kill(void);

/* Prepares a cgroup for the next command. The last command's cgroup is used again if it left no
 * process and little memory in it; otherwise a new cgroup replaces it. */
void cgroup_renew(void);

/* Freezes the processes that earlier commands have left behind if `freezing` is true, and otherwise
 * thaws them. No command may be running when they are frozen. */
void cgroup_freeze(bool freezing);

/* Returns whether all processes that earlier commands have left behind are frozen. */
bool cgroup_is_frozen(void);

/* Creates a new cgroup for the next command, even if the last command's cgroup is empty. Processes
 * in the old cgroup keep running. Returns false if the guest cannot use cgroups. */
bool cgroup_replace(void);

#endif
