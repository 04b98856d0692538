#include "pattern.h"

#include <stdint.h>
#include <string.h>

enum {
	OTHER_BYTE = 0xDC00
}; /* added to a byte that is not UTF-8; no valid code point is as this */

size_t pattern_size(const char *pattern)
{
	return strcspn(pattern, "/");
}

const char *pattern_next(const char *pattern)
{
	pattern += pattern_size(pattern);
	return *pattern ? pattern + 1 : pattern;
}

bool pattern_is_special(const char *pattern)
{
	return strcspn(pattern, "*?[/") < pattern_size(pattern);
}

bool pattern_is_deep(const char *pattern)
{
	return pattern_size(pattern) == 2 && strncmp(pattern, "**", 2) == 0;
}

/* Returns the length of the character that begins with `first`, without this byte; -1 if no
 * character of UTF-8 begins with it. */
static int more_bytes(uint8_t first)
{
	if (first < 0x80)
		return 0;
	if (first < 0xC2 || first > 0xF4)
		return -1;
	return first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
}

static bool is_code_point(uint32_t code, int more)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };

	return code >= least[more] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
}

/* Returns the next character of a text, and moves `at` behind it. */
static uint32_t take(const char **at)
{
	const uint8_t *bytes = (const uint8_t *)*at;
	int more = more_bytes(bytes[0]), n;
	uint32_t code = more > 0 ? bytes[0] & (0x3Fu >> more) : bytes[0];

	for (n = 1; n <= more && (bytes[n] & 0xC0) == 0x80; n++)
		code = code << 6 | (bytes[n] & 0x3F);
	if (more >= 0 && n == more + 1 && is_code_point(code, more)) {
		*at += n;
		return code;
	}
	*at += 1;
	return OTHER_BYTE + bytes[0];
}

/* Returns the `]` that ends the set which begins at `set`, or NULL if the `[` is no set. */
static const char *end_of_set(const char *set, const char *end)
{
	const char *at = set + 1;

	if (at < end && *at == '!')
		at++;
	if (at < end && *at == ']')
		at++;
	while (at < end && *at != ']')
		at++;
	return at < end ? at : NULL;
}

static bool is_in_set(const char *at, const char *end, uint32_t character)
{
	bool negated = *at == '!', found = false;

	at += negated;
	while (at < end) {
		uint32_t least = take(&at), most = least;

		if (at + 1 < end && *at == '-') {
			at++;
			most = take(&at);
		}
		found = found || (least <= character && character <= most);
	}
	return found != negated;
}

/* Compares one character with the begin of a component, and moves `at` behind what it matches. */
static bool take_match(const char **at, const char *end, uint32_t character)
{
	const char *last;

	if (**at == '?') {
		*at += 1;
		return true;
	}
	if (**at == '[' && (last = end_of_set(*at, end))) {
		const char *set = *at + 1;

		*at = last + 1;
		return is_in_set(set, last, character);
	}
	return take(at) == character;
}

/* When a character does not match, the last `*` takes one character more, and the rest of the
 * component is compared again. Earlier ones need not change, so the time is limited. */
bool pattern_matches(const char *pattern, const char *name)
{
	const char *end = pattern + pattern_size(pattern), *star = NULL, *resume = NULL;

	if (*name == '.' && *pattern != '.')
		return false;
	for (;;) {
		const char *at = pattern, *rest = name;

		if (pattern < end && *pattern == '*') {
			star = ++pattern;
			resume = name;
		} else if (!*name) {
			return pattern == end;
		} else if (pattern < end && take_match(&at, end, take(&rest))) {
			pattern = at;
			name = rest;
		} else if (star) {
			take(&resume);
			pattern = star;
			name = resume;
		} else {
			return false;
		}
	}
}
