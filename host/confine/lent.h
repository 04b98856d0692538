/* The files of root that the program opens anew with its own uid, which has no right to them. */
#ifndef LENT_H
#define LENT_H

#include <stdbool.h>

#include "options.h"

/* Makes a user namespace for `lent_open`. To be called outside of a new pid namespace, whose first process
 * would be one that ends at once. */
void lent_prepare(void);

/* Opens each file anew, by the same descriptor, so that the uid of the options may open it by /dev/fd/N: in a
 * mount where that uid owns it, or as a copy in memory. Everybody else has the rights that they had. False,
 * with errno, if neither is possible. */
bool lent_open(struct options *options);

#endif
