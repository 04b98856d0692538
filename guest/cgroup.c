#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"

/* Those of commands that have left processes behind; beyond these, empty ones stay until the end. */
enum { LEFT_MAX = 64, DIGITS = 20 };

static int root = -1;
static int current = -1;
static uint64_t number; /* of the current one, which is its name */
static uint64_t left[LEFT_MAX];
static unsigned left_count;
static bool counts_memory;
static uint64_t max_processes, max_memory; /* of the current one; 0 is no limit */

/* Writes the number in decimal at the end of `text`, and returns where it starts. */
static const char *decimal(char text[static DIGITS + 1], uint64_t value)
{
	char *at = text + DIGITS;

	*at = 0;
	do
		*--at = (char)('0' + value % 10);
	while (value /= 10);
	return at;
}

static bool write_file(int folder, const char *name, const char *text)
{
	int fd = openat(folder, name, O_WRONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return size >= 0;
}

static void make(void)
{
	char text[DIGITS + 1];
	const char *name = decimal(text, ++number);

	current = -1;
	max_processes = 0;
	max_memory = 0;
	if (mkdirat(root, name, 0755) == 0)
		current = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool remove_numbered(uint64_t which)
{
	char text[DIGITS + 1];

	return unlinkat(root, decimal(text, which), AT_REMOVEDIR) == 0 || errno != EBUSY;
}

/* Removes those whose last process has ended meanwhile. */
static void sweep(void)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < left_count; i++)
		if (!remove_numbered(left[i]))
			left[kept++] = left[i];
	left_count = kept;
}

void cgroup_init(void)
{
	root = open(ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return;
	write_file(root, "cgroup.subtree_control", "+pids");
	make();
	/* cgroup.kill is there since Linux 5.14; in an empty cgroup it kills nobody. */
	if (current >= 0 && !write_file(current, "cgroup.kill", "1")) {
		close(current);
		current = -1;
	}
}

int cgroup_fd(void)
{
	return current;
}

/* Writes a limit, where it is another than the last one. */
static bool limit(const char *name, uint64_t value, uint64_t *last)
{
	char text[DIGITS + 1];

	if (value == *last)
		return true;
	*last = value;
	return write_file(current, name, value ? decimal(text, value) : "max");
}

bool cgroup_limit(uint32_t processes, uint64_t memory)
{
	/* Only for those who ask: counting memory makes every allocation slower. */
	if (current >= 0 && memory && !counts_memory)
		counts_memory = write_file(root, "cgroup.subtree_control", "+memory");
	return current < 0 || (limit("pids.max", processes, &max_processes) &&
			       limit("memory.max", memory, &max_memory));
}

void cgroup_kill(void)
{
	if (current >= 0)
		write_file(current, "cgroup.kill", "1");
}

/* How much of the current one's list of processes one byte shows: 1, or 0 when it is empty; -1 when
 * the cgroup is not there any more. */
static ssize_t peek(void)
{
	char byte;
	int fd = openat(current, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, &byte, 1);

	if (fd >= 0)
		close(fd);
	return size;
}

bool cgroup_is_gone(void)
{
	return current >= 0 && peek() < 0;
}

void cgroup_renew(void)
{
	if (current < 0 || peek() == 0)
		return;
	close(current);
	sweep();
	if (left_count < LEFT_MAX)
		left[left_count++] = number;
	make();
}
