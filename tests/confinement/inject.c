/* Makes a running program issue system calls, as an attacker who controls the program could: with its
 * own threads, credentials, filters and descriptors. Afterwards the program continues unchanged.
 *
 *     inject PID
 *
 * Must be run as a user who may trace the process PID. Each line of standard input is a system call:
 * its number and arguments. An argument that begins with = is a text, which is written below the
 * program's stack. Each line of output is the result of a call, which is -errno for a failure. */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the registers of this architecture are not known"
#endif

enum { THREADS = 256, ROOM = 4096, RED_ZONE = 128 };

static pid_t threads[THREADS];
static int count;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void stop(pid_t thread)
{
	int status;

	if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) != 0)
		fail("PTRACE_SEIZE");
	if (ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) != 0)
		fail("PTRACE_INTERRUPT");
	if (waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status))
		fail("waitpid");
}

/* Stop all threads of the program. Stop the main thread first, so that it starts no other thread
 * meanwhile. */
static void stop_all(pid_t pid)
{
	char path[40];
	DIR *tasks;
	struct dirent *task;

	stop(threads[count++] = pid);
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	tasks = opendir(path);
	if (tasks == NULL)
		fail(path);
	while ((task = readdir(tasks)) != NULL) {
		pid_t thread = atoi(task->d_name);

		if (thread > 0 && thread != pid && count < THREADS)
			stop(threads[count++] = thread);
	}
	closedir(tasks);
}

/* Return the address of the instruction that has made the system call in which the thread sleeps.
 * The instruction pointer of the thread is behind this instruction. */
static unsigned long long instruction(int memory, const struct user_regs_struct *registers)
{
	unsigned char found[2];

	if (pread(memory, found, 2, (off_t)registers->rip - 2) != 2 || found[0] != 0x0f ||
	    found[1] != 0x05)
		fail("the main thread does not sleep in a call");
	return registers->rip - 2;
}

static long long call(pid_t thread, int memory, const struct user_regs_struct *before, char *line)
{
	struct user_regs_struct now = *before;
	unsigned long long words[7] = { 0 }, at = before->rsp - RED_ZONE - ROOM;
	char *word = strtok(line, "\t\n");
	int status;

	for (int i = 0; word != NULL && i < 7; i++, word = strtok(NULL, "\t\n")) {
		if (*word != '=') {
			words[i] = strtoull(word, NULL, 0);
			continue;
		}
		words[i] = at;
		if (pwrite(memory, word + 1, strlen(word), (off_t)at) < 0)
			fail("pwrite");
		at += strlen(word);
	}
	now.rip = instruction(memory, before);
	now.orig_rax = -1ULL; /* otherwise the kernel would restart the interrupted system call */
	now.rax = words[0];
	now.rdi = words[1];
	now.rsi = words[2];
	now.rdx = words[3];
	now.r10 = words[4];
	now.r8 = words[5];
	now.r9 = words[6];
	if (ptrace(PTRACE_SETREGS, thread, NULL, &now) != 0 ||
	    ptrace(PTRACE_SINGLESTEP, thread, NULL, NULL) != 0)
		fail("PTRACE_SINGLESTEP");
	if (waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status))
		fail("it is gone");
	if (ptrace(PTRACE_GETREGS, thread, NULL, &now) != 0)
		fail("PTRACE_GETREGS");
	return (long long)now.rax;
}

int main(int arguments, char **argument)
{
	struct user_regs_struct before;
	char path[40], line[2048];
	int memory;
	pid_t pid = arguments > 1 ? atoi(argument[1]) : 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	stop_all(pid);
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	memory = open(path, O_RDWR | O_CLOEXEC);
	if (memory < 0)
		fail(path);
	if (ptrace(PTRACE_GETREGS, pid, NULL, &before) != 0)
		fail("PTRACE_GETREGS");
	while (fgets(line, sizeof line, stdin) != NULL)
		printf("%lld\n", call(pid, memory, &before, line));
	if (ptrace(PTRACE_SETREGS, pid, NULL, &before) != 0)
		fail("PTRACE_SETREGS");
	for (int i = 0; i < count; i++)
		ptrace(PTRACE_DETACH, threads[i], NULL, NULL);
	return 0;
}
