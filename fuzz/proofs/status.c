/* What the daemon counts of itself, from a /proc that a command may have put something else upon.
 *
 * Functions: status_fill count_descriptors count_from resident_pages decimal_value
 * Bound: every content of the file, every answer of poll; pipes that outlived their command below 160
 * Assumes: nothing; a number of pages that no machine has may wrap around, as it is only reported
 * Unwind: 66
 * Wraps: unsigned-overflow */
#include "proof.h"

#include <status.c>

int drain_highest(void) { return (int)nondet_upto(159); }

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
