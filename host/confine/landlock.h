/* Restricts QEMU's access to files, TCP and other processes with Landlock, a security module of
 * Linux. */
#ifndef LANDLOCK_H
#define LANDLOCK_H

#include "layers.h"

layer_lay landlock_restrict;

#endif
