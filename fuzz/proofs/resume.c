/* The clock and the entropy that the host sends.
 *
 * Functions: resume add_entropy
 * Bound: every time, entropy of every length that the decoder lets through
 * Assumes: what body.c proves of a resume
 * Idle: ioctl
 * Unwind: 1 */
#include "system.h"

#include <resume.c>

int clock_settime(clockid_t clock, const struct timespec *time)
{
	PROVE(time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < NS_PER_S);
	return 0;
}

void prove(void)
{
	uint8_t bytes[SANDBOXD_RESUME_ENTROPY_MAX];
	struct sandboxd_resume given = { nondet_u64(), { bytes, nondet_u32() } };
	ASSUME(given.entropy.size <= sizeof bytes);

	resume(&given);
	WITNESS(given.entropy.size == sizeof bytes);
}
