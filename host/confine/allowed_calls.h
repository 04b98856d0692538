/* The system calls that the filter allows QEMU. QEMU 7.2, 10.0 and 11.1, each with a C library of
 * its time, made most of these calls in measurements. The others are calls that other versions of
 * the C libraries make instead. */
#ifndef ALLOWED_CALLS_H
#define ALLOWED_CALLS_H

#include <sys/syscall.h>

/* Numbers of system calls that older versions of musl do not define. They are the same on every
 * architecture. */
#ifndef SYS_map_shadow_stack
#define SYS_map_shadow_stack 453
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

/* The newest system call that was known when these tables were made. The filter answers newer calls
 * with ENOSYS, as if the kernel lacked them. */
enum { NEWEST_CALL = SYS_mseal };

/* System calls that the filter allows with any arguments. */
static const int allowed_calls[] = {
	/* calls for files, which the mounts, Landlock and the open descriptors restrict further */
	SYS_read,
	SYS_write,
	SYS_readv,
	SYS_writev,
	SYS_pread64,
	SYS_pwrite64,
	SYS_preadv,
	SYS_pwritev,
	SYS_preadv2,
	SYS_pwritev2,
	SYS_lseek,
	SYS_close,
	SYS_fstat,
	SYS_newfstatat,
	SYS_statx,
	SYS_statfs,
	SYS_fstatfs,
	SYS_faccessat,
	SYS_faccessat2,
	SYS_readlinkat,
	SYS_getdents64,
	SYS_getcwd,
	SYS_fchdir,
	SYS_ftruncate,
	SYS_fallocate,
	SYS_fadvise64,
	SYS_fsync,
	SYS_fdatasync,
	SYS_sync_file_range,
	SYS_copy_file_range,
	SYS_dup,
	SYS_dup3,
	/* calls for connected sockets */
	SYS_getsockname,
	SYS_getpeername,
	SYS_shutdown,
	/* calls that wait for events */
	SYS_ppoll,
	SYS_pselect6,
	SYS_epoll_create1,
	SYS_epoll_ctl,
	SYS_epoll_pwait,
	SYS_eventfd2,
	SYS_signalfd4,
	SYS_pipe2,
	SYS_futex,
	SYS_nanosleep,
	SYS_clock_nanosleep,
	SYS_clock_gettime,
	SYS_clock_getres,
	SYS_gettimeofday,
	SYS_restart_syscall,
	/* calls for memory */
	SYS_brk,
	SYS_munmap,
	SYS_mremap,
	SYS_mprotect,
	SYS_msync,
	SYS_mseal,
	SYS_map_shadow_stack,
	/* calls for threads, and for signals to them */
	SYS_set_tid_address,
	SYS_set_robust_list,
	SYS_rseq,
	SYS_membarrier,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_getcpu,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigpending,
	SYS_rt_sigtimedwait,
	SYS_rt_sigsuspend,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
	SYS_exit,
	SYS_exit_group,
	/* calls that return information about the process and the system */
	SYS_getpid,
	SYS_getppid,
	SYS_gettid,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
	SYS_getresuid,
	SYS_getresgid,
	SYS_getrusage,
	SYS_getrandom,
	SYS_capget,
	SYS_uname,
	SYS_sysinfo,
#ifdef SYS_arch_prctl /* older variants of some calls, which only x86-64 has */
	SYS_arch_prctl,
	SYS_stat,
	SYS_lstat,
	SYS_access,
	SYS_readlink,
	SYS_dup2,
	SYS_poll,
	SYS_select,
	SYS_epoll_wait,
	SYS_pipe,
	SYS_eventfd,
	SYS_time,
	SYS_getrlimit,
#endif
};

/* System calls that the filter answers with ENOSYS. The C library and QEMU then use other calls, as
 * they do on a kernel that lacks these calls. */
static const int missing_calls[] = {
	SYS_clone3,	  SYS_openat2,	      SYS_close_range,	     SYS_epoll_pwait2,
	SYS_memfd_create, SYS_io_uring_setup, SYS_io_uring_register, SYS_io_uring_enter,
	SYS_userfaultfd,
};

#endif
