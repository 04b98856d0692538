/* What the launcher was told to do. */
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
	bool read_only[FILES_MAX]; /* true: in a read-only mount of our own */
};

/* In the order of `limit_names`. */
enum limit { LIMIT_FILE_SIZE, LIMIT_ADDRESS_SPACE, LIMIT_OPEN_FILES, LIMIT_THREADS, LIMITS };

extern const char *const limit_names[LIMITS];

struct options {
	pid_t controller; /* 0: whoever is the parent */
	int status;	  /* -1: nobody is told */
	int cgroup;	  /* an open cgroup.procs, or -1 */
	bool required[LAYERS];
	bool left_out[LAYERS];
	bool limited[LIMITS];
	uint64_t limits[LIMITS];
	bool has_uid;
	uid_t uid; /* to which the program's pid is added */
	bool has_group;
	gid_t group;
	struct paths read;    /* to be read and executed, with all below them */
	struct paths devices; /* to be read, written and controlled */
	struct files files;   /* to be opened anew for reading */
	struct files disks;   /* read by their descriptors alone, not opened again */
	struct files writable;
	unsigned copied; /* number of files that were copied into memory for the uid */
	char **program;	 /* its path and its arguments */
};

/* The largest uid to which every pid can be added, and which is not that of nobody's file. */
enum { PID_LIMIT = 1 << 22 };
#define UID_BASE_MAX (UINT32_MAX - 1 - PID_LIMIT)

/* Reads the arguments, without the launcher's own name; a word that is wrong, or NULL. */
const char *options_read(struct options *options, char **arguments);

#endif
