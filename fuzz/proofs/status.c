/* Proves that status.c counts the daemon's resources safely, whatever it reads from /proc, on which
 * a command may have mounted another file system.
 *
 * Functions: status_fill count_descriptors resident_pages decimal_value
 * Bound: the proof covers every content of the file that is read; half of the possible
 *	descriptors are open
 * Assumes: nothing; an impossible number of pages may wrap around, because it is only reported
 * Unwind: 66 count_descriptors.0:673
 * Wraps: unsigned-overflow */
#include "proof.h"

#include <status.c>

int drain_highest(void) { return 31; }

/* Pretends that every second descriptor is open. */
int fcntl(int fd, int command, ...) { return fd % 2 ? -1 : 0; }

int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	PROVE(__CPROVER_w_ok(info, sizeof *info));
	info->si_pid = nondet_int();
	return nondet_int();
}

unsigned long getauxval(unsigned long type) { return 4096; }

void prove(void)
{
	struct sandboxd_status status;

	status_fill(&status);
	PROVE(status.descriptors == (32 + DESCRIPTORS) / 2);
	PROVE(status.zombies <= 1);
	WITNESS(status.memory == 12288);
}
