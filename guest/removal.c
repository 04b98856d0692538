#include "removal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "entry.h"

enum { ENTRIES_SIZE = 1024 };

static bool is_self_or_parent(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Removes as many entries of a folder as one system call lists. Returns false if the call lists
 * none. */
static bool remove_some(int folder)
{
	_Alignas(struct entry) char entries[ENTRIES_SIZE];
	long size = syscall(SYS_getdents64, folder, entries, sizeof entries);

	for (long at = 0; at < size;) {
		const struct entry *entry = (const struct entry *)(const void *)(entries + at);

		at += entry->length;
		if (!is_self_or_parent(entry->name) && unlinkat(folder, entry->name, 0) < 0 &&
		    errno == EISDIR)
			remove_tree(folder, entry->name);
	}
	return size > 0;
}

void remove_tree(int parent, const char *name)
{
	int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (folder >= 0) {
		while (remove_some(folder))
			;
		close(folder);
	}
	unlinkat(parent, name, AT_REMOVEDIR);
}
