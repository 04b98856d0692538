/* The clock and the entropy that the host sends.
 *
 * Functions: boot_resume add_entropy
 * Bound: every time, entropy of every length that the decoder lets through
 * Assumes: what body.c proves of a resume
 * Idle: ioctl
 * Unwind: 1 */
#include "system.h"

#include <boot.c>

int clock_settime(clockid_t clock, const struct timespec *time)
{
	PROVE(time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < NS_PER_S);
	return 0;
}

void prove(void)
{
	uint8_t bytes[SANDBOXD_RESUME_ENTROPY_MAX];
	struct sandboxd_resume resume = { nondet_u64(), { bytes, nondet_u32() } };
	ASSUME(resume.entropy.size <= sizeof bytes);

	boot_resume(&resume);
	WITNESS(resume.entropy.size == sizeof bytes);
}
