/* Attempts on other processes, and on objects that the kernel shares between all processes of a
 * user. */
#define _GNU_SOURCE
#include "attack.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/kcmp.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#define KEYRING_OF_USER (-4L)

/* The signal that attempts send to victims. A victim blocks it, so the test can see it as
 * pending. */
#define HIT SIGUSR1

#define AT_VICTIMS(name, call)              \
	static long name##_one(int pid)     \
	{                                   \
		return call;                \
	}                                   \
	static long name(void)              \
	{                                   \
		return victims(name##_one); \
	}

static long opened(const char *format, int pid, int flags)
{
	char path[60];

	snprintf(path, sizeof path, format, pid);
	return closing(open(path, flags | O_CLOEXEC));
}

static long seized(int pid)
{
	return ptrace(PTRACE_SEIZE, pid, NULL, NULL);
}

static long copied(int pid, long call)
{
	char found[8] = "written";
	struct iovec ours = { found, 7 }, theirs = { secret + 16, 7 };

	return syscall(call, pid, &ours, 1, &theirs, 1, 0);
}

static long memory_of(int pid, int flags)
{
	char path[40], byte = 'x';
	long done;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return -1;
	done = flags == O_RDONLY ? pread(fd, &byte, 1, P(secret)) :
				   pwrite(fd, &byte, 1, P(secret + 24));
	closing(fd);
	return done == 1 ? 0 : -1;
}

static int handle(int pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static long signalled_by_handle(int pid)
{
	int fd = handle(pid);
	long done = fd < 0 ? -1 : syscall(SYS_pidfd_send_signal, fd, HIT, NULL, 0);

	closing(fd);
	return done;
}

static long taken(int pid)
{
	int fd = handle(pid);
	long done = fd < 0 ? -1 : syscall(SYS_pidfd_getfd, fd, 0, 0);

	closing(fd);
	closing((int)done);
	return done;
}

static long advised(int pid)
{
	struct iovec page = { (void *)(P(secret) & -4096L), 4096 };
	int fd = handle(pid);
	long done = fd < 0 ? -1 : syscall(SYS_process_madvise, fd, &page, 1, MADV_COLD, 0);

	closing(fd);
	return done;
}

static long entered(int pid)
{
	int fd = handle(pid);
	long done = fd < 0 ? -1 : setns(fd, CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWNS);

	closing(fd);
	return done;
}

static long queued(int pid)
{
	siginfo_t information = { .si_signo = HIT, .si_code = SI_QUEUE };

	return syscall(SYS_rt_sigqueueinfo, pid, HIT, &information);
}

static long limited(int pid)
{
	struct rlimit limit = { 7, 7 };

	return prlimit(pid, RLIMIT_MSGQUEUE, &limit, NULL);
}

static long pinned(int pid)
{
	unsigned long first = 1;

	return syscall(SYS_sched_setaffinity, pid, sizeof first, &first);
}

static long idled(int pid)
{
	struct sched_param none = { 0 };

	return sched_setscheduler(pid, SCHED_IDLE, &none);
}

static long paged(int pid)
{
	void *page = (void *)(P(secret) & -4096L);
	int where = -1;

	return syscall(SYS_move_pages, pid, 1, &page, NULL, &where, 0);
}

static long robust(int pid)
{
	void *head;
	size_t size;

	return syscall(SYS_get_robust_list, pid, &head, &size);
}

static long core_shared(int pid)
{
	return prctl(PR_SCHED_CORE, 2 /* SHARE_TO */, pid, 0, 0);
}

/* Let the kernel send a signal to a victim when data arrives in a pipe of the attacker. */
static long owned(int pid)
{
	int pipes[2];
	long done = -1;

	if (pipe2(pipes, O_CLOEXEC) != 0)
		return -1;
	if (fcntl(pipes[0], F_SETSIG, HIT) == 0 && fcntl(pipes[0], F_SETOWN, pid) == 0 &&
	    fcntl(pipes[0], F_SETFL, O_ASYNC | O_NONBLOCK) == 0 && write(pipes[1], "x", 1) == 1)
		done = 0;
	closing(pipes[0]);
	closing(pipes[1]);
	return done;
}

static int wanted;

static long owned_by_ioctl(int fd)
{
	return ioctl(fd, FIOSETOWN, &wanted);
}

static long socket_owned(int pid)
{
	wanted = pid;
	return each(SOCKET, owned_by_ioctl);
}

static long peer_handle(int fd)
{
	int found = -1;
	socklen_t size = sizeof found;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &found, &size) != 0)
		return -1;
	return closing(found);
}

static long handle_by_socket(void)
{
	return each(SOCKET, peer_handle);
}

AT_VICTIMS(seize, seized(pid))
AT_VICTIMS(read_memory, copied(pid, SYS_process_vm_readv))
AT_VICTIMS(write_memory, copied(pid, SYS_process_vm_writev))
AT_VICTIMS(read_mem_file, memory_of(pid, O_RDONLY))
AT_VICTIMS(write_mem_file, memory_of(pid, O_RDWR))
AT_VICTIMS(environment, opened("/proc/%d/environ", pid, O_RDONLY))
AT_VICTIMS(maps, opened("/proc/%d/maps", pid, O_RDONLY))
AT_VICTIMS(their_descriptor, opened("/proc/%d/fd/0", pid, O_RDONLY | O_NONBLOCK))
AT_VICTIMS(oom, opened("/proc/%d/oom_score_adj", pid, O_WRONLY))
AT_VICTIMS(hit, kill(pid, HIT))
AT_VICTIMS(hit_thread, syscall(SYS_tkill, pid, HIT))
AT_VICTIMS(hit_group, syscall(SYS_tgkill, pid, pid, HIT))
AT_VICTIMS(queue, queued(pid))
AT_VICTIMS(open_handle, closing(handle(pid)))
AT_VICTIMS(hit_by_handle, signalled_by_handle(pid))
AT_VICTIMS(take, taken(pid))
AT_VICTIMS(advise, advised(pid))
AT_VICTIMS(enter, entered(pid))
AT_VICTIMS(limit, limited(pid))
AT_VICTIMS(pin, pinned(pid))
AT_VICTIMS(nice_them, setpriority(PRIO_PROCESS, (id_t)pid, 19))
AT_VICTIMS(idle_input, syscall(SYS_ioprio_set, 1, pid, 3 << 13))
AT_VICTIMS(idle, idled(pid))
AT_VICTIMS(page, paged(pid))
AT_VICTIMS(compare, syscall(SYS_kcmp, pid, getpid(), KCMP_VM, 0, 0))
AT_VICTIMS(robust_list, robust(pid))
AT_VICTIMS(share_core, core_shared(pid))
AT_VICTIMS(own_pipe, owned(pid))
AT_VICTIMS(own_socket, socket_owned(pid))

static long sweep(void)
{
	return kill(-1, 0);
}

/* Attempts on objects that the kernel shares between all processes of a user. */

static int key(void)
{
	return (int)told_number("key");
}

static long attach_memory(void)
{
	int id = shmget(key(), 4096, 0);

	return id < 0 ? -1 : shmat(id, NULL, SHM_RDONLY) == (void *)-1 ? -1 : 0;
}

static long new_memory(void)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

	return id < 0 ? -1 : shmctl(id, IPC_RMID, NULL);
}

static long semaphore(void)
{
	int id = semget(key(), 1, 0);
	struct sembuf up = { 0, 1, 0 };

	return id < 0 ? -1 : semop(id, &up, 1);
}

static long message(void)
{
	struct {
		long type;
		char text[8];
	} sent = { 1, "attack" };
	int id = msgget(key(), 0);

	return id < 0 ? -1 : msgsnd(id, &sent, sizeof sent.text, IPC_NOWAIT);
}

static long posix_queue(void)
{
	int fd = (int)syscall(SYS_mq_open, "attack", O_CREAT | O_RDWR, 0600, NULL);

	if (fd >= 0)
		syscall(SYS_mq_unlink, "attack");
	return closing(fd);
}

static long add_key(void)
{
	return syscall(SYS_add_key, "user", "attack", "x", 1L, KEYRING_OF_USER);
}

static long read_keys(void)
{
	return syscall(SYS_keyctl, 11L /* READ */, KEYRING_OF_USER, 0L, 0L);
}

static long request_key(void)
{
	long found = syscall(SYS_request_key, "user", "attack-none", NULL, 0L);

	return found == -1 && errno == ENOKEY ? 0 : found;
}

static const struct attempt rows[] = {
	{ "ptrace PTRACE_SEIZE", OPEN, "another process as a whole", seize },
	{ "ptrace PTRACE_TRACEME", OPEN, "a controller that waits for a tracee's stops",
	  RAW(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0) },
	{ "process_vm_readv", OPEN, "what others have in memory", read_memory },
	{ "process_vm_writev", OPEN, "another process as a whole", write_memory },
	{ "open /proc/PID/mem to read", OPEN, "what others have in memory", read_mem_file },
	{ "open /proc/PID/mem to write", OPEN, "another process as a whole", write_mem_file },
	{ "open /proc/PID/environ", OPEN, "the tokens in it", environment },
	{ "open /proc/PID/maps", OPEN, "where in memory things are", maps },
	{ "open /proc/PID/fd/N", OPEN, "files and pipes of others", their_descriptor },
	{ "open /proc/PID/oom_score_adj", OPEN, "who is killed where memory is short", oom },
	{ "kill", OPEN, "the controller ended or stopped", hit },
	{ "kill of all", OPEN, "all processes of the user", sweep },
	{ "tkill", OPEN, "the same", hit_thread },
	{ "tgkill", OPEN, "the same", hit_group },
	{ "rt_sigqueueinfo", OPEN, "the same, with forged data", queue },
	{ "pidfd_open", OPEN, "a handle of another process", open_handle },
	{ "pidfd_send_signal", OPEN, "the controller ended or stopped", hit_by_handle },
	{ "pidfd_getfd", OPEN, "descriptors of others", take },
	{ "getsockopt SO_PEERPIDFD", OPEN, "a handle of the controller, round the namespace",
	  handle_by_socket },
	{ "fcntl F_SETOWN and F_SETSIG", OPEN, "signals that the kernel sends for it", own_pipe },
	{ "ioctl FIOSETOWN", OPEN, "the same", own_socket },
	{ "setns", SHUT, "another's namespaces", enter },
	{ "prlimit64", OPEN, "others that fail for want of files", limit },
	{ "sched_setaffinity", OPEN, "others on one CPU", pin },
	{ "sched_setscheduler", OPEN, "others that get no time", idle },
	{ "setpriority", OPEN, "the same", nice_them },
	{ "ioprio_set", OPEN, "others that get no disk", idle_input },
	{ "process_madvise", SHUT, "pages of others", advise },
	{ "move_pages", SHUT, "where pages of others are", page },
	{ "kcmp", OPEN, "what others share, and the order of kernel addresses", compare },
	{ "get_robust_list", OPEN, "an address in others", robust_list },
	{ "prctl PR_SCHED_CORE", SHUT, "who shares a core with whom", share_core },
	{ "shmat of another's segment", OPEN, "what others share in memory", attach_memory },
	{ "shmget", OPEN, "memory that stays when it ends", new_memory },
	{ "semop", OPEN, "others that wait for a semaphore", semaphore },
	{ "msgsnd", OPEN, "messages to others", message },
	{ "mq_open", OPEN, "the same, and memory that stays", posix_queue },
	{ "add_key", OPEN, "the user's keyring", add_key },
	{ "keyctl KEYCTL_READ", OPEN, "the same", read_keys },
	{ "request_key", OPEN, "a program of root that looks for a key", request_key },
};

const struct attempts processes = { "Other processes", rows, sizeof rows / sizeof rows[0] };
