/* A pseudo-terminal for the command. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include "protocol.h"

/* Opens a new one of this size; the descriptors do not block, and are closed by exec. */
bool terminal_open(int *master, int *slave, uint16_t rows, uint16_t columns);
void terminal_resize(int master, uint16_t rows, uint16_t columns);

#endif
