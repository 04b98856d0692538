/* The frames that `carry` reads from standard input, and writes to standard output. */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "files.h"

/* A path in messages; one that is too long loses its end. */
struct trail {
	size_t size;
	char path[FILES_FAILURE_PATH_MAX + 1];
};

/* Makes it the path of a name in the folder whose path had this size. */
void trail_set(struct trail *trail, size_t folder, const char *name);

/* Copies a string out of a frame; `to` has room for all that its field can hold. */
void copy_text(char *to, const struct files_slice *from);

/* Reads the next frame, of which `body` is valid up to the next call. False: there is none, or it is
 * malformed. Of data it gives the size alone: the bytes are for `receive_data` to read. */
bool receive(enum files_type *type, union files_body *body);

/* Moves data from the stream to a file. */
enum received { RECEIVED, NO_MORE, NOT_WRITTEN };
enum received receive_data(int fd, size_t size);

/* Where a file's content is read to, and how much of it fits, before it is sent from there. */
enum { CHUNK = (1 << 16) - FILES_HEADER_SIZE };
void *data_room(void);
void send_data(size_t size);

/* Each ends the program when nobody reads any more. */
void send_entry(const struct stat *status, const char *name, const char *target);
void send_whole(void);
_Noreturn void end_done(void);
_Noreturn void end_failed(enum files_subject subject, int error, const char *path);

#endif
