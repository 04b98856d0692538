#include "filter.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "allowed_calls.h"
#include "options.h"

/* Definitions of linux/filter.h, linux/seccomp.h and linux/audit.h, which musl lacks. */
struct instruction {
	uint16_t code;
	/* Numbers of instructions to skip: if the condition is true, and if it is false. */
	uint8_t if_true, if_false;
	uint32_t operand;
};

struct program {
	uint16_t count;
	struct instruction *instructions;
};

/* The data about a system call that the filter examines, in native byte order: `struct
 * seccomp_data` of the kernel. */
struct call {
	int32_t number;
	uint32_t machine;
	uint64_t at;
	uint64_t arguments[6];
};

enum { LOAD = 0x20, EQUAL = 0x15, GREATER = 0x25, COMMON_BITS = 0x45, AND = 0x54, RETURN = 0x06 };
enum { SET_MODE_FILTER = 1, GET_NOTIF_SIZES = 3, FLAG_NEW_LISTENER = 1 << 3 };

#define ALLOW 0x7fff0000u
#define FAIL(error) (0x00050000u | (error))

#if defined(__x86_64__)
#define MACHINE 0xc000003eu
#elif defined(__aarch64__)
#define MACHINE 0xc00000b7u
#endif

/* IOCTL_TYPE masks the bits of an ioctl's number that contain its type, which is KVM_TYPE for
 * KVM. */
enum { IOCTL_TYPE = 0xff00, KVM_TYPE = 0xae00 };

enum { LENGTH_MAX = 512 };

static struct instruction instructions[LENGTH_MAX];
static uint16_t length;

/* A random number that only the launcher knows. The launcher passes it to execve as a fourth
 * argument, which the kernel ignores. The filter allows execve only with this number, so QEMU
 * cannot execute programs. */
static uint64_t password;

static void add(uint16_t code, uint8_t if_true, uint8_t if_false, uint32_t operand)
{
	instructions[length++] = (struct instruction){ code, if_true, if_false, operand };
}

static void load(size_t offset)
{
	add(LOAD, 0, 0, (uint32_t)offset);
}

/* Adds the instruction that loads the low half of an argument of the system call. If the argument
 * is an int, the low half holds all of it. */
static void load_low(unsigned argument)
{
	load(offsetof(struct call, arguments) + argument * sizeof(uint64_t));
}

static void load_high(unsigned argument)
{
	load(offsetof(struct call, arguments) + argument * sizeof(uint64_t) + sizeof(uint32_t));
}

static void answer(uint32_t with)
{
	add(RETURN, 0, 0, with);
}

/* Adds instructions that answer a system call with `with`, which is ALLOW or an error, if the value
 * that was loaded last equals `value`. */
static void answer_if(uint32_t value, uint32_t with)
{
	add(EQUAL, 0, 1, value);
	answer(with);
}

static void refuse_unless(uint32_t value)
{
	add(EQUAL, 1, 0, value);
	answer(FAIL(EPERM));
}

static void refuse_if_any(uint32_t bits)
{
	add(COMMON_BITS, 0, 1, bits);
	answer(FAIL(EPERM));
}

/* Allows clone to start new threads, but neither new processes nor new namespaces. */
static void check_clone(void)
{
	load_low(0);
	add(AND, 0, 0,
	    CLONE_THREAD | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
		    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET);
	refuse_unless(CLONE_THREAD);
}

/* Allows a system call if its argument with this number is one of `values`, and refuses it
 * otherwise. */
static void allow_only(unsigned argument, const uint32_t *values, size_t count)
{
	load_low(argument);
	for (size_t i = 0; i < count; i++)
		answer_if(values[i], ALLOW);
	answer(FAIL(EPERM));
}

static void check_prctl(void)
{
	static const uint32_t options[] = {
		PR_SET_NAME, PR_GET_NAME,	  PR_GET_DUMPABLE, PR_SET_TIMERSLACK,
		PR_MCE_KILL, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_READ, PR_GET_SECCOMP,
	};

	allow_only(0, options, sizeof options / sizeof *options);
}

/* Allows prlimit64 to read the limits of the calling process, but not to set any limits. */
static void check_prlimit(void)
{
	load_low(0);
	refuse_unless(0);
	load_low(2);
	refuse_unless(0);
	load_high(2);
	refuse_unless(0);
}

static void check_tgkill(void)
{
	load_low(0);
	refuse_unless((uint32_t)getpid());
}

/* Allows only the ioctls of KVM. With other ioctls, QEMU could for example insert input into the
 * user's terminal. */
static void check_ioctl(void)
{
	load_low(1);
	add(AND, 0, 0, IOCTL_TYPE);
	refuse_unless(KVM_TYPE);
}

static void check_fcntl(void)
{
	/* Allow only these commands of fcntl. Others lock files, for which other processes would
	 * wait, or make the kernel send signals. */
	enum { DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC = 1030, GET_SEALS = 1034 };
	static const uint32_t commands[] = {
		DUPFD, GETFD, SETFD, GETFL, DUPFD_CLOEXEC, GET_SEALS,
	};

	load_low(1);
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		answer_if(commands[i], ALLOW);
	refuse_unless(SETFL);
	/* Refuse flags that affect the open file description, because other processes may share
	 * it. */
	load_low(2);
	refuse_if_any(O_APPEND | O_ASYNC | O_DIRECT);
}

/* Allows only harmless options of getsockopt. Another option, for example, returns a handle of the
 * peer process, which is the controller that has started the launcher. */
static void check_getsockopt(void)
{
	static const uint32_t options[] = {
		SO_TYPE, SO_ERROR, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN,
	};

	allow_only(2, options, sizeof options / sizeof *options);
}

/* Refuses madvise with the advice to merge pages with equal pages of other processes
 * (MADV_MERGEABLE), because the time that a write takes would tell whether another process holds
 * the same data. Refuses madvise with unknown advice, too. */
static void check_madvise(void)
{
	enum { GUARD_REMOVE = 103 }; /* the newest advice to madvise when this was written */

	load_low(2);
	answer_if(MADV_MERGEABLE, FAIL(EPERM));
	add(GREATER, 0, 1, GUARD_REMOVE);
	answer(FAIL(EPERM));
}

/* Allows QEMU to install its own filter, and the queries that libseccomp makes before it installs
 * one. */
static void check_seccomp(void)
{
	load_low(1);
	refuse_if_any(FLAG_NEW_LISTENER);
	load_low(0);
	add(GREATER, 0, 1, GET_NOTIF_SIZES);
	answer(FAIL(EPERM));
}

static void check_execve(void)
{
	load_low(3);
	refuse_unless((uint32_t)password);
	load_high(3);
	refuse_unless((uint32_t)(password >> 32));
}

/* Flags that open a path for writing. They are refused unless an option of the launcher permits
 * QEMU to write to a file or a device. The read-only mounts do not suffice, because /dev/fd/N leads
 * to the user's own files, outside these mounts. */
enum { WRITING = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC };

/* System calls that are allowed only with certain arguments. If `check` is set, it adds
 * instructions that refuse the call with any other argument. Otherwise, the call is refused if the
 * argument with the number `argument` contains one of `flags`.
 *
 * Out-of-band data of sockets (MSG_OOB) are refused, because they make the kernel send signals, and
 * because programs have escaped from their confinement through a bug in the kernel's code for them
 * (CVE-2025-38236). Huge pages are refused, because they are a scarce resource of the host. */
static const struct {
	int number;
	void (*check)(void);
	unsigned argument;
	uint32_t flags;
} checked[] = {
	{ SYS_ioctl, .check = check_ioctl },
	{ SYS_clone, .check = check_clone },
	{ SYS_prctl, .check = check_prctl },
	{ SYS_prlimit64, .check = check_prlimit },
	{ SYS_tgkill, .check = check_tgkill },
	{ SYS_fcntl, .check = check_fcntl },
	{ SYS_seccomp, .check = check_seccomp },
	{ SYS_execve, .check = check_execve },
	{ SYS_getsockopt, .check = check_getsockopt },
	{ SYS_madvise, .check = check_madvise },
	{ SYS_sendmsg, .argument = 2, .flags = MSG_OOB },
	{ SYS_recvmsg, .argument = 2, .flags = MSG_OOB },
	{ SYS_sendto, .argument = 3, .flags = MSG_OOB },
	{ SYS_recvfrom, .argument = 3, .flags = MSG_OOB },
	{ SYS_mmap, .argument = 3, .flags = MAP_HUGETLB },
	{ SYS_openat, .argument = 2, .flags = WRITING },
#ifdef SYS_open
	{ SYS_open, .argument = 1, .flags = WRITING },
#endif
};

static void write_filter(bool writes)
{
	load(offsetof(struct call, machine));
	refuse_unless(MACHINE);
	load(offsetof(struct call, number));
	for (size_t i = 0; i < sizeof checked / sizeof *checked; i++) {
		uint16_t jump = length;

		add(EQUAL, 0, 0, (uint32_t)checked[i].number);
		if (checked[i].check) {
			checked[i].check();
		} else if (checked[i].flags != WRITING || !writes) {
			load_low(checked[i].argument);
			refuse_if_any(checked[i].flags);
		}
		answer(ALLOW);
		instructions[jump].if_false = (uint8_t)(length - jump - 1);
	}
	for (size_t i = 0; i < sizeof allowed_calls / sizeof *allowed_calls; i++)
		answer_if((uint32_t)allowed_calls[i], ALLOW);
	for (size_t i = 0; i < sizeof missing_calls / sizeof *missing_calls; i++)
		answer_if((uint32_t)missing_calls[i], FAIL(ENOSYS));
	/* Answer each call whose number is above NEWEST_CALL with ENOSYS. That includes the calls
	 * of the x32 ABI, which have high numbers. */
	add(GREATER, 0, 1, NEWEST_CALL);
	answer(FAIL(ENOSYS));
	answer(FAIL(EPERM));
}

const char *filter_install(const struct options *options, char detail[static DETAIL_SIZE])
{
	struct program program = { .instructions = instructions };

	(void)detail;
	if (getrandom(&password, sizeof password, 0) != sizeof password)
		return strerror(errno);
	write_filter(options->writable.count > 0 || options->devices.count > 0);
	program.count = length;
	return syscall(SYS_seccomp, SET_MODE_FILTER, 0, &program) == 0 ? NULL : strerror(errno);
}

void filter_execute(char **program)
{
	syscall(SYS_execve, program[0], program, environ, password);
}
