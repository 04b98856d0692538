/* Gives QEMU a root file system that holds only the files that it needs. */
#ifndef MOUNTS_H
#define MOUNTS_H

#include "layers.h"

layer_lay mounts_replace;

#endif
