#define _GNU_SOURCE /* makes the headers declare pipe2 and prlimit */
#include "spawn.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "drain.h"
#include "priority.h"

/* Until a child process has executed its program, the daemon checks the child's CPU time every
 * CHECK_INTERVAL_MS, at most MAX_CHECKS times. From the second check on, the daemon kills a child
 * that has used less than LEAST_NS since the last check: another process of the same user has
 * stopped it, or root has frozen it. A child on a slow host computes all the time, so it is killed
 * only after the last check. */
enum { CHECK_INTERVAL_MS = 2500, MAX_CHECKS = 24, LEAST_NS = 250000000 };

/* Definitions of linux/sched.h, which musl lacks; see clone(2). */
#define CLONE_INTO_CGROUP_FLAG 0x200000000ULL

struct clone_arguments {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
		set_tid_size, cgroup;
};

/* Memory that is shared with the child process, which writes the reason of a failure into it. The
 * daemon reads it after the child has executed its program or exited. */
static struct spawn_failure *failure;
static struct missing {
	uint32_t size;
	uint8_t path[SANDBOXD_EXEC_FAILED_MISSING_MAX];
} *missing;

static int null;	    /* descriptor of /dev/null, for commands without input */
static struct rlimit files; /* limit of descriptors for commands: the initial limit of the daemon */

/* Raises the daemon's limit of open file descriptors, because the daemon keeps the pipes of
 * background processes open. */
static void raise_limit(void)
{
	prlimit(0, RLIMIT_NOFILE, NULL, &files);
	const struct rlimit more = {
		.rlim_cur = DRAIN_FILES,
		.rlim_max = files.rlim_max > DRAIN_FILES ? files.rlim_max : DRAIN_FILES,
	};
	prlimit(0, RLIMIT_NOFILE, &more, NULL);
}

bool spawn_init(void)
{
	raise_limit();
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct shared {
		struct spawn_failure failure;
		struct missing missing;
	} *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		       0);

	if (page == MAP_FAILED)
		return false;
	failure = &page->failure;
	missing = &page->missing;
	return true;
}

static _Noreturn void fail(enum sandboxd_stage stage, int error)
{
	failure->stage = stage;
	failure->error = error;
	_exit(127);
}

static struct spawn_failure execute(const char *file, const struct environment *environment)
{
	execve(file, environment->argv, environment->envp);
	return (struct spawn_failure){ SANDBOXD_STAGE_EXEC, errno };
}

/* Returns the length of the path of a script's interpreter, which is the word behind `#!`, and sets
 * `start` to the offset of the path. */
static size_t find_word(const char *text, size_t size, size_t *start)
{
	size_t end;

	*start = 2;
	while (*start < size && (text[*start] == ' ' || text[*start] == '\t'))
		++*start;
	for (end = *start; end < size && !strchr(" \t\n", text[end]); end++)
		;
	return end - *start;
}

/* Returns the length of the path of an ELF program's interpreter, or 0 if it has none, and sets
 * `start` to the offset of the path in the file. */
static size_t find_segment(const uint8_t *data, size_t size, size_t *start)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (size < sizeof header || memcmp(data, ELFMAG, SELFMAG) != 0 ||
	    data[EI_CLASS] != ELFCLASS64)
		return 0;
	memcpy(&header, data, sizeof header);
	for (size_t i = 0; i < header.e_phnum; i++) {
		size_t at = i * sizeof segment;

		if (header.e_phoff > size || size - header.e_phoff < at + sizeof segment)
			return 0;
		memcpy(&segment, data + header.e_phoff + at, sizeof segment);
		if (segment.p_type == PT_INTERP && segment.p_filesz > 0) {
			*start = segment.p_offset;
			return segment.p_filesz - 1; /* the path ends with a NUL */
		}
	}
	return 0;
}

/* Records the path of the interpreter that a script or an ELF program needs, so that
 * `spawn_missing` can return it. */
static void note_interpreter(const char *file)
{
	uint8_t data[1024];
	int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, data, sizeof data);
	size_t start = 0, size = n > 0 ? (size_t)n : 0;
	bool is_script = size > 2 && data[0] == '#' && data[1] == '!';
	size_t length = is_script ? find_word((const char *)data, size, &start) :
				    find_segment(data, size, &start);

	if (length > sizeof missing->path)
		length = sizeof missing->path;
	n = length ? pread(fd, missing->path, length, (off_t)start) : 0;
	missing->size = n > 0 ? (uint32_t)n : 0;
	close(fd);
}

/* Executes a file. On failure, also finds out whether the file exists, because execve fails with
 * ENOENT both for a missing file and for a file whose interpreter is missing. */
static struct spawn_failure explain(const char *file, const struct environment *environment)
{
	struct spawn_failure failed = execute(file, environment);

	if (failed.error == ENOENT && access(file, F_OK) == 0) {
		failed.stage = SANDBOXD_STAGE_INTERPRETER;
		note_interpreter(file);
	}
	return failed;
}

/* Writes "folder/command" to `out`. An empty folder means the working directory, as for execvp.
 * Returns false if the path is too long. */
static bool join(char out[static PATH_MAX], const char *folder, size_t length, const char *command)
{
	size_t size = strlen(command) + 1;
	size_t at = length;

	if (length + 1 + size > PATH_MAX)
		return false;
	memcpy(out, folder, length);
	if (length > 0)
		out[at++] = '/';
	memcpy(out + at, command, size);
	return true;
}

/* Looks for the command in each folder of PATH, as execvp does, and calls `try`, which executes the
 * file and returns only on failure. If a file was found but could not be executed, returns the
 * failure of this file instead of "not found". Any error other than EACCES, ENOENT and ENOTDIR ends
 * the search. */
static struct spawn_failure look_up(const struct environment *environment,
				    struct spawn_failure (*try)(const char *file,
								const struct environment *))
{
	static char file[PATH_MAX];
	struct spawn_failure worst = { SANDBOXD_STAGE_LOOKUP, ENOENT };

	for (const char *folder = environment->path;; folder++) {
		size_t length = strcspn(folder, ":");

		if (join(file, folder, length, environment->command)) {
			struct spawn_failure failed = try(file, environment);

			if (failed.error == EACCES || failed.stage == SANDBOXD_STAGE_INTERPRETER)
				worst = failed;
			else if (failed.error != ENOENT && failed.error != ENOTDIR)
				return failed;
		}
		folder += length;
		if (!*folder)
			return worst;
	}
}

static void take_streams(const struct spawn *what)
{
	/* A command without input reads from /dev/null. If the guest lacks /dev/null, the command's
	 * standard input is closed. */
	if (what->streams[0] < 0 && dup2(null, STDIN_FILENO) < 0)
		close(STDIN_FILENO);
	for (int fd = 0; fd < 3; fd++)
		if (what->streams[fd] >= 0 && dup2(what->streams[fd], fd) < 0)
			fail(SANDBOXD_STAGE_SETUP, errno);
	if (what->terminal && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		fail(SANDBOXD_STAGE_SETUP, errno);
}

/* Changes to the user of the command. Makes this user the owner of the command's pipes, because the
 * command could not open /dev/stdout otherwise. */
static void become(const struct spawn *what, struct environment *environment, struct user *user)
{
	*user = (struct user){ .home = "/root" };
	if (!*environment->user)
		return;
	if (!user_find(environment->user, user))
		fail(SANDBOXD_STAGE_USER, ENOENT);
	user_settle(user);
	for (int fd = 0; fd < 3; fd++)
		if (what->streams[fd] >= 0)
			(void)!fchown(fd, user->uid, user->gid);
	if (!user_become(user))
		fail(SANDBOXD_STAGE_USER, errno);
	environment_become(environment, user);
}

static _Noreturn void child(const struct spawn *what)
{
	static struct user user;
	struct environment environment = what->environment;
	sigset_t none;

	setsid();
	take_streams(what);
	prlimit(0, RLIMIT_NOFILE, &files, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	become(what, &environment, &user);
	if (!user_enter(&user, environment.cwd))
		fail(SANDBOXD_STAGE_CHDIR, errno);
	if (!*environment.command)
		fail(SANDBOXD_STAGE_LOOKUP, ENOENT);
	struct spawn_failure failed;

	if (strchr(environment.command, '/')) {
		failed = explain(environment.command, &environment);
	} else {
		/* Search with the fast function `execute` first. It returns only if no command was
		 * executed. Then search again with `explain`, which is slower, but finds out the
		 * reason. */
		look_up(&environment, execute);
		failed = look_up(&environment, explain);
	}
	fail(failed.stage, failed.error);
}

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
enum { CLONE_VM_FLAG = 0x100 };

/* Clones a child that shares the daemon's memory, because copying the page tables takes time.
 * Unlike after vfork, the child has its own stack, so the daemon can wait for it with a
 * deadline. */
static pid_t clone_into(struct clone_arguments *arguments, const struct spawn *what)
{
	static _Alignas(16) uint8_t stack[65536];
	long result;

	arguments->flags |= CLONE_VM_FLAG;
	arguments->stack = (uint64_t)(uintptr_t)stack;
	arguments->stack_size = sizeof stack;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "mov %[what], %%rdi\n\t"
			 "mov %[child], %%rsi\n\t"
			 "xor %%ebp, %%ebp\n\t" /* last, as ebp may hold `what` or `child` */
			 "call *%%rsi\n"
			 "1:"
			 : "=a"(result)
			 : "0"(SYS_clone3), "D"(arguments),
			   "S"(sizeof *arguments), [what] "r"(what), [child] "r"(child)
			 : "rcx", "r11", "memory");
	if (result < 0)
		errno = (int)-result;
	return result < 0 ? -1 : (pid_t)result;
}
#else
/* Clones a child with a copy of the daemon's memory. This variant is used on processors other than
 * x86-64, and with AddressSanitizer. */
static pid_t clone_into(struct clone_arguments *arguments, const struct spawn *what)
{
	pid_t pid = (pid_t)syscall(SYS_clone3, arguments, sizeof *arguments);

	if (pid == 0)
		child(what);
	return pid;
}
#endif

static pid_t clone_child(const struct spawn *what)
{
	struct clone_arguments arguments = { .exit_signal = SIGCHLD };

	if (what->cgroup >= 0) {
		arguments.flags |= CLONE_INTO_CGROUP_FLAG;
		arguments.cgroup = (uint64_t)what->cgroup;
	}
	return clone_into(&arguments, what);
}

/* Kills a child that has taken too long to execute its program. Waits for its exit, because it uses
 * the daemon's memory until then. This wait is short, because a process cannot block SIGKILL. */
static void give_up(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	*failure = (struct spawn_failure){ SANDBOXD_STAGE_SETUP, ETIMEDOUT };
}

/* Returns the CPU time that the process `pid` has used, in nanoseconds. */
static int64_t cpu_time(pid_t pid)
{
	/* The id of the clock that measures the CPU time of this process. The kernel calls this
	 * kind of clock CPUCLOCK_SCHED, in its header posix-timers.h. */
	clockid_t id = (clockid_t)(~(uint32_t)pid << 3 | 2);
	struct timespec used = { 0 };

	clock_gettime(id, &used);
	return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

/* Waits until `end` is at end of file, and returns true. Returns false if the child has used too
 * little CPU time between two checks, or after the last check. */
static bool wait_running(pid_t pid, struct pollfd *end)
{
	int64_t before = 0;

	for (int check = 0; check < MAX_CHECKS; check++) {
		if (poll(end, 1, CHECK_INTERVAL_MS) > 0)
			return true;
		int64_t used = cpu_time(pid);

		if (check && used - before < LEAST_NS)
			return false;
		before = used;
	}
	return false;
}

/* Waits until the child has executed its program, or has exited. In both cases, the kernel closes
 * the child's copy of the write end of a pipe, so the daemon waits for end of file at `end`, the
 * read end. In a machine, the child has a real-time priority during this time. Otherwise busy
 * processes would delay the child, and so the daemon. */
static void await_program(const struct spawn *what, pid_t pid, int end)
{
	struct pollfd read_end = { .fd = end };
	bool is_machine = what->cgroup >= 0;

	if (is_machine)
		priority_set(pid, PRIORITY_STARTING);
	if (!wait_running(pid, &read_end))
		give_up(pid);
	else if (is_machine)
		priority_set(pid, PRIORITY_NONE);
}

struct spawn_failure spawn(const struct spawn *what, pid_t *pid)
{
	int ends[2];

	*failure = (struct spawn_failure){ 0 };
	missing->size = 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return (struct spawn_failure){ SANDBOXD_STAGE_PIPE, errno };
	*pid = clone_child(what);
	if (*pid < 0)
		*failure = (struct spawn_failure){ SANDBOXD_STAGE_FORK, errno };
	close(ends[1]);
	if (*pid >= 0)
		await_program(what, *pid, ends[0]);
	close(ends[0]);
	return *failure;
}

struct sandboxd_slice spawn_missing(void)
{
	bool counts = failure->stage == SANDBOXD_STAGE_INTERPRETER;

	return (struct sandboxd_slice){ missing->path, counts ? missing->size : 0 };
}
