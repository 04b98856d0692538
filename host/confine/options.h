/* The command line options of the launcher. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "layers.h"

enum { PATHS_MAX = 64, FILES_MAX = 64 };

struct paths {
	unsigned count;
	const char *at[PATHS_MAX];
};

struct files {
	unsigned count;
	int at[FILES_MAX];
	/* For each file: true if reopen_files has reopened it in a read-only mount. */
	bool read_only[FILES_MAX];
};

/* The resource limits of QEMU, in the order of `limit_names`. */
enum limit { LIMIT_FILE_SIZE, LIMIT_ADDRESS_SPACE, LIMIT_OPEN_FILES, LIMIT_THREADS, LIMITS };

extern const char *const limit_names[LIMITS];

struct limits {
	bool given[LIMITS];
	uint64_t value[LIMITS];
};

struct options {
	pid_t controller; /* pid that the launcher's parent must have; 0 for any */
	int status;	  /* descriptor of the socket for the report; -1 for none */
	int cgroup;	  /* descriptor of a cgroup.procs file; -1 for none */
	bool left_out[LAYERS];
	struct limits limits;
	uid_t uid;	      /* base of QEMU's own uid, to which QEMU's pid is added; 0 for none */
	gid_t group;	      /* the only group that QEMU keeps; NO_GROUP for none */
	struct paths read;    /* files and whole folders that QEMU may read and execute */
	struct paths devices; /* devices that QEMU may read, write and control */
	struct files files;   /* open files that QEMU may open again for reading */
	struct files disks;   /* open files that QEMU may read, but need not open again */
	struct files writable;
	unsigned copied; /* number of files that reopen_files has copied to memory */
	char **program;	 /* path and arguments of the program to execute; NULL if missing */
};

#define NO_GROUP UINT32_MAX

/* The largest value of the option --uid. The sum of this value and any pid is still a valid uid. */
enum { PID_LIMIT = 1 << 22 };
#define UID_BASE_MAX (UINT32_MAX - 1 - PID_LIMIT)

/* Reads the launcher's command line arguments, without the launcher's own name. Returns NULL, or
 * the option that is wrong. */
const char *options_read(struct options *options, char **arguments);

#endif
