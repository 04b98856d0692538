/* Removes a folder with all files and folders in it. */
#ifndef REMOVAL_H
#define REMOVAL_H

/* Removes the folder `name` in the folder `parent`, with as many of its files and folders as
 * possible. Follows no symbolic links. */
void remove_tree(int parent, const char *name);

#endif
