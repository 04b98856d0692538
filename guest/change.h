/* Creates, removes and renames files and folders of the guest for the host. Each of these functions
 * answers one request. */
#ifndef CHANGE_H
#define CHANGE_H

#include <stdbool.h>

#include "target.h"

/* Creates a folder. `parents` is true if missing parent folders are created, too, and `may_exist`
 * is true if the folder may exist already. */
_Noreturn void change_make_folder(const struct target *target, bool parents, bool may_exist);

/* Removes a file or a link. `folders` is true if a folder is removed, too, with everything in it.
 * `may_miss` is true if the file may be missing. */
_Noreturn void change_remove(const char *path, bool folders, bool may_miss);

_Noreturn void change_rename(const char *path, const char *new_path);

#endif
