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
	write_file(root, "cgroup.subtree_control", "+memory");
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

bool cgroup_limit(uint32_t processes, uint64_t memory)
{
	char text[DIGITS + 1];

	if (current < 0)
		return true;
	return (!processes || write_file(current, "pids.max", decimal(text, processes))) &&
	       (!memory || write_file(current, "memory.max", decimal(text, memory)));
}

bool cgroup_kill(void)
{
	return current >= 0 && write_file(current, "cgroup.kill", "1");
}

void cgroup_renew(void)
{
	if (current < 0)
		return;
	close(current);
	sweep();
	if (!remove_numbered(number) && left_count < LEFT_MAX)
		left[left_count++] = number;
	make();
}
