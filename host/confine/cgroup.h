/* The control group that counts and limits what the program uses. */
#ifndef CGROUP_H
#define CGROUP_H

#include "layers.h"

layer_lay cgroup_join;

#endif
