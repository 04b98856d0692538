/* Counts the resources that the daemon holds, so that the host can check it for leaks. */
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

#include "decimal.h"
#include "drain.h"
#include "serve.h"

/* DESCRIPTORS is more than the number of descriptors that the daemon has open besides the pipes of
 * finished commands (drain.h). */
enum { DESCRIPTORS = 640 };

/* Counts the open descriptors. The kernel assigns the lowest free number to each new descriptor, so
 * only the numbers up to drain_highest() plus DESCRIPTORS are checked. /proc would list the open
 * descriptors, but may be unmounted. */
static uint32_t count_descriptors(void)
{
	uint32_t open = 0;

	for (int fd = 0; fd <= drain_highest() + DESCRIPTORS; fd++)
		open += fcntl(fd, F_GETFD) >= 0;
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
