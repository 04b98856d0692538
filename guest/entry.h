/* A directory entry, as getdents64(2) returns it. The guest's programs do not use opendir(3),
 * because it allocates memory. */
#ifndef ENTRY_H
#define ENTRY_H

#include <stdint.h>

struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length; /* size of the entry in bytes, including its name */
	uint8_t type;
	char name[];
};

#endif
