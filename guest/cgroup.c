#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "decimal.h"
#include "entry.h"

#define ROOT "/sys/fs/cgroup"

/* Maximum number of cgroups with background processes that are removed when they become empty. Any
 * others stay, even if they are empty. */
enum { LEFT_MAX = 64 };

/* Maximum memory, of the kernel and of cached files, that a command may leave in a cgroup which the
 * next command then uses. The kernel counts it in steps of 64 pages for each CPU. */
#define LEFT_MEMORY (1ULL << 20)

static int root = -1;
static int current = -1;
static uint64_t number;	  /* number of the current cgroup, which is its name */
static int pids_max = -1; /* descriptor of pids.max; -1 if the kernel lacks it */
static int peak = -1;	  /* descriptor of memory.peak; -1 if it cannot be reset */
static int events = -1;	  /* descriptor of cgroup.events */
static uint64_t left[LEFT_MAX];
static unsigned left_count;
static bool limits_memory; /* true if the current command has a memory limit */
static bool freezes;	   /* true if background processes are frozen */

static bool write_file(int folder, const char *name, const char *text)
{
	/* O_NONBLOCK, because root may have put a FIFO here, which must not block the daemon. */
	int fd = openat(folder, name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return size >= 0;
}

/* Reads up to `size` bytes of a file. Returns their number, or 0 if the file cannot be read. */
static size_t read_file(int folder, const char *name, char *into, size_t size)
{
	int fd = openat(folder, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, into, size);

	if (fd >= 0)
		close(fd);
	return n > 0 ? (size_t)n : 0;
}

static void close_file(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Opens a file of the current cgroup. */
static int open_file(const char *name, int flags)
{
	return openat(current, name, flags | O_NONBLOCK | O_CLOEXEC);
}

static void make(void)
{
	char text[DIGITS + 1];
	const char *name = decimal(text, ++number);

	close_file(&current);
	close_file(&pids_max);
	close_file(&peak);
	close_file(&events);
	/* Enable the controllers for every new cgroup, because a command that ran as root may have
	 * disabled them. */
	write_file(root, "cgroup.subtree_control", "+pids");
	write_file(root, "cgroup.subtree_control", "+memory");
	if (mkdirat(root, name, 0755) < 0)
		return;
	current = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (current < 0)
		return;
	pids_max = open_file("pids.max", O_WRONLY);
	peak = open_file("memory.peak", O_RDWR);
	events = open_file("cgroup.events", O_RDONLY);
}

static bool remove_numbered(uint64_t which)
{
	char text[DIGITS + 1];

	return unlinkat(root, decimal(text, which), AT_REMOVEDIR) == 0 || errno != EBUSY;
}

/* Removes the cgroups whose last process has exited. */
static void sweep(void)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < left_count; i++)
		if (!remove_numbered(left[i]))
			left[kept++] = left[i];
	left_count = kept;
}

const char *cgroup_init(void)
{
	root = open(ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root >= 0)
		make();
	if (current < 0)
		return ROOT;
	/* Linux has cgroup.kill since 5.14. In an empty cgroup, as here, it kills no process. */
	if (write_file(current, "cgroup.kill", "1"))
		return pids_max < 0 ? "pids.max" : NULL;
	close(current);
	current = -1;
	return "cgroup.kill";
}

int cgroup_fd(void)
{
	return current;
}

static bool limit_processes(uint32_t processes)
{
	char text[DIGITS + 1];
	const char *value = processes ? decimal(text, processes) : "max";

	return pids_max < 0 || pwrite(pids_max, value, strlen(value), 0) > 0;
}

/* Returns whether a file of events has a value other than 0 for a key. `key` begins with the
 * newline in front of the key and ends with a space, so it is never found in the first line. */
static bool tells(int folder, const char *file, const char *key)
{
	char text[CGROUP_EVENTS_SIZE];
	size_t size = read_file(folder, file, text, sizeof text), length = strlen(key), at = 0;

	while (at + length < size && memcmp(text + at, key, length) != 0)
		at++;
	return at + length < size && text[at + length] != '0';
}

/* Returns whether the kernel has killed a process of the current cgroup because of its memory
 * limit. */
static bool had_oom_kill(void)
{
	return tells(current, "memory.events", "\noom_kill ");
}

static bool limit_memory(uint64_t memory)
{
	char text[DIGITS + 1];
	bool limited = limits_memory;

	limits_memory = false;
	if (!memory && !limited)
		return true;
	/* Let the kernel kill all processes of the command together, because a command that has
	 * lost only one of its processes is of no use. */
	write_file(current, "memory.oom.group", "1");
	if (!write_file(current, "memory.max", memory ? decimal(text, memory) : "max"))
		return false;
	limits_memory = memory > 0;
	return true;
}

bool cgroup_out_of_memory(void)
{
	return current >= 0 && limits_memory && had_oom_kill();
}

bool cgroup_limit(uint32_t processes, uint64_t memory)
{
	if (current < 0)
		return true;
	/* An earlier kill in this cgroup would be reported as a kill of this command. */
	if (memory && had_oom_kill())
		cgroup_replace();
	return limit_processes(processes) && limit_memory(memory);
}

uint64_t cgroup_memory(void)
{
	char text[DIGITS];
	ssize_t size = pread(peak, text, sizeof text, 0);

	return size > 0 ? decimal_value(text, (size_t)size) : 0;
}

void cgroup_kill(void)
{
	if (current >= 0)
		write_file(current, "cgroup.kill", "1");
}

/* Returns whether the current cgroup, with those below it, contains no process, and would not
 * freeze a new process. */
static bool is_idle(void)
{
	static const char idle[] = "populated 0\nfrozen 0\n";
	char text[sizeof idle];

	return pread(events, text, sizeof text, 0) == sizeof idle - 1 &&
	       memcmp(text, idle, sizeof idle - 1) == 0;
}

/* Resets the peak to the memory that is in use now. Returns whether that is too much to be counted
 * as memory of the next command. */
static bool keeps_memory(void)
{
	return peak >= 0 && (write(peak, "0", 1) < 0 || cgroup_memory() > LEFT_MEMORY);
}

void cgroup_renew(void)
{
	if (current >= 0 && (!is_idle() || keeps_memory()))
		cgroup_replace();
}

bool cgroup_replace(void)
{
	if (current < 0)
		return false;
	sweep();
	if (left_count < LEFT_MAX)
		left[left_count++] = number;
	make();
	return true;
}

static bool freeze(int cgroup)
{
	return write_file(cgroup, "cgroup.freeze", freezes ? "1" : "0");
}

static bool is_frozen(int cgroup)
{
	return tells(cgroup, "cgroup.events", "\nfrozen ");
}

/* Calls a function for a cgroup that a command has left behind, and returns its result. Returns
 * true if the name is of another folder, or the cgroup is gone. */
static bool visit(const char *name, bool (*what)(int cgroup))
{
	char text[DIGITS + 1];
	bool is_ours = *name > '0' && *name <= '9' && strcmp(name, decimal(text, number)) != 0;
	int folder = is_ours ? openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	bool done = folder < 0 || what(folder);

	if (folder >= 0)
		close(folder);
	return done;
}

/* Calls a function for each cgroup that a command has left behind, which excludes the current one.
 * Returns true if all calls have returned true. */
static bool each(bool (*what)(int cgroup))
{
	static _Alignas(struct entry) char entries[2048];
	bool all = true;
	long size;

	lseek(root, 0, SEEK_SET);
	while ((size = syscall(SYS_getdents64, root, entries, sizeof entries)) > 0)
		for (long at = 0; at < size;) {
			const struct entry *entry =
				(const struct entry *)(const void *)(entries + at);

			all &= visit(entry->name, what);
			at += entry->length;
		}
	return all;
}

void cgroup_freeze(bool freezing)
{
	/* Do not thaw cgroups that root has frozen. */
	if (!freezing && !freezes)
		return;
	freezes = freezing;
	/* Before a freeze, give the next command another cgroup if processes are left in the
	 * current one. On a thaw, a command may be running in the current one, which must stay its
	 * cgroup to kill it. */
	if (freezing)
		cgroup_renew();
	each(freeze);
}

bool cgroup_is_frozen(void)
{
	return each(is_frozen);
}
