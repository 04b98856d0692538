/* Joins the control group that counts and limits the resources of the program. */
#ifndef CGROUP_H
#define CGROUP_H

#include "layers.h"

layer_lay cgroup_join;

#endif
