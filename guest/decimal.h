/* Numbers in decimal. */
#ifndef DECIMAL_H
#define DECIMAL_H

#include <stddef.h>
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

/* The number that a text of this size begins with; 0 where it begins with none. */
static inline uint64_t decimal_value(const char *text, size_t size)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size && text[i] >= '0' && text[i] <= '9'; i++)
		value = 10 * value + (uint64_t)(text[i] - '0');
	return value;
}

#endif
