/* Converts numbers to decimal text and back, and compares one with hexadecimal text. */
#ifndef DECIMAL_H
#define DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Maximum number of decimal digits of a 64-bit number. */
enum { DIGITS = 20 };

/* Writes a number in decimal, with a NUL, to the last bytes of `text`. Returns a pointer to its
 * first digit. */
static inline char *decimal(char text[static DIGITS + 1], uint64_t value)
{
	char *at = text + DIGITS;

	*at = 0;
	do
		*--at = (char)('0' + value % 10);
	while (value /= 10);
	return at;
}

/* Writes a prefix and a number in decimal to the last bytes of `room`. Returns the start of the
 * text, which is not always the start of `room`. */
static inline char *numbered(char *room, const char *prefix, uint64_t number)
{
	const size_t size = strlen(prefix);

	return memcpy(decimal(room + size, number) - size, prefix, size);
}

/* Returns the decimal number at the start of a text of `size` bytes, or 0 if the text starts with
 * no digit. */
static inline uint64_t decimal_value(const char *text, size_t size)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size && text[i] >= '0' && text[i] <= '9'; i++)
		value = 10 * value + (uint64_t)(text[i] - '0');
	return value;
}

/* Returns whether a text consists of the 16 hexadecimal digits of a number. */
static inline bool is_hexadecimal(const char *text, uint64_t number)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		if (*text++ != "0123456789abcdef"[number >> shift & 15])
			return false;
	return !*text;
}

#endif
