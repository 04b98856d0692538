/* The kernel's Landlock: what of the file system, of TCP and of other processes can be reached. */
#ifndef LANDLOCK_H
#define LANDLOCK_H

#include "layers.h"

layer_lay landlock_restrict;

#endif
