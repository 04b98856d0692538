/* Gives a machine that starts or resumes the current time, fresh entropy, and ids that no other
 * clone has. */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "boot.h"
#include "serve.h"

/* Definitions of linux/random.h, which musl lacks. */
#define RNDADDENTROPY _IOW('R', 0x03, int[2])
#define RNDRESEEDCRNG _IO('R', 0x07)

#define MACHINE_ID "/etc/machine-id"

enum { NS_PER_S = 1000000000, ID_SIZE = 37 };

/* Descriptors of /dev/urandom and of the file that is mounted over boot_id. They stay open, because
 * on an emulated CPU opening a file takes longer than using it. */
static int random_device = -1;
static int boot_id = -1;

void resume_init(void)
{
	random_device = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	boot_id = open(BOOT_ID, O_WRONLY | O_CLOEXEC);
}

/* Adds entropy to the pool of the kernel's random number generator. The argument of RNDADDENTROPY
 * is a number of bits, a number of bytes, and the bytes (random(4)). */
static void add_entropy(struct sandboxd_slice entropy)
{
	struct {
		int bits, size;
		uint8_t data[SANDBOXD_RESUME_ENTROPY_MAX];
	} pool = { .bits = (int)(entropy.size * 8), .size = (int)entropy.size };

	memcpy(pool.data, entropy.data, entropy.size);
	ioctl(random_device, RNDADDENTROPY, &pool);
	ioctl(random_device, RNDRESEEDCRNG);
}

/* Formats an id as a UUID of version 4, with or without dashes, and a newline. Returns the size of
 * the text. */
static size_t write_id(char text[static ID_SIZE], uint8_t id[static 16], bool dashes)
{
	static const char digits[] = "0123456789abcdef";
	size_t size = 0;

	id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
	for (int i = 0; i < 16; i++) {
		if (dashes && i >= 4 && i <= 10 && i % 2 == 0)
			text[size++] = '-';
		text[size++] = digits[id[i] >> 4];
		text[size++] = digits[id[i] & 15];
	}
	text[size++] = '\n';
	return size;
}

/* Writes a new random id into the open file, instead of replacing the file, so that programs that
 * watch it are notified. */
static void renew_id(int fd, bool dashes)
{
	char text[ID_SIZE];
	uint8_t id[16];

	/* Use GRND_INSECURE, because without it getrandom blocks in a guest that has no entropy
	 * yet. */
	if (getrandom(id, sizeof id, GRND_INSECURE) == sizeof id)
		(void)!pwrite(fd, text, write_id(text, id, dashes), 0);
}

/* Writes a new id into /etc/machine-id, unless the image has no machine id. */
static void renew_machine_id(void)
{
	struct stat status;

	if (lstat(MACHINE_ID, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size == 0)
		return;
	int fd = open(MACHINE_ID, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	renew_id(fd, false);
	close(fd);
}

void resume(const struct sandboxd_resume *given, bool renewed)
{
	const struct timespec now = {
		.tv_sec = (time_t)(given->realtime_ns / NS_PER_S),
		.tv_nsec = (long)(given->realtime_ns % NS_PER_S),
	};

	clock_settime(CLOCK_REALTIME, &now);
	add_entropy(given->entropy);
	if (!renewed)
		return;
	renew_id(boot_id, true);
	renew_machine_id();
}
