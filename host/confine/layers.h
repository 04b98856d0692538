/* The layers of QEMU's confinement: their names in options and in the launcher's report, and the
 * functions that apply them. */
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

/* Size of the buffer `detail`, in which a layer can describe what it has done. The launcher's
 * report shows this text behind `ok`. The buffer contains an empty text at first. */
enum { DETAIL_SIZE = 64 };

struct options;

/* The type of a function that applies a layer to this process. It returns NULL, or the reason why
 * it has failed. */
typedef const char *layer_lay(const struct options *options, char detail[static DETAIL_SIZE]);

layer_lay namespace_map, mounts_replace, cgroup_join, limits_set, landlock_restrict, filter_install;

/* Changes to the uid of QEMU, if an option requests one, and drops the privileges of this process.
 * A change of the uid cancels prctl(PR_SET_PDEATHSIG), which requests a signal at the parent's
 * exit. So the caller must make this request afterwards. */
layer_lay ids_give_up;

/* Moves this process to a new namespace of a kind such as CLONE_NEWNET. Returns NULL, or the reason
 * why the kernel has refused. */
const char *namespace_leave(int kind);

#endif
