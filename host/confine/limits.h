/* Sets the resource limits of the program. */
#ifndef LIMITS_H
#define LIMITS_H

#include "layers.h"

layer_lay limits_set;

#endif
