/* Sets the uid and the groups of QEMU, and drops all privileges. */
#ifndef IDS_H
#define IDS_H

#include "layers.h"

/* Applies the layer "ids": changes to the uid of QEMU, if one was requested, and drops the
 * privileges of this process. Call prctl(PR_SET_PDEATHSIG), which requests a signal at the
 * parent's exit, only afterwards, because a change of the uid cancels the request. */
layer_lay ids_give_up;

#endif
