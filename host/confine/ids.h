/* Whose the program is, and what privileges it has: none. */
#ifndef IDS_H
#define IDS_H

#include "layers.h"

/* Afterwards the parent's death sends no signal any more. */
layer_lay ids_give_up;

#endif
