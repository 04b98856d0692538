/* Numbers in decimal. */
#ifndef DECIMAL_H
#define DECIMAL_H

#include <stdint.h>

/* The most digits that a number has. */
enum { DIGITS = 20 };

/* Writes the number in decimal at the end of `text`, and returns where it starts. */
static inline char *decimal(char text[static DIGITS + 1], uint64_t value)
{
	char *at = text + DIGITS;

	*at = 0;
	do
		*--at = (char)('0' + value % 10);
	while (value /= 10);
	return at;
}

#endif
