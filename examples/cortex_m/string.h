/* The only function of <string.h> that protocol.h needs; board.c implements it. */
#include <stddef.h>

void *memmove(void *to, const void *from, size_t size);
