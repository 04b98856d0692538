/* What the daemon holds, for the host to see that it holds on to nothing. */
#ifndef STATUS_H
#define STATUS_H

#include "protocol.h"

void status_fill(struct sandboxd_status *status);

#endif
