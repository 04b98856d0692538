#include "drain.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

/* SPARE is the number of file descriptors that the output pipes of finished commands must leave
 * free for the daemon itself and for the running commands: the daemon has up to 9 descriptors for
 * each command. EVENTS is the maximum number of these pipes that one call of drain_run reads. */
enum { SPARE = 640, EVENTS = 16 };

static int set;
static bool held[DRAIN_FILES];
static unsigned count;
static int highest;

bool drain_init(void)
{
	set = epoll_create1(EPOLL_CLOEXEC);
	return set >= 0;
}

int drain_fd(void)
{
	return set;
}

int drain_highest(void)
{
	return highest;
}

static bool has_room(int fd)
{
	struct rlimit files = { 0 };

	getrlimit(RLIMIT_NOFILE, &files);
	return fd < DRAIN_FILES && count + SPARE < files.rlim_cur;
}

static bool is_over(int fd)
{
	static uint8_t nowhere[16384];
	ssize_t n = read(fd, nowhere, sizeof nowhere);

	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void drain_add(int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (is_over(fd) || !has_room(fd) || epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0) {
		close(fd);
		return;
	}
	held[fd] = true;
	count++;
	if (fd > highest)
		highest = fd;
}

static void let_go(int fd)
{
	/* Remove the pipe from the epoll set explicitly. close alone does not remove it if another
	 * process has opened the same end of the pipe. */
	epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
	held[fd] = false;
	count--;
}

void drain_run(void)
{
	struct epoll_event events[EVENTS];
	int ready = epoll_wait(set, events, EVENTS, 0);

	for (int i = 0; i < ready; i++)
		if (is_over(events[i].data.fd))
			let_go(events[i].data.fd);
}

void drain_clear(void)
{
	for (int fd = 0; count > 0 && fd <= highest; fd++)
		if (held[fd])
			let_go(fd);
}
