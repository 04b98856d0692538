/* Finds absolute paths without symbolic links. */
#ifndef REAL_PATH_H
#define REAL_PATH_H

/* Returns the path by which the kernel knows an open file. The text is valid until the next call.
 * Returns NULL with errno if the file has no path, such as a pipe. */
const char *real_path(int fd);

/* Returns the absolute path of a file, without symbolic links, `.` and `..`. A component that is
 * missing stays as it is, also in the target of a link. The text is valid until the next call.
 * Returns NULL with errno if there are too many links, or the path is too long. */
const char *resolve_path(const char *path);

#endif
