/* Reads and writes the frames that `carry`, the guest's program that copies files, exchanges with
 * the host. */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "files.h"

/* The path of the current file, for error messages. A path that is too long for a message is
 * truncated. */
struct trail {
	size_t size;
	char path[FILES_FAILURE_PATH_MAX + 1];
};

/* Changes `trail`, the path of the current file. Keeps the first `folder` bytes of the path, which
 * are the path of the file's folder, and replaces the rest by a slash and `name`. */
void trail_set(struct trail *trail, size_t folder, const char *name);

/* Copies a string out of a frame to `to`, and adds a NUL. `to` must have room for the longest
 * string that the frame's field allows. */
void copy_text(char *to, const struct files_slice *from);

/* Reads the next frame from standard input. `body` is valid until the next call. Returns false at
 * the end of the input, or if the frame is malformed or out of order. If the frame contains the data
 * of a file, only the size of the data is set in `body`, and `receive_data` must read the data. */
bool receive(enum files_type *type, union files_body *body);

/* Returns whether the host's tree is not complete yet. */
bool is_incomplete(void);

/* Moves the data of a frame, which has `size` bytes, from standard input to the file `fd`. Returns
 * NO_MORE if the input ends before the last byte, and NOT_WRITTEN, with errno, if the file cannot
 * be written. */
enum received { RECEIVED, NO_MORE, NOT_WRITTEN };
enum received receive_data(int fd, size_t size);

/* To send the content of a file, read up to CHUNK bytes of it into the memory that `data_room`
 * returns, and call `send_data` with their number. */
enum { CHUNK = (1 << 16) - FILES_HEADER_SIZE };
void *data_room(void);
void send_data(size_t size);

/* Each of the following functions sends one frame. The `end_` functions send the result of the
 * request and exit. All exit with a failure if they cannot write to standard output. */
void send_entry(const struct stat *status, const char *name, const char *target);
void send_whole(void);
_Noreturn void end_done(void);
_Noreturn void end_failed(enum files_subject subject, int error, const char *path);

/* Each of these functions answers one request. source_stat sends the status of a file, source_list
 * the status of each entry of a folder, source_match the status of each file whose path below a
 * folder matches a pattern, source_resolve a path without symbolic links, and source_get
 * the content of a file. If `folders` is true, source_get can also send a folder with its whole
 * tree. It sends devices and FIFOs without their content. */
_Noreturn void source_stat(const char *path, bool follow);
_Noreturn void source_list(const char *path, bool follow);
_Noreturn void source_match(const char *path, const char *pattern);
_Noreturn void source_resolve(const char *path);
_Noreturn void source_get(const char *path, bool folders);

#endif
