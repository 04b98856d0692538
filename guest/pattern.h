/* Compares names of files with the components of a pattern, between which there is one slash. A
 * pattern without components is empty. */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdbool.h>
#include <stddef.h>

/* Returns the length of the first component. */
size_t pattern_size(const char *pattern);

/* Returns the pattern without its first component. */
const char *pattern_next(const char *pattern);

/* Returns whether the first component contains special characters, and not only a name. */
bool pattern_is_special(const char *pattern);

/* Returns whether the first component is `**`, which matches any number of folders. */
bool pattern_is_deep(const char *pattern);

/* Returns whether the first component matches a name. A character is a code point of UTF-8, or else
 * a byte. */
bool pattern_matches(const char *pattern, const char *name);

#endif
