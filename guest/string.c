/* The functions of string.h that the guest's programs use. A compiler itself adds calls of some of
 * them, and clang also of memchr and bcmp. */
#include <stdint.h>
#include <string.h>

int bcmp(const void *left, const void *right, size_t size);

/* A word that need not be aligned. Copying words takes less time than copying bytes. */
typedef struct {
	uint64_t value;
} __attribute__((packed, may_alias)) word;

/* Copies from the first byte to the last one. If the memory overlaps, `to` must be in front of
 * `from`. */
static void copy_forward(uint8_t *to, const uint8_t *from, size_t size)
{
	for (; size >= sizeof(word); size -= sizeof(word)) {
		*(word *)(void *)to = *(const word *)(const void *)from;
		to += sizeof(word);
		from += sizeof(word);
	}
	while (size-- > 0)
		*to++ = *from++;
}

static void copy_backward(uint8_t *to, const uint8_t *from, size_t size)
{
	while (size-- > 0)
		to[size] = from[size];
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
	copy_forward(to, from, size);
	return to;
}

void *memmove(void *to, const void *from, size_t size)
{
	(to < from ? copy_forward : copy_backward)(to, from, size);
	return to;
}

void *memset(void *to, int value, size_t size)
{
	uint8_t *at = to;

	while (size-- > 0)
		*at++ = (uint8_t)value;
	return to;
}

int memcmp(const void *left, const void *right, size_t size)
{
	const uint8_t *a = left, *b = right;

	for (; size > 0; a++, b++, size--)
		if (*a != *b)
			return *a - *b;
	return 0;
}

int bcmp(const void *left, const void *right, size_t size)
{
	return memcmp(left, right, size);
}

void *memchr(const void *memory, int byte, size_t size)
{
	const uint8_t *at = memory;

	for (; size > 0; at++, size--)
		if (*at == (uint8_t)byte)
			return (void *)(uintptr_t)at;
	return NULL;
}

size_t strlen(const char *text)
{
	size_t size = 0;

	while (text[size])
		size++;
	return size;
}

int strncmp(const char *left, const char *right, size_t size)
{
	for (; size > 0; left++, right++, size--)
		if (*left != *right || !*left)
			return (uint8_t)*left - (uint8_t)*right;
	return 0;
}

int strcmp(const char *left, const char *right)
{
	return strncmp(left, right, SIZE_MAX);
}

char *strchr(const char *text, int character)
{
	for (; *text != (char)character; text++)
		if (!*text)
			return NULL;
	return (char *)(uintptr_t)text;
}

char *strrchr(const char *text, int character)
{
	const char *last = NULL;

	do
		if (*text == (char)character)
			last = text;
	while (*text++);
	return (char *)(uintptr_t)last;
}

size_t strcspn(const char *text, const char *ends)
{
	size_t size = 0;

	while (text[size] && !strchr(ends, text[size]))
		size++;
	return size;
}

char *strcpy(char *restrict to, const char *restrict from)
{
	return memcpy(to, from, strlen(from) + 1);
}

char *strcat(char *restrict to, const char *restrict from)
{
	strcpy(to + strlen(to), from);
	return to;
}
