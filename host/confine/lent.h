/* Files of root that the confined program can open again, though its own uid has no right to
 * read them. */
#ifndef LENT_H
#define LENT_H

#include <stdbool.h>

#include "options.h"

/* Creates a user namespace for `lent_open`. Call it before a new PID namespace is created: the
 * short-lived process that this function starts would be the first process of that namespace. */
void lent_prepare(void);

/* Opens each file again, under the same descriptor, so that the uid of the options can open it
 * by /dev/fd/N. The file is in a mount in which that uid owns it, or is a copy in memory. The
 * rights of all other users stay the same. Returns false, with errno, if neither is possible. */
bool lent_open(struct options *options);

#endif
