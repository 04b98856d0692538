/* The layers of the confinement, and their names in options and in the status. */
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

/* Size of the text that describes a layer in the status, after `ok`. It is empty at first. */
enum { DETAIL_SIZE = 64 };

struct options;

/* Applies a layer to this process. Returns NULL, or the reason why it failed. */
typedef const char *layer_lay(const struct options *options, char detail[static DETAIL_SIZE]);

#endif
