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

static int root; /* descriptor of ROOT; 0 or -1 if the guest cannot use cgroups */
static struct cgroup cgroups[SANDBOXD_MAX_COMMANDS];
static uint64_t highest; /* number of the newest cgroup */
static uint64_t left[LEFT_MAX];
static unsigned left_count;
static bool freezes; /* true while the background processes are frozen */

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
	if (*fd > 0)
		close(*fd);
	*fd = 0;
}

/* Opens a file of a cgroup, such as pids.max. */
static int open_file(const struct cgroup *cgroup, const char *name, int flags)
{
	return openat(cgroup->folder, name, flags | O_NONBLOCK | O_CLOEXEC);
}

static void make(struct cgroup *cgroup)
{
	char text[DIGITS + 1];
	const char *name = decimal(text, ++highest);

	cgroup->number = highest;
	close_file(&cgroup->folder);
	close_file(&cgroup->pids_max);
	close_file(&cgroup->peak);
	close_file(&cgroup->events);
	/* Enable the controllers again for every new cgroup, because a command that ran as root may
	 * have disabled them. */
	write_file(root, "cgroup.subtree_control", "+pids");
	write_file(root, "cgroup.subtree_control", "+memory");
	if (mkdirat(root, name, 0755) < 0)
		return;
	cgroup->folder = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup->folder < 0)
		return;
	cgroup->pids_max = open_file(cgroup, "pids.max", O_WRONLY);
	cgroup->peak = open_file(cgroup, "memory.peak", O_RDWR);
	cgroup->events = open_file(cgroup, "cgroup.events", O_RDONLY);
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
	struct cgroup *first = cgroups;

	root = open(ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root > 0)
		make(first);
	if (first->folder <= 0)
		return ROOT;
	/* Check that the kernel supports cgroup.kill (since Linux 5.14) by writing to it. The new
	 * cgroup is empty, so this kills no process. */
	if (write_file(first->folder, "cgroup.kill", "1"))
		return first->pids_max < 0 ? "pids.max" : NULL;
	close_file(&first->folder);
	close_file(&root);
	return "cgroup.kill";
}

struct cgroup *cgroup_of(uint32_t slot)
{
	return &cgroups[slot];
}

int cgroup_fd(const struct cgroup *cgroup)
{
	return cgroup->folder > 0 ? cgroup->folder : -1;
}

static bool limit_processes(const struct cgroup *cgroup, uint32_t processes)
{
	char text[DIGITS + 1];
	const char *value = processes ? decimal(text, processes) : "max";

	return cgroup->pids_max <= 0 || pwrite(cgroup->pids_max, value, strlen(value), 0) > 0;
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

/* Returns whether the kernel has killed a process of a cgroup because the cgroup exceeded its memory
 * limit. */
static bool had_oom_kill(const struct cgroup *cgroup)
{
	return tells(cgroup->folder, "memory.events", "\noom_kill ");
}

static bool limit_memory(struct cgroup *cgroup, uint64_t memory)
{
	char text[DIGITS + 1];
	bool limited = cgroup->limits_memory;

	cgroup->limits_memory = false;
	if (!memory && !limited)
		return true;
	/* If the command exceeds its memory limit, let the kernel kill all processes of the command
	 * together, because a command that has lost only one of its processes is of no use. */
	write_file(cgroup->folder, "memory.oom.group", "1");
	if (!write_file(cgroup->folder, "memory.max", memory ? decimal(text, memory) : "max"))
		return false;
	cgroup->limits_memory = memory > 0;
	return true;
}

bool cgroup_out_of_memory(const struct cgroup *cgroup)
{
	return cgroup->folder > 0 && cgroup->limits_memory && had_oom_kill(cgroup);
}

bool cgroup_limit(struct cgroup *cgroup, uint32_t processes, uint64_t memory)
{
	if (root > 0 && cgroup->number == 0)
		make(cgroup);
	if (cgroup->folder <= 0)
		return true;
	/* If the kernel has already killed a process in this cgroup because of a memory limit, use
	 * a new cgroup. Otherwise that kill would be reported as a kill of the next command. */
	if (memory && had_oom_kill(cgroup))
		cgroup_replace(cgroup);
	return limit_processes(cgroup, processes) && limit_memory(cgroup, memory);
}

uint64_t cgroup_memory(const struct cgroup *cgroup)
{
	char text[DIGITS];
	ssize_t size = cgroup->peak > 0 ? pread(cgroup->peak, text, sizeof text, 0) : 0;

	return size > 0 ? decimal_value(text, (size_t)size) : 0;
}

void cgroup_kill(const struct cgroup *cgroup)
{
	if (cgroup->folder > 0)
		write_file(cgroup->folder, "cgroup.kill", "1");
}

/* Returns true if a cgroup is not frozen, and if neither it nor a cgroup below it contains a
 * process. */
static bool is_idle(const struct cgroup *cgroup)
{
	static const char idle[] = "populated 0\nfrozen 0\n";
	char text[sizeof idle];

	return pread(cgroup->events, text, sizeof text, 0) == sizeof idle - 1 &&
	       memcmp(text, idle, sizeof idle - 1) == 0;
}

/* Resets the recorded peak of a cgroup's memory use to the memory that the cgroup uses now. Returns
 * true if the cgroup uses too much memory to be used for the next command, or if the reset fails. */
static bool keeps_memory(const struct cgroup *cgroup)
{
	return cgroup->peak > 0 &&
	       (write(cgroup->peak, "0", 1) < 0 || cgroup_memory(cgroup) > LEFT_MEMORY);
}

void cgroup_renew(struct cgroup *cgroup)
{
	if (cgroup->folder > 0 && (!is_idle(cgroup) || keeps_memory(cgroup)))
		cgroup_replace(cgroup);
}

bool cgroup_replace(struct cgroup *cgroup)
{
	if (cgroup->folder <= 0)
		return false;
	sweep();
	if (left_count < LEFT_MAX)
		left[left_count++] = cgroup->number;
	make(cgroup);
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

/* Returns whether the cgroup with this name belongs to a slot. */
static bool has_slot(const char *name)
{
	char text[DIGITS + 1];
	uint32_t slot = 0;

	while (slot < SANDBOXD_MAX_COMMANDS &&
	       strcmp(name, decimal(text, cgroups[slot].number)) != 0)
		slot++;
	return slot < SANDBOXD_MAX_COMMANDS;
}

/* Calls a function for a cgroup that an earlier command has used, and returns the function's
 * result. If `name` is not the name of such a cgroup, or the cgroup no longer exists, returns true
 * without calling the function. */
static bool visit(const char *name, bool (*what)(int cgroup))
{
	bool is_ours = *name > '0' && *name <= '9' && !has_slot(name);
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
	/* The cgroups of the slots are never frozen, because the next commands start in them. So
	 * before a freeze, replace each of these cgroups that contains processes. Do not replace a
	 * cgroup before a thaw, because the daemon may need it to kill a running command. */
	for (uint32_t slot = 0; freezing && slot < SANDBOXD_MAX_COMMANDS; slot++)
		cgroup_renew(&cgroups[slot]);
	each(freeze);
}

bool cgroup_is_frozen(void)
{
	return each(is_frozen);
}
