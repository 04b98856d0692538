/* Joins the cgroup that counts and limits the resources of QEMU. */
#ifndef CGROUP_H
#define CGROUP_H

#include "layers.h"

layer_lay cgroup_join;

#endif
