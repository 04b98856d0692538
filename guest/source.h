/* Sends files to the host: the status of a file, the entries of a folder, or a whole tree. */
#ifndef SOURCE_H
#define SOURCE_H

#include <stdbool.h>

_Noreturn void source_stat(const char *path, bool follow);
_Noreturn void source_list(const char *path);

/* Sends the content of a file, a device or a FIFO. If `folders` is true, the path may also be that
 * of a folder, whose whole tree is sent, and devices and FIFOs are sent without their content. */
_Noreturn void source_get(const char *path, bool folders);

#endif
