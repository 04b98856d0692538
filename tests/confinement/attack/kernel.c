/* Attempts on the kernel: on its large interfaces, on information about the host, and on the host's
 * settings and devices. */
#define _GNU_SOURCE
#include "attack.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static long opened(const char *path, int flags)
{
	return closing(open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

static long any_opened(const char *const *paths, int flags)
{
	int error = 0;

	for (; *paths != NULL; paths++) {
		if (opened(*paths, flags) >= 0)
			return 0;
		if (error != EACCES && error != EPERM)
			error = errno;
	}
	return fail(error);
}

static long bpf(void)
{
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1
	};

	return closing((int)syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
}

static long ring(void)
{
	char parameters[256] = { 0 };

	return closing((int)syscall(SYS_io_uring_setup, 4, parameters));
}

static long faults(void)
{
	return closing((int)syscall(SYS_userfaultfd, O_CLOEXEC | 1));
}

static long perf(void)
{
	struct perf_event_attr event = { .type = PERF_TYPE_SOFTWARE,
					 .size = sizeof event,
					 .config = PERF_COUNT_SW_TASK_CLOCK,
					 .exclude_kernel = 1 };

	return closing((int)syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
}

/* Ask the kernel to merge a page with equal pages of other processes. A write to a merged page
 * takes longer, which would tell whether another process holds the same data. */
static long merged(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? -1 : madvise(page, 4096, MADV_MERGEABLE);
}

static long huge(void)
{
	void *page = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	return page == MAP_FAILED ? -1 : munmap(page, 2 << 20);
}

static long clock_set(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return clock_settime(CLOCK_REALTIME, &now);
}

static long clock_adjusted(void)
{
	struct timex change = { .modes = ADJ_TICK, .tick = 10000 };

	return adjtimex(&change);
}

static long other_namespace(void)
{
	const int kinds[] = { CLONE_NEWNS,  CLONE_NEWNET,    CLONE_NEWPID, CLONE_NEWIPC,
			      CLONE_NEWUTS, CLONE_NEWCGROUP, 0x80 /* CLONE_NEWTIME */ };

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (syscall(SYS_unshare, kinds[i]) == 0)
			return 0;
	return -1;
}

/* Call reboot with invalid arguments, so that it has no effect if it is allowed. */
static long rebooted(void)
{
	long found = syscall(SYS_reboot, 0, 0, 0, 0);

	return found == -1 && errno == EINVAL ? 0 : found;
}

static long groups_written(void)
{
	static const char *const paths[] = { "/sys/fs/cgroup/cgroup.procs",
					     "/sys/fs/cgroup/unified/cgroup.procs",
					     "/sys/fs/cgroup/memory/cgroup.procs", NULL };

	return any_opened(paths, O_WRONLY);
}

static long settings_written(void)
{
	static const char *const paths[] = {
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
		"/proc/sys/kernel/hostname",	 "/proc/sysrq-trigger",
		"/sys/kernel/uevent_helper",	 NULL
	};

	return any_opened(paths, O_WRONLY);
}

static long kernel_memory(void)
{
	static const char *const paths[] = { "/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port",
					     NULL };

	return any_opened(paths, O_RDONLY);
}

static long devices(void)
{
	static const char *const paths[] = {
		"/dev/fuse",	     "/dev/net/tun", "/dev/vhost-net", "/dev/vhost-vsock",
		"/dev/loop-control", "/dev/uinput",  "/dev/dri/card0", "/dev/dri/renderD128",
		"/dev/userfaultfd",  "/dev/sda",     "/dev/vda",       NULL
	};

	return any_opened(paths, O_RDWR);
}

static long terminal(void)
{
	return opened("/dev/ptmx", O_RDWR);
}

static long own_terminal(void)
{
	return opened("/dev/tty", O_RDWR);
}

static long typed(void)
{
	char byte = '\n';

	for (int fd = 0; fd < 3; fd++)
		if (ioctl(fd, TIOCSTI, &byte) == 0)
			return 0;
	return -1;
}

/* Attempts to make system calls through other ABIs of the processor. Their numbers differ, so a
 * filter might take them for harmless calls. */

#if defined(__x86_64__)
static long old_call(long number, const void *first, long second, long third)
{
	long found;

	__asm__ volatile("int $0x80"
			 : "=a"(found)
			 : "a"(number), "b"(first), "c"(second), "d"(third)
			 : "memory", "r8", "r9", "r10", "r11");
	return found < 0 ? fail((int)-found) : found;
}

static long old_open(void)
{
	static char path[512];
	const char *from = below("secret");

	for (size_t i = 0; i < sizeof path - 1 && from[i] != '\0'; i++)
		path[i] = from[i];
	/* An address of 32 bits suffices for this call, because the program is below 4 GiB. */
	return closing((int)old_call(5, path, O_RDONLY, 0));
}

static long old_number(void)
{
	return old_call(20, NULL, 0, 0); /* this number is getpid on i386, but writev on x86-64 */
}

static long x32_socket(void)
{
	return closing((int)syscall(0x40000000L + SYS_socket, 1L, 1L, 0L));
}
#else
static long old_open(void)
{
	return fail(ENOSYS);
}
#define old_number old_open
#define x32_socket old_open
#endif

static const struct attempt rows[] = {
	{ "bpf", SHUT, "programs in the kernel", bpf },
	{ "io_uring_setup", OPEN, "calls that no filter sees", ring },
	{ "userfaultfd", SHUT, "kernel code stopped where it is weakest", faults },
	{ "perf_event_open", SHUT, "much of the kernel, and side channels", perf },
	{ "madvise MADV_MERGEABLE", SHUT, "what others have in memory, by KSM and the time",
	  merged },
	{ "mmap MAP_HUGETLB", SHUT, "the host's huge pages", huge },
	{ "unshare CLONE_NEWUSER", OPEN, "all capabilities, over what it makes",
	  RAW(SYS_unshare, CLONE_NEWUSER) },
	{ "unshare of other namespaces", SHUT, "the same", other_namespace },
	{ "personality", OPEN, "weaknesses of old programs", RAW(SYS_personality, 0x0400000) },
	{ "modify_ldt", OPEN, "the same",
#ifdef SYS_modify_ldt
	  RAW(SYS_modify_ldt, 0, P(secret), 16) },
#else
	  RAW(SYS_personality, 0x0400000) },
#endif
	{ "seccomp SECCOMP_FILTER_FLAG_NEW_LISTENER", SHUT, "answers to calls",
	  RAW(SYS_seccomp, 1, 8, 0) },
	{ "init_module", SHUT, "the kernel", RAW(SYS_init_module, P(secret), 32, P("")) },
	{ "finit_module", SHUT, "the kernel", RAW(SYS_finit_module, 0, P(""), 0) },
	{ "delete_module", SHUT, "the kernel", RAW(SYS_delete_module, P("attack"), 0) },
	{ "kexec_load", SHUT, "the kernel", RAW(SYS_kexec_load, 0, 0, 0, 0) },
	{ "reboot", SHUT, "the host", rebooted },
	{ "syslog", SHUT, "what the kernel has said", RAW(SYS_syslog, 10, 0, 0) },
	{ "sethostname", SHUT, "the host's name", RAW(SYS_sethostname, P("attacked"), 8) },
	{ "clock_settime", SHUT, "the host's clock", clock_set },
	{ "adjtimex", SHUT, "the host's clock", clock_adjusted },
	{ "vhangup", SHUT, "the user's terminal", RAW(SYS_vhangup) },
#ifdef SYS_iopl
	{ "iopl", SHUT, "devices", RAW(SYS_iopl, 3) },
	{ "ioperm", SHUT, "devices", RAW(SYS_ioperm, 0x80, 1, 1) },
#endif
	{ "open /proc/sys/… to write", SHUT, "programs of root, by core_pattern or modprobe",
	  settings_written },
	{ "open /sys/fs/cgroup/…/cgroup.procs", SHUT, "its own limits", groups_written },
	{ "open /proc/kcore or /dev/mem", SHUT, "the host's memory", kernel_memory },
	{ "open other devices", SHUT, "much of the kernel", devices },
	{ "open /dev/ptmx", OPEN, "terminals, and their code in the kernel", terminal },
	{ "open /dev/tty", SHUT, "the user's terminal", own_terminal },
	{ "ioctl TIOCSTI", SHUT, "commands typed into it", typed },
	{ "open by i386's number", SHUT, "a call that the filter takes for another", old_open },
	{ "getpid by i386's number", SHUT, "the same", old_number },
	{ "socket by x32's number", SHUT, "the same", x32_socket },
};

const struct attempts kernel = { "The kernel", rows, sizeof rows / sizeof rows[0] };
