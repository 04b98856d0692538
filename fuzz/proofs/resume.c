/* Sets the clock, adds the entropy of the host, and formats an id.
 *
 * Functions: resume add_entropy renew_id renew_machine_id write_id
 * Bound: every time, entropy of every length that the decoder accepts
 * Assumes: the properties of a resume that body.c proves
 * Idle: lstat getrandom
 * Unwind: 17 */
#include "proof.h"

#include <resume.c>

int clock_settime(clockid_t clock, const struct timespec *time)
{
	PROVE(time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < NS_PER_S);
	return 0;
}

int ioctl(int fd, unsigned long request, ...) { return nondet_int(); }

ssize_t pwrite(int fd, const void *from, size_t size, off_t at)
{
	const char *text = from;

	PROVE(at == 0 && (size == 37 || size == 33));
	PROVE(text[size - 1] == '\n' && (size == 33 || text[23] == '-'));
	WITNESS(size == 33);
	return nondet_part(size);
}

void prove(void)
{
	uint8_t bytes[SANDBOXD_RESUME_ENTROPY_MAX];
	struct sandboxd_resume given = { nondet_u64(), { bytes, nondet_u32() } };
	ASSUME(given.entropy.size <= sizeof bytes);

	resume(&given, nondet_bool());
	WITNESS(given.entropy.size == sizeof bytes);
}
