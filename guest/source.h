/* What the host asks to be sent. */
#ifndef SOURCE_H
#define SOURCE_H

#include <stdbool.h>

_Noreturn void source_stat(const char *path, bool follow);
_Noreturn void source_list(const char *path);

/* Sends the tree of what is no folder, whatever it is; or if folders are wanted, of one or a file. */
_Noreturn void source_get(const char *path, bool folders);

#endif
