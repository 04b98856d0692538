/* The resources that the daemon holds, which the host checks for leaks. */
#ifndef STATUS_H
#define STATUS_H

#include "protocol.h"

void status_fill(struct sandboxd_status *status);

#endif
