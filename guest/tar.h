/* A tar of POSIX's pax form, written to standard output. */
#ifndef TAR_H
#define TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* A member's type, as the header has it. */
enum {
	TAR_FILE = '0',
	TAR_LINK = '1',
	TAR_SYMLINK = '2',
	TAR_CHARACTER = '3',
	TAR_BLOCK = '4',
	TAR_FOLDER = '5',
	TAR_FIFO = '6',
};

/* Adds a record to the next member: what the header has no place for. False: there is no room. */
bool tar_record(const char *key, const void *value, size_t size);

/* Writes a member's header. `size` bytes of data are to follow; `target` is what a link leads to, or
 * NULL. False: no room for the records that it takes. */
bool tar_member(const char *path, char type, const struct stat *status, uint64_t size,
		const char *target);

/* Writes data of a member, and behind all of it what fills the last block. */
void tar_data(const void *data, size_t size);
void tar_pad(uint64_t size);

void tar_end(void);

#endif
