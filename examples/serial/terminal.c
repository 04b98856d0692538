/* The program `meter DEVICE`: the meter on a serial port or a pseudo terminal. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "device.h"

static int line;

void line_write(const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(line, data, size);

		if (n < 0 && errno != EINTR) {
			perror("meter");
			exit(1);
		}
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
}

/* Opens a terminal in raw mode, so that every byte is transferred unchanged. */
static int open_raw(const char *path)
{
	struct termios settings;
	int terminal = open(path, O_RDWR | O_NOCTTY);

	if (terminal < 0 || tcgetattr(terminal, &settings) < 0)
		return -1;
	settings.c_iflag = 0;
	settings.c_oflag = 0;
	settings.c_lflag = 0;
	settings.c_cc[VMIN] = 1;
	settings.c_cc[VTIME] = 0;
	return tcsetattr(terminal, TCSANOW, &settings) < 0 ? -1 : terminal;
}

int main(int argc, char **argv)
{
	uint8_t data[256];
	ssize_t n;

	if (argc != 2) {
		fputs("usage: meter DEVICE\n", stderr);
		return 2;
	}
	line = open_raw(argv[1]);
	if (line < 0) {
		perror(argv[1]);
		return 1;
	}
	device_start();
	/* On Linux, read() fails when the other side of a pseudo terminal is closed. */
	while ((n = read(line, data, sizeof data)) > 0)
		for (ssize_t i = 0; i < n; i++)
			device_take(data[i]);
	return 0;
}
