/* Namespaces of its own, in which there is nobody else. */
#ifndef NAMESPACES_H
#define NAMESPACES_H

#include "layers.h"

/* Leaves the one that it is in, of a kind such as CLONE_NEWNET: NULL, or why it cannot. */
const char *namespace_leave(int kind);

/* Gives the ids of a new user namespace a meaning. */
layer_lay namespace_map;

#endif
