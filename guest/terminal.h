/* Opens a pseudo-terminal for the command, and changes its size. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include "protocol.h"

/* Opens a new pseudo-terminal of this size. Both descriptors are closed on exec, and the master is
 * non-blocking. Returns false on failure; the caller must then close the descriptors that are
 * open. */
bool terminal_open(int *master, int *slave, uint16_t rows, uint16_t columns);
void terminal_resize(int master, uint16_t rows, uint16_t columns);

#endif
