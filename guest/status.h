/* Counts the resources that the daemon holds, so that the host can check it for leaks. */
#ifndef STATUS_H
#define STATUS_H

#include "protocol.h"

void status_fill(struct sandboxd_status *status);

#endif
