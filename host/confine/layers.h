/* The layers of the confinement, by the names that options and status give them. */
#ifndef LAYERS_H
#define LAYERS_H

enum layer {
	LAYER_USER,
	LAYER_PID,
	LAYER_NET,
	LAYER_IPC,
	LAYER_UTS,
	LAYER_MOUNT,
	LAYER_CGROUP,
	LAYER_IDS,
	LAYER_LIMITS,
	LAYER_LANDLOCK,
	LAYER_SECCOMP,
	LAYERS
};

extern const char *const layer_names[LAYERS];

/* What is said of a layer that holds: some words, empty at first. */
enum { DETAIL_SIZE = 64 };

struct options;

/* Lays a layer around this process: NULL, or why it cannot. */
typedef const char *layer_lay(const struct options *options, char detail[static DETAIL_SIZE]);

#endif
