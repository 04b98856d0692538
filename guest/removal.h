/* Removes a folder with all files and folders in it. */
#ifndef REMOVAL_H
#define REMOVAL_H

/* Removes the folder `name` in the folder `parent`, with everything in it. If a file cannot be
 * removed, it remains with the folders that contain it, and all others are removed. Follows no
 * symbolic links. */
void remove_tree(int parent, const char *name);

#endif
