/* What the protocol needs of a library; board.c has it. */
#include <stddef.h>

void *memmove(void *to, const void *from, size_t size);
