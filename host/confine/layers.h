/* The layers of QEMU's confinement, and their names in options and in the launcher's report. */
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

/* Size of the text `detail`, which a layer can fill with a description of what it has done. The
 * launcher's report shows this text behind `ok`. The text is empty at first. */
enum { DETAIL_SIZE = 64 };

struct options;

/* The type of a function that applies a layer to this process. It returns NULL, or the reason why
 * it has failed. */
typedef const char *layer_lay(const struct options *options, char detail[static DETAIL_SIZE]);

#endif
