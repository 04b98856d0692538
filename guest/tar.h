/* Writes a tar archive in the pax format of POSIX to standard output. */
#ifndef TAR_H
#define TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* The types of an archive's members, as a header stores them. */
enum {
	TAR_FILE = '0',
	TAR_LINK = '1',
	TAR_SYMLINK = '2',
	TAR_CHARACTER = '3',
	TAR_BLOCK = '4',
	TAR_FOLDER = '5',
	TAR_FIFO = '6',
};

/* Adds a pax record, which stores a value for which a member's header has no field, to the next
 * member of the archive. Returns false if the buffer of records has no room for the record. */
bool tar_record(const char *key, const void *value, size_t size);

/* Writes the header of a member. The caller must then write `size` bytes of data. `target` is the
 * target of a link, or NULL. Returns false if there is no room for the pax records of the
 * member. */
bool tar_member(const char *path, char type, const struct stat *status, uint64_t size,
		const char *target);

/* To write the data of a member of the archive, call tar_data for each piece of it, and then
 * tar_pad once with the `size` of all pieces. tar_pad fills the last block with zeros, because a
 * tar archive consists of blocks of 512 bytes. */
void tar_data(const void *data, size_t size);
void tar_pad(uint64_t size);

void tar_end(void);

#endif
