/* A name in a folder, as getdents64(2) gives it; opendir would allocate. */
#ifndef ENTRY_H
#define ENTRY_H

#include <stdint.h>

struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length; /* of all of this */
	uint8_t type;
	char name[];
};

#endif
