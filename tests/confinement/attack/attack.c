/* A program that runs in the place of QEMU, makes the attempts of an attacker, and reports the
 * result of each.
 *
 *     attack …        make all attempts, and then wait
 *     attack list     print the table of attempts: title, name, danger, benefit for an attacker
 *     attack victim   run as a victim of the attempts: a process of the same user
 *
 * The launcher gives this program only the arguments and files of QEMU. So the test writes the facts
 * about the victims into the program file itself, over the text `@notes@`. If possible, the program
 * makes each attempt in a child process, so that no attempt affects a later one. */
#define _GNU_SOURCE
#include "attack.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The facts about the victims, in lines of KEY=VALUE. The array is volatile, because the test
 * changes the text in the compiled program, so the compiler must not treat it as a constant. */
static volatile char notes[4096] = "@notes@";

static const struct attempts *const groups[] = { &files,  &descriptors, &processes,
						 &itself, &sockets,	&kernel };
static const char *const dangers[] = { "open", "shut" };

char secret[32];

const char *told(const char *key)
{
	static char values[8][256];
	static unsigned next;
	char *value = values[next++ % 8];
	size_t length = strlen(key), at = 0, end = 0;

	while (notes[at] != '\0') {
		size_t same = 0, written = 0;
		while (same < length && notes[at + same] == key[same])
			same++;
		end = at;
		while (notes[end] != '\n' && notes[end] != '\0')
			end++;
		if (same == length && notes[at + same] == '=') {
			for (at += same + 1; at < end && written < 255; at++)
				value[written++] = notes[at];
			value[written] = '\0';
			return value;
		}
		at = notes[end] == '\n' ? end + 1 : end;
	}
	return "";
}

long told_number(const char *key)
{
	return strtol(told(key), NULL, 0);
}

const char *below(const char *name)
{
	static char paths[4][512];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof paths[0], "%s/%s", told("folder"), name);
	return path;
}

long fail(int error)
{
	errno = error;
	return -1;
}

long closing(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return fd;
}

static bool is(enum kind kind, int fd)
{
	struct stat status;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &status) != 0)
		return false;
	switch (kind) {
	case READ_ONLY_FILE:
		return S_ISREG(status.st_mode) && (flags & O_ACCMODE) == O_RDONLY;
	case WRITABLE_FILE:
		return S_ISREG(status.st_mode) && (flags & O_ACCMODE) != O_RDONLY;
	case SOCKET:
		return S_ISSOCK(status.st_mode);
	case FOLDER:
		return S_ISDIR(status.st_mode);
	}
	return false;
}

long each(enum kind kind, long (*try)(int fd))
{
	int error = 0;

	for (int fd = 0; fd < 100; fd++) {
		if (!is(kind, fd))
			continue;
		if (try(fd) >= 0)
			return fd;
		error = errno;
	}
	return fail(error);
}

long victims(long (*try)(int pid))
{
	static const char *const keys[] = { "controller", "sibling" };
	int error = 0;

	for (size_t i = 0; i < 2; i++) {
		int pid = (int)told_number(keys[i]);
		if (pid == 0)
			continue;
		if (try(pid) >= 0)
			return pid;
		error = errno;
	}
	return fail(error);
}

static long tried(const struct attempt *attempt)
{
	const long *call = attempt->call;

	errno = 0;
	if (attempt->function != NULL)
		return attempt->function();
	return syscall(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
}

/* Make an attempt, and return 0 if it succeeds, the errno if it fails, or -1 if it has no target on
 * this host. */
static int outcome(const struct attempt *attempt)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		long result = tried(attempt);
		_exit(result != -1 ? 0 : errno != 0 ? errno : 255);
	}
	if (child > 0) {
		if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
			return ENOSYS; /* a signal has killed the child process */
		return WEXITSTATUS(status) == 255 ? -1 : WEXITSTATUS(status);
	}
	if (tried(attempt) != -1)
		return 0;
	return errno != 0 ? errno : -1;
}

static const char *word(int result)
{
	return result == 0 ? "SUCCEEDED" : result == -1 ? "nothing" : strerrorname_np(result);
}

/* Make all attempts from a number on. Write the name of each before the attempt, so that the output
 * shows which attempt killed the process. */
static void try_all(long from)
{
	long number = 0;

	for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
		for (size_t i = 0; i < groups[g]->count; i++) {
			if (number++ < from)
				continue;
			dprintf(2, "%s\t", groups[g]->rows[i].name);
			dprintf(2, "%s\n", word(outcome(&groups[g]->rows[i])));
		}
	}
	dprintf(2, "done\n");
}

/* Return whether the program has capabilities. It then refuses to run, because root could do harm
 * to the host, and a program with capabilities is not confined anyway. */
static bool has_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct sets[2];

	return syscall(SYS_capget, &header, sets) != 0 ||
	       sets[0].effective | sets[1].effective | sets[0].permitted | sets[1].permitted;
}

static int list(void)
{
	for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
		for (size_t i = 0; i < groups[g]->count; i++) {
			const struct attempt *row = &groups[g]->rows[i];
			printf("%s\t%s\t%s\t%s\n", groups[g]->title, row->name,
			       dangers[row->danger], row->gives);
		}
	}
	return 0;
}

int main(int count, char **arguments)
{
	if (count > 1 && strcmp(arguments[1], "list") == 0)
		return list();
	if (count > 1 && strcmp(arguments[1], "victim") == 0)
		return victim();
	memcpy(secret, "attacker", 9);
	if (has_capabilities()) {
		dprintf(2, "capabilities\tSUCCEEDED\ndone\n");
		return 1;
	}
	if (told_number("idle") == 0)
		try_all(told_number("from"));
	else
		dprintf(2, "done\n");
	for (;;)
		poll(NULL, 0, -1);
}
