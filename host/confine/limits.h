/* Sets the resource limits of QEMU, such as the maximum number of open files. */
#ifndef LIMITS_H
#define LIMITS_H

#include "layers.h"

layer_lay limits_set;

#endif
