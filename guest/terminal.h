/* A pseudo-terminal for the command. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include "protocol.h"

/* Opens a new pseudo-terminal of this size. Its descriptors are closed on exec, and the master does
 * not block. Returns false on failure; the caller then closes the descriptors that are open. */
bool terminal_open(int *master, int *slave, uint16_t rows, uint16_t columns);
void terminal_resize(int master, uint16_t rows, uint16_t columns);

#endif
