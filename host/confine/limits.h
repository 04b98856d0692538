/* How much the program may use. */
#ifndef LIMITS_H
#define LIMITS_H

#include "layers.h"

layer_lay limits_set;

#endif
