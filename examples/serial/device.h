/* A meter that is independent of its line, which only transfers bytes. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stddef.h>
#include <stdint.h>

/* Starts the meter. */
void device_start(void);

/* Handles the next byte from the line, and answers if it completes a request. */
void device_take(uint8_t byte);

/* Sends all bytes; each kind of line implements this function. */
void line_write(const uint8_t *data, size_t size);

#endif
