/* A file system of its own, with nothing in it but what the program reads. */
#ifndef MOUNTS_H
#define MOUNTS_H

#include "layers.h"

layer_lay mounts_replace;

#endif
