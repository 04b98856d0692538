/* The programs of a hostile guest. The compiler's option -DDOES="NAME" selects one of them:
 *
 * `flood_early` runs in the place of sandboxd, never answers a hello, and sends frames of an older
 * session forever. `flood` answers the hello, and then sends valid credit forever. `ignore` answers
 * the hello, and then stops reading. `spin` runs beside sandboxd, and uses all processors with
 * real-time priority. */
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "port.h"
#include "protocol.h"

enum { FRAMES = 4096 };

const char console_name[] = "hostile: ";

static int open_port(void)
{
	int port = port_open();

	fcntl(port, F_SETFL, 0); /* reads and writes of the port may block */
	return port;
}

static void read_all(int port, uint8_t *into, size_t size)
{
	while (size > 0) {
		ssize_t n = read(port, into, size);

		if (n > 0) {
			into += n;
			size -= (size_t)n;
		}
	}
}

static void write_all(int port, const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(port, data, size);

		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
}

/* Reads the next frame, discards its body, and returns the type of the frame. */
static unsigned next_type(int port)
{
	uint8_t header[SANDBOXD_HEADER_SIZE], byte;

	read_all(port, header, sizeof header);
	for (uint64_t left = sandboxd_get(header, 4); left > 0; left--)
		read_all(port, &byte, 1);
	return (unsigned)sandboxd_get(header + 4, 2);
}

/* Answers the first `hello` message with a `ready`, which has the same body. */
static void answer(int port)
{
	uint8_t frame[SANDBOXD_HEADER_SIZE + SANDBOXD_HELLO_MAX_BODY];

	read_all(port, frame, sizeof frame);
	frame[4] = SANDBOXD_TYPE_READY;
	write_all(port, frame, sizeof frame);
}

/* Sends the same frame, whose body has at most five bytes, again and again. */
static _Noreturn void repeat(int port, uint16_t type, const uint8_t *body, size_t size)
{
	static uint8_t frames[FRAMES * (SANDBOXD_HEADER_SIZE + 5)];
	uint8_t *at = frames;

	for (int i = 0; i < FRAMES; i++) {
		uint8_t *start = at;

		at += SANDBOXD_HEADER_SIZE;
		memcpy(at, body, size);
		at += size;
		sandboxd_put_header(start, at, type, 1);
	}
	for (;;)
		write_all(port, frames, (size_t)(at - frames));
}

static void flood_early(void)
{
	static const uint8_t body[] = { SANDBOXD_STREAM_STDOUT, 'x' };

	repeat(open_port(), SANDBOXD_TYPE_EXEC_OUTPUT, body, sizeof body);
}

static void flood(void)
{
	static const uint8_t body[] = { 1, 0, 0, 0 };
	int port = open_port();

	answer(port);
	while (next_type(port) != SANDBOXD_TYPE_EXEC_REQUEST)
		;
	repeat(port, SANDBOXD_TYPE_EXEC_STDIN_CREDIT, body, sizeof body);
}

static void ignore(void)
{
	answer(open_port());
	for (;;)
		pause();
}

static void spin(void)
{
	static const char unlimited[] = "-1";
	const struct sched_param highest = { .sched_priority = 99 };
	int limit = open("/proc/sys/kernel/sched_rt_runtime_us", O_WRONLY);

	(void)!write(limit, unlimited, sizeof unlimited - 1);
	syscall(SYS_sched_setscheduler, 0, SCHED_FIFO,
		&highest); /* musl's sched_setscheduler only returns ENOSYS */
	for (long others = sysconf(_SC_NPROCESSORS_ONLN) - 1; others > 0 && fork() > 0; others--)
		;
	for (;;)
		;
}

static const struct {
	const char *name;
	void (*run)(void);
} programs[] = {
	{ "flood_early", flood_early }, { "flood", flood }, { "ignore", ignore }, { "spin", spin }
};

int main(void)
{
	for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
		if (strcmp(programs[i].name, DOES) == 0)
			programs[i].run();
	return 1;
}
