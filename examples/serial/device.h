/* A meter that knows nothing of its line: bytes go in and out. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stddef.h>
#include <stdint.h>

/* Switches the meter on. */
void device_start(void);

/* Takes the next byte from the line, and answers when a request ends with it. */
void device_take(uint8_t byte);

/* Sends bytes, all of them: each line has its own. */
void line_write(const uint8_t *data, size_t size);

#endif
