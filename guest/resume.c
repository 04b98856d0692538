#include "resume.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* linux/random.h, which musl's headers leave out. */
#define RNDADDENTROPY _IOW('R', 0x03, int[2])
#define RNDRESEEDCRNG _IO('R', 0x07)

enum { NS_PER_S = 1000000000 };

/* random(4): what RNDADDENTROPY takes, a count of bits and one of bytes before the bytes. */
static void add_entropy(struct sandboxd_slice entropy)
{
	struct {
		int bits, size;
		uint8_t data[SANDBOXD_RESUME_ENTROPY_MAX];
	} pool = { .bits = (int)(entropy.size * 8), .size = (int)entropy.size };
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	memcpy(pool.data, entropy.data, entropy.size);
	ioctl(fd, RNDADDENTROPY, &pool);
	ioctl(fd, RNDRESEEDCRNG);
	close(fd);
}

void resume(const struct sandboxd_resume *given)
{
	const struct timespec now = {
		.tv_sec = (time_t)(given->realtime_ns / NS_PER_S),
		.tv_nsec = (long)(given->realtime_ns % NS_PER_S),
	};

	clock_settime(CLOCK_REALTIME, &now);
	add_entropy(given->entropy);
}
