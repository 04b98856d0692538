#include "terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* The ioctl that opens the slave of a pseudo-terminal without a path (ioctl_tty(2)). musl lacks
 * this constant. */
#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

void terminal_resize(int master, uint16_t rows, uint16_t columns)
{
	const struct winsize size = { .ws_row = rows, .ws_col = columns };

	ioctl(master, TIOCSWINSZ, &size);
}

bool terminal_open(int *master, int *slave, uint16_t rows, uint16_t columns)
{
	int unlocked = 0;

	*master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (*master < 0)
		return false;
	if (ioctl(*master, TIOCSPTLCK, &unlocked) < 0)
		return false;
	*slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0)
		return false;
	terminal_resize(*master, rows, columns);
	return true;
}
