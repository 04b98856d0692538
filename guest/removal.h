/* The removal of a tree of files. */
#ifndef REMOVAL_H
#define REMOVAL_H

/* Removes a folder and what is in it, as far as that can be done; no link is followed. */
void remove_tree(int parent, const char *name);

#endif
