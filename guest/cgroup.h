/* The cgroups in which commands run. The daemon uses them to limit a command, and to kill a command
 * and every process that it started. */
#ifndef CGROUP_H
#define CGROUP_H

#include <sys/types.h>

#include "protocol.h"

/* Maximum size in bytes of a cgroup file that counts events, such as memory.events. In Linux, these
 * files have about 100 bytes. */
enum { CGROUP_EVENTS_SIZE = 256 };

/* The cgroup of a slot, the index of a running command in the daemon's tables. The commands that
 * get the same slot, one after another, run in this cgroup. */
struct cgroup {
	uint64_t number; /* number of the cgroup, which is also its name; 0 before it is created */
	/* Descriptors of the cgroup's folder and of files in it. 0 or -1 means that the file is not
	 * open: descriptor 0 is always a standard stream. */
	int folder;
	int pids_max;	    /* pids.max: maximum number of processes */
	int peak;	    /* memory.peak; not open if this kernel cannot reset it */
	int events;	    /* cgroup.events */
	bool limits_memory; /* true if the command has a memory limit */
};

/* Checks that the kernel has all files of cgroups that the daemon needs, and creates the cgroup of
 * slot 0. Returns NULL. On failure, returns the name of the missing file or folder, and sets
 * errno. */
const char *cgroup_init(void);

/* Returns the cgroup for the command in a slot, the index of a running command in the daemon's
 * tables. cgroup_limit creates this cgroup when it is first needed. If the guest cannot use cgroups,
 * the cgroup never exists. While it does not exist, the other functions do nothing. */
struct cgroup *cgroup_of(uint32_t slot);

/* Creates the cgroup if it does not exist yet. Sets the limits of the next command in it: the
 * number of processes, and the memory in bytes. 0 means no limit. Returns false if a limit cannot
 * be set. */
bool cgroup_limit(struct cgroup *cgroup, uint32_t processes, uint64_t memory);

/* Returns a descriptor of the cgroup, for clone3 to start the next command in it. Returns -1 if the
 * cgroup does not exist. */
int cgroup_fd(const struct cgroup *cgroup);

/* Returns whether the kernel has killed the command in the cgroup because it exceeded its memory
 * limit. */
bool cgroup_out_of_memory(const struct cgroup *cgroup);

/* Returns the peak memory use of the command in the cgroup and of every process that it started, in
 * bytes. Returns 0 if the peak is unknown. */
uint64_t cgroup_memory(const struct cgroup *cgroup);

/* Kills every process of the command in the cgroup. */
void cgroup_kill(const struct cgroup *cgroup);

/* Prepares the cgroup for the next command. The last command's cgroup is used again if it left no
 * process and little memory in it; otherwise a new cgroup replaces it. */
void cgroup_renew(struct cgroup *cgroup);

/* Freezes the processes that earlier commands have left behind if `freezing` is true, and otherwise
 * thaws them. No command may be running when they are frozen. */
void cgroup_freeze(bool freezing);

/* Returns whether all processes that earlier commands have left behind are frozen. */
bool cgroup_is_frozen(void);

/* Creates a new cgroup for the next command, even if the last command's cgroup is empty. Processes
 * in the old cgroup keep running. Returns false if the cgroup does not exist. */
bool cgroup_replace(struct cgroup *cgroup);

#endif
