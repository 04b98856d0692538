/* Removes a folder with all files and folders in it. */
#ifndef REMOVAL_H
#define REMOVAL_H

/* Removes a folder and as many of its files and folders as possible. It follows no symbolic
 * links. */
void remove_tree(int parent, const char *name);

#endif
