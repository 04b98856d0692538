/* The frames that `carry` reads from standard input, and writes to standard output. */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "files.h"

/* The path that an error message names. A path that is too long is truncated. */
struct trail {
	size_t size;
	char path[FILES_FAILURE_PATH_MAX + 1];
};

/* Appends `name` to the first `folder` bytes of the path, which are the path of a folder. */
void trail_set(struct trail *trail, size_t folder, const char *name);

/* Copies a string out of a frame and terminates it. `to` must hold the longest string of the
 * field. */
void copy_text(char *to, const struct files_slice *from);

/* Reads the next frame. `body` is valid until the next call. Returns false at the end of the
 * stream, or if the frame is malformed. For a data frame it sets only the size; `receive_data`
 * reads the bytes. */
bool receive(enum files_type *type, union files_body *body);

/* Moves the bytes of a data frame from standard input to a file. */
enum received { RECEIVED, NO_MORE, NOT_WRITTEN };
enum received receive_data(int fd, size_t size);

/* Up to CHUNK bytes of a file are read into `data_room()`, from where `send_data` sends them. */
enum { CHUNK = (1 << 16) - FILES_HEADER_SIZE };
void *data_room(void);
void send_data(size_t size);

/* Each of these functions exits the program if it cannot write to standard output. */
void send_entry(const struct stat *status, const char *name, const char *target);
void send_whole(void);
_Noreturn void end_done(void);
_Noreturn void end_failed(enum files_subject subject, int error, const char *path);

#endif
