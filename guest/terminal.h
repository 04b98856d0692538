/* A pseudo-terminal for the command. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include "protocol.h"

/* Opens a new one of this size. The descriptors are closed by exec, and the master does not block.
 * False when it cannot: what it has opened by then is the caller's to close. */
bool terminal_open(int *master, int *slave, uint16_t rows, uint16_t columns);
void terminal_resize(int master, uint16_t rows, uint16_t columns);

#endif
