/* The word behind `#!` in the first bytes of a script.
 *
 * Functions: find_word
 * Bound: every script of 3 to 8 bytes
 * Assumes: nothing
 * Unwind: 10 */
#include "proof.h"

#include <spawn.c>

void prove(void)
{
	char text[8];
	size_t size = nondet_upto(sizeof text), start;

	ASSUME(size > 2);
	size_t length = find_word(text, size, &start);
	PROVE(start >= 2 && start <= size && length <= size - start);
	WITNESS(start == 4 && length == 3);
}
