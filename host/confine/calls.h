/* The system calls of QEMU: those that the filter allows, as measured of QEMU 7.2, 10.0 and 11.1 with the C
 * library of their time, and some that other versions of that library have in their place. */
#ifndef CALLS_H
#define CALLS_H

#include <sys/syscall.h>

/* Newer than the oldest musl with which this is compiled; the same number everywhere. */
#ifndef SYS_map_shadow_stack
#define SYS_map_shadow_stack 453
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

/* The last of those that this table was made with: a later one is to be taken for missing. */
enum { NEWEST_CALL = SYS_mseal };

/* Whatever their arguments are. */
static const int allowed_calls[] = {
	/* files: by what the mounts, Landlock and descriptors leave of them */
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
	/* sockets that are connected */
	SYS_getsockname,
	SYS_getpeername,
	SYS_shutdown,
	/* waiting */
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
	/* memory */
	SYS_brk,
	SYS_munmap,
	SYS_mremap,
	SYS_mprotect,
	SYS_msync,
	SYS_mseal,
	SYS_map_shadow_stack,
	/* threads, and signals to them */
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
	/* what it learns of itself and of the system */
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
#ifdef SYS_arch_prctl /* x86-64 has old forms of some */
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

/* Those for which the C library, or QEMU, has another way where the kernel has them not. */
static const int missing_calls[] = {
	SYS_clone3,	  SYS_openat2,	      SYS_close_range,	     SYS_epoll_pwait2,
	SYS_memfd_create, SYS_io_uring_setup, SYS_io_uring_register, SYS_io_uring_enter,
	SYS_userfaultfd,
};

#endif
