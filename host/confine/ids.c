/* Sets the uid and the groups of QEMU, and drops all privileges. */
#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "options.h"

/* Definitions of linux/capability.h and linux/securebits.h, which musl lacks. */
enum { CAPABILITY_VERSION_3 = 0x20080522 };
enum {
	NOROOT = 1 << 0,
	NO_SETUID_FIXUP = 1 << 2,
	KEEP_CAPS_LOCKED = 1 << 5,
	NO_CAP_AMBIENT_RAISE = 1 << 6,
	/* `BIT << 1` locks the security bit BIT, so that it cannot be changed any more. */
	SECURE = NOROOT | NOROOT << 1 | NO_SETUID_FIXUP | NO_SETUID_FIXUP << 1 | KEEP_CAPS_LOCKED |
		NO_CAP_AMBIENT_RAISE | NO_CAP_AMBIENT_RAISE << 1,
};

struct capability_header {
	uint32_t version;
	int pid;
};

struct capability_data {
	uint32_t effective, permitted, inheritable;
};

/* The kernel's overflow id. The kernel shows it as the owner of a file whose real owner is not
 * mapped in the user namespace. */
enum { NOBODY = 65534 };

static bool become(const struct options *options, uid_t id)
{
	return setgroups(options->group != NO_GROUP, &options->group) == 0 &&
	       setresgid(id, id, id) == 0 && setresuid(id, id, id) == 0;
}

/* Empties and locks the capability sets from which an executed program could gain capabilities.
 * Failures are ignored, because the kernel refuses some of these calls to an ordinary user. QEMU
 * cannot gain privileges anyway, because it runs with no_new_privs. */
static void narrow(void)
{
	for (unsigned long each = 0; prctl(PR_CAPBSET_DROP, each, 0, 0, 0) == 0; each++)
		;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	prctl(PR_SET_SECUREBITS, SECURE, 0, 0, 0);
}

static bool drop(void)
{
	struct capability_header header = { .version = CAPABILITY_VERSION_3 };
	const struct capability_data none[2] = { { 0 } };

	return syscall(SYS_capset, &header, none) == 0;
}

const char *ids_give_up(const struct options *options, char detail[static DETAIL_SIZE])
{
	const char *reason = NULL;

	narrow();
	if (options->uid && !become(options, options->uid)) {
		/* The kernel has refused the requested uid, for example because the user namespace
		 * of a container lacks it. Change to the user nobody instead, so that QEMU does not
		 * run as root. */
		reason = strerror(errno);
		become(options, NOBODY);
	} else if (options->uid) {
		int size = snprintf(detail, DETAIL_SIZE, "uid %u", options->uid);

		if (options->copied > 0)
			snprintf(detail + size, DETAIL_SIZE - (size_t)size,
				 "; for it, %u files were copied to memory", options->copied);
	}
	if (!drop() && !reason)
		reason = strerror(errno);
	return reason;
}
