#define _GNU_SOURCE /* pipe2, prlimit */
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
#include <unistd.h>

#include "drain.h"

/* How long a child may take to execute: another process of its user can stop it, and root can
 * freeze it. */
enum { EXEC_TIMEOUT_MS = 5000 };

/* linux/sched.h, which musl's headers leave out; see clone(2). */
#define CLONE_INTO_CGROUP_FLAG 0x200000000ULL

struct clone_arguments {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
		set_tid_size, cgroup;
};

/* Shared with the child, which we wait for until it has executed or exited: it writes what failed
 * straight into these. */
static struct spawn_failure *failure;
static struct missing {
	uint32_t size;
	uint8_t path[SANDBOXD_EXEC_FAILED_MISSING_MAX];
} *missing;

static int null;	    /* the input of commands that have none */
static struct rlimit files; /* a command's limit of descriptors: what was ours at first */

/* What commands leave behind takes descriptors of ours. */
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

/* How many of these bytes are the word behind `#!`, which starts at `start`. */
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

/* Where in the file an ELF program names its interpreter, and how long that is; 0 when it does not. */
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
			return segment.p_filesz - 1; /* it ends with a NUL */
		}
	}
	return 0;
}

/* Notes the path of what is to interpret a file. */
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

/* execve says ENOENT both for a missing file and for one whose interpreter is missing. */
static struct spawn_failure explain(const char *file, const struct environment *environment)
{
	struct spawn_failure failed = execute(file, environment);

	if (failed.error == ENOENT && access(file, F_OK) == 0) {
		failed.stage = SANDBOXD_STAGE_INTERPRETER;
		note_interpreter(file);
	}
	return failed;
}

/* Puts "folder/command" into `out`; an empty folder is the working directory, as for execvp. */
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

/* Tries each folder of PATH. What was found and would not run is worth more than "not found", and
 * an error other than these two ends the search, both as execvp does it. */
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

static void enter_folder(const char *cwd, const struct user *user)
{
	if (*cwd ? chdir(cwd) < 0 : !user_enter_home(user))
		fail(SANDBOXD_STAGE_CHDIR, errno);
}

static void take_streams(const struct spawn *what)
{
	/* A guest without /dev/null has no input. */
	if (what->streams[0] < 0 && dup2(null, STDIN_FILENO) < 0)
		close(STDIN_FILENO);
	for (int fd = 0; fd < 3; fd++)
		if (what->streams[fd] >= 0 && dup2(what->streams[fd], fd) < 0)
			fail(SANDBOXD_STAGE_SETUP, errno);
	if (what->terminal && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		fail(SANDBOXD_STAGE_SETUP, errno);
}

/* Also gives it its pipes: else /dev/stdout, which opens them anew, would be forbidden to it. */
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
	/* The system calls themselves: libc's functions tell other threads, of which there are none. */
	if (syscall(SYS_setgroups, user->group_count, user->groups) < 0 ||
	    syscall(SYS_setgid, user->gid) < 0 || syscall(SYS_setuid, user->uid) < 0)
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
	enter_folder(environment.cwd, &user);
	if (!*environment.command)
		fail(SANDBOXD_STAGE_LOOKUP, ENOENT);
	struct spawn_failure failed;

	if (strchr(environment.command, '/')) {
		failed = explain(environment.command, &environment);
	} else {
		/* Most commands are found: why one is not is asked in a second round. */
		look_up(&environment, execute);
		failed = look_up(&environment, explain);
	}
	fail(failed.stage, failed.error);
}

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
enum { CLONE_VM_FLAG = 0x100 };

/* As vfork's, the child shares our memory, which spares copying the page tables; it has a stack of
 * its own, so that we can wait for it with a deadline. */
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
			 "xor %%ebp, %%ebp\n\t"
			 "mov %[what], %%rdi\n\t"
			 "call *%[child]\n"
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
/* Without a way to give the child a stack in our memory, it gets a copy of all of it. */
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

/* Waits until the child has executed or exited: either closes the pipe, whose other end it has. */
static bool await_exec(int fd)
{
	struct pollfd closed = { .fd = fd };

	return poll(&closed, 1, EXEC_TIMEOUT_MS) > 0;
}

/* Nothing holds back a SIGKILL; until it has come to its end, the child uses our memory. */
static void give_up(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	*failure = (struct spawn_failure){ SANDBOXD_STAGE_SETUP, ETIMEDOUT };
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
	if (*pid >= 0 && !await_exec(ends[0]))
		give_up(*pid);
	close(ends[0]);
	return *failure;
}

struct sandboxd_slice spawn_missing(void)
{
	bool counts = failure->stage == SANDBOXD_STAGE_INTERPRETER;

	return (struct sandboxd_slice){ missing->path, counts ? missing->size : 0 };
}
