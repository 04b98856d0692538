/* Moves this process to new namespaces, in which there are no other processes. */
#ifndef NAMESPACES_H
#define NAMESPACES_H

#include "layers.h"

/* Moves this process to a new namespace of a kind such as CLONE_NEWNET. Returns NULL, or the reason
 * why the kernel has refused. */
const char *namespace_leave(int kind);

/* Maps the uid and the gid of this process to themselves in the new user namespace, to which
 * namespace_leave has moved it. */
layer_lay namespace_map;

#endif
