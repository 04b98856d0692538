/* Counts the daemon's resources from /proc, on which a command may have mounted another file system.
 *
 * Functions: status_fill count_descriptors resident_pages decimal_value
 * Bound: every content of the file, every result of fcntl; pipes of finished commands below 32
 * Assumes: nothing; an impossible number of pages may wrap around, because it is only reported
 * Unwind: 98
 * Wraps: unsigned-overflow */
#include "proof.h"

#include <status.c>

int drain_highest(void) { return (int)nondet_upto(31); }

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
	PROVE(status.descriptors <= 4 * DESCRIPTORS);
	PROVE(status.zombies <= 1);
	WITNESS(status.memory == 12288);
}
