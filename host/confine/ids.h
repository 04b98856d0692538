/* Sets the uid and the groups of the program, and drops all its privileges. */
#ifndef IDS_H
#define IDS_H

#include "layers.h"

/* A change of the uid clears the signal that this process gets when its parent exits, so ask for
 * this signal afterwards. */
layer_lay ids_give_up;

#endif
