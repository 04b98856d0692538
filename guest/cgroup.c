#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decimal.h"
#include "entry.h"

#define ROOT "/sys/fs/cgroup"

/* Maximum number of old cgroups, in which background processes of earlier commands still run, that
 * the daemon remembers in order to remove them later. Any further old cgroups are never removed. */
enum { LEFT_MAX = 64 };

/* Maximum memory in bytes (kernel memory and cached files) that a command may leave in its cgroup
 * if the next command is to use the same cgroup. The limit is not 0, because the kernel counts
 * memory in steps of 64 pages for each CPU, so even an empty cgroup can seem to use memory. */
#define LEFT_MEMORY (1ULL << 20)

static int root = -1;
static int current = -1;
static uint64_t number; /* number of the current cgroup, which is also its name */
/* Descriptors of files in the folder of the current cgroup. */
static int pids_max = -1; /* pids.max of the current cgroup; -1 if the kernel lacks it */
static int peak = -1;	  /* memory.peak of the current cgroup; -1 if it cannot be reset */
static int events = -1;	  /* cgroup.events of the current cgroup */
static uint64_t left[LEFT_MAX];
static unsigned left_count;
static bool limits_memory; /* true if the current command has a memory limit */
static bool freezes;	   /* true if the daemon has frozen the background processes */

static bool write_file(int folder, const char *name, const char *text)
{
	/* Root in the guest may have replaced the cgroup's file by a FIFO, and opening a FIFO would
	 * block the daemon. So open the file with O_NONBLOCK. */
	int fd = openat(folder, name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return size >= 0;
}

/* Reads up to `size` bytes from the start of a file in a cgroup's folder. Returns the number of
 * bytes, or 0 if the file cannot be read. */
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

/* Opens a file of the current cgroup, such as pids.max. */
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
	/* Enable the controllers again for every new cgroup, because a command that ran as root may
	 * have disabled them. */
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

/* Removes each old cgroup whose last process has exited. */
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
	/* Check that the kernel supports cgroup.kill (since Linux 5.14) by writing to it. The new
	 * cgroup is empty, so this kills no process. */
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

/* Returns whether a cgroup file such as cgroup.events has a value other than 0 for a key such as
 * `frozen`. The argument `key` begins with the newline before the key, and ends with the space
 * behind it. So a key in the first line of the file is never found. */
static bool tells(int folder, const char *file, const char *key)
{
	char text[CGROUP_EVENTS_SIZE];
	size_t size = read_file(folder, file, text, sizeof text), length = strlen(key), at = 0;

	while (at + length < size && memcmp(text + at, key, length) != 0)
		at++;
	return at + length < size && text[at + length] != '0';
}

/* Returns whether the kernel has killed a process of the current cgroup because the cgroup exceeded
 * its memory limit. */
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
	/* If the command exceeds its memory limit, let the kernel kill all processes of the command
	 * together, because a command that has lost only one of its processes is of no use. */
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
	/* If the kernel has already killed a process in this cgroup because of a memory limit, use
	 * a new cgroup. Otherwise that kill would be reported as a kill of the next command. */
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

/* Returns whether the current cgroup is not frozen, and neither it nor a cgroup below it contains a
 * process. */
static bool is_idle(void)
{
	static const char idle[] = "populated 0\nfrozen 0\n";
	char text[sizeof idle];

	return pread(events, text, sizeof text, 0) == sizeof idle - 1 &&
	       memcmp(text, idle, sizeof idle - 1) == 0;
}

/* Resets the recorded peak of the current cgroup's memory use to the memory that the cgroup uses
 * now. Returns true if the cgroup uses too much memory to be used for the next command, or if the
 * reset fails. */
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

/* Calls a function for a cgroup that an earlier command has used, and returns the function's
 * result. If `name` is not the name of such a cgroup, or the cgroup no longer exists, returns true
 * without calling the function. */
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

/* Calls a function for each cgroup that an earlier command has used, because background processes
 * of the command may still be in it. Returns true if all calls have returned true. */
static bool each(bool (*what)(int cgroup))
{
	static struct folder folder;
	const char *name;
	bool all = true;

	lseek(root, 0, SEEK_SET);
	folder.fd = root;
	while ((name = folder_next(&folder)))
		all &= visit(name, what);
	return all;
}

void cgroup_freeze(bool freezing)
{
	/* Thaw only cgroups that the daemon has frozen, and not those that root has frozen. */
	if (!freezing && !freezes)
		return;
	freezes = freezing;
	/* The next command starts in the current cgroup, which is therefore never frozen. So before
	 * a freeze, replace the current cgroup if it contains processes. Do not replace it before a
	 * thaw, because the daemon may have to kill a running command through it. */
	if (freezing)
		cgroup_renew();
	each(freeze);
}

bool cgroup_is_frozen(void)
{
	return each(is_frozen);
}
