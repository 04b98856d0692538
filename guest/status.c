#include "status.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

#include "decimal.h"
#include "drain.h"

/* DESCRIPTORS is more than the number of descriptors that the daemon has open besides the pipes of
 * finished commands (drain.h). AT_ONCE is the number of descriptors that one call of poll checks.
 * poll fails if it gets more entries than the limit of open files. So AT_ONCE is small: with a
 * limit below it, the daemon could not even have started. */
enum { DESCRIPTORS = 64, AT_ONCE = 4 };

/* Counts the open descriptors among AT_ONCE numbers, by calling poll, which reports POLLNVAL for a
 * number that is not open. /proc would list the open descriptors, but may be unmounted. */
static uint32_t count_from(int first)
{
	struct pollfd fds[AT_ONCE];
	uint32_t open = 0;

	for (int i = 0; i < AT_ONCE; i++)
		fds[i] = (struct pollfd){ .fd = first + i };
	if (poll(fds, AT_ONCE, 0) < 0)
		return 0;
	for (int i = 0; i < AT_ONCE; i++)
		open += !(fds[i].revents & POLLNVAL);
	return open;
}

static uint32_t count_descriptors(void)
{
	uint32_t open = 0;

	/* No open descriptor has a higher number than drain_highest() plus DESCRIPTORS, because the
	 * kernel assigns the lowest free number to each new descriptor. So check only the numbers
	 * up to this sum. */
	for (int first = 0; first <= drain_highest() + DESCRIPTORS; first += AT_ONCE)
		open += count_from(first);
	return open;
}

static bool has_zombie(void)
{
	siginfo_t info = { 0 };

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid;
}

/* Returns the number of the daemon's resident pages, which is the second number of /proc/self/statm
 * (proc(5)). Returns 0 if /proc was unmounted. */
static uint64_t resident_pages(void)
{
	char text[64];
	int fd = open("/proc/self/statm", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text);
	ssize_t at = 0;

	close(fd);
	while (at < size && text[at] != ' ')
		at++;
	return at < size ? decimal_value(text + at + 1, (size_t)(size - at - 1)) : 0;
}

void status_fill(struct sandboxd_status *status)
{
	status->descriptors = count_descriptors();
	status->zombies = has_zombie();
	status->memory = resident_pages() * getauxval(AT_PAGESZ);
}
