/* Reads the entries of folders with getdents64(2). The guest's programs do not use opendir(3),
 * because it allocates memory. */
#ifndef ENTRY_H
#define ENTRY_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* An entry of a folder, as getdents64 returns it. */
struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length; /* size of the entry in bytes, including its name */
	uint8_t type;
	char name[];
};

/* An open folder, and its entries that were read but not returned yet. */
struct folder {
	int fd;
	size_t at, end;
	_Alignas(struct entry) char entries[2048];
};

/* Returns the name of the next entry of a folder, except `.` and `..`. If there are no more, or the
 * folder was removed, returns NULL with the errno ENOENT. On failure, returns NULL with errno. */
static inline const char *folder_next(struct folder *folder)
{
	const struct entry *entry;

	do {
		if (folder->at == folder->end) {
			long size = syscall(SYS_getdents64, folder->fd, folder->entries,
					    sizeof folder->entries);

			if (size == 0)
				errno = ENOENT;
			if (size <= 0)
				return NULL;
			folder->at = 0;
			folder->end = (size_t)size;
		}
		entry = (const struct entry *)(const void *)(folder->entries + folder->at);
		folder->at += entry->length;
	} while (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0);
	return entry->name;
}

#endif
