/* What the daemon holds, for the host to see that it holds on to nothing. */
#ifndef CENSUS_H
#define CENSUS_H

#include "protocol.h"

void census_take(struct sandboxd_status *status);

#endif
