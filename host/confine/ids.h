/* Sets the uid and the groups of QEMU, and drops all privileges. */
#ifndef IDS_H
#define IDS_H

#include "layers.h"

/* Call prctl(PR_SET_PDEATHSIG), which requests a signal at the parent's exit, only after this
 * layer, because a change of the uid cancels the request. */
layer_lay ids_give_up;

#endif
