/* sandboxd: PID 1 of a virtual machine, which runs commands for the host.
 *
 *     Usage: sandboxd [FD]
 *
 * Without an argument, sandboxd is PID 1, which init has executed. It finds the virtio port to the
 * host by the port's name. The argument FD is for tests: with it, sandboxd is an ordinary process
 * that serves the host on this descriptor, until end of file.
 *
 * sandboxd has one thread, one poll loop, and static memory. Nothing in the loop blocks. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"
#include "console.h"
#include "decimal.h"
#include "drain.h"
#include "serve.h"

/* CLOSE_RANGE_CLOEXEC of linux/close_range.h, which musl lacks. */
enum { CLOEXEC_RANGE = 4 };

/* Timeouts of poll in milliseconds: ABSENT_MS while no host is connected, GOODBYE_MS while the last
 * frame waits to be written, and FREEZING_MS while the kernel freezes processes, because no event
 * announces that they are frozen. */
enum { ABSENT_MS = 20, GOODBYE_MS = 200, FREEZING_MS = 1 };

/* If no host has the port open for CUT_NS, the daemon discards an incomplete frame. After
 * ABANDONED_NS without a host, the machine resets itself, because no host controls it any more. The
 * time between two checks of the port counts only up to STEP_NS, because the clock jumps when a
 * machine has been stopped, saved or moved, and no host could connect meanwhile. */
#define CUT_NS 50000000ULL
#define ABANDONED_NS 10000000000ULL
#define STEP_NS 100000000ULL

const char console_name[] = "sandboxd: ";

static struct server server;

static _Noreturn void reset(void)
{
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static _Noreturn void die(const char *what, size_t size)
{
	(void)!write(STDERR_FILENO, what, size);
	if (server.is_init)
		reset();
	_exit(1);
}
#define DIE(what) die("sandboxd: " what "\n", sizeof "sandboxd: " what)

/* Blocks all signals, so that they do not interrupt system calls. If the daemon is not PID 1, as in
 * tests, SIGTERM and SIGINT can still end it. */
static void block_signals(void)
{
	sigset_t blocked;

	sigfillset(&blocked);
	if (!server.is_init) {
		sigdelset(&blocked, SIGTERM);
		sigdelset(&blocked, SIGINT);
	}
	sigprocmask(SIG_SETMASK, &blocked, NULL);
}

/* Opens /dev/null as each standard stream that is missing, as in PID 1 of a kernel without a
 * console. Otherwise a pipe could get the number of a standard stream. */
static void occupy_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	close(fd);
}

static int open_signals(void)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	return signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int adopt_port(const char *argument)
{
	int fd = (int)decimal_value(argument, strlen(argument));
	int flags = fcntl(fd, F_GETFL);

	prctl(PR_SET_CHILD_SUBREAPER, 1L);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -1;
	return fd;
}

static _Noreturn void finish(enum sandboxd_goodbye_reason reason)
{
	const struct sandboxd_goodbye goodbye = { (uint8_t)reason };
	struct pollfd port = { .fd = server.port.fd, .events = POLLOUT };

	serve_kill(&server);
	if (port_has_room(&server.port, PORT_SMALL_SIZE))
		SERVE_SEND(&server, goodbye, &goodbye);
	/* Stop if poll reports anything but POLLOUT. If no host has the virtio port open, poll
	 * always returns POLLHUP at once, so otherwise this loop would not end. */
	while (port_flush(&server.port) && !port_idle(&server.port) &&
	       poll(&port, 1, GOODBYE_MS) > 0 && (port.revents & POLLOUT))
		;
	if (server.is_init)
		reset();
	_exit(0);
}

/* Records that no host has the port open. */
static void miss_host(void)
{
	uint64_t now = serve_clock(), step = server.missed_ns ? now - server.missed_ns : 0;

	server.missed_ns = now;
	server.absent_ns += step < STEP_NS ? step : STEP_NS;
	/* Discard an incomplete frame, because the next host will not complete it. But do not
	 * discard it at once, because the first bytes of a new host can arrive before the kernel
	 * reports that the port is open (control_work in virtio_console.c). */
	if (server.absent_ns > CUT_NS)
		stream_cut(&server.session.in);
	if (server.absent_ns > ABANDONED_NS && server.session.frames_seen > 0)
		DIE("the host has gone");
}

/* Reads from the port, and returns whether a host is connected. While no host has a virtio port
 * open, each read returns end of file. Another host may open the port later, so the daemon
 * continues. In tests, the port is a socket, so the daemon exits at end of file. */
static bool read_port(void)
{
	struct stream *in = &server.session.in;
	size_t room = STREAM_SIZE - in->end;
	ssize_t n = room ? port_read(&server.port, in->data + in->end, room) : -1;

	if (!room)
		return false;
	if (n > 0)
		in->end += (size_t)n;
	else if (n == 0 && server.is_init)
		miss_host();
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		finish(SANDBOXD_GOODBYE_REASON_BROKEN);
	if (n != 0)
		server.missed_ns = server.absent_ns = 0;
	return n != 0;
}

static void read_signals(int signals)
{
	struct signalfd_siginfo info;

	(void)!read(signals, &info, sizeof info);
	serve_children(&server);
}

/* Returns the events of the port for which poll must wait. `all_read` is true if the daemon has
 * handled all frames that have arrived. Otherwise it must not read yet: at end of file it would
 * exit without handling the remaining frames. */
static short port_events(bool all_read)
{
	int in = all_read ? POLLIN : 0;
	int out = port_idle(&server.port) ? 0 : POLLOUT;

	return (short)(in | out);
}

/* Returns the timeout of poll in milliseconds; -1 for no limit. */
static int poll_timeout_ms(bool present, bool go_on)
{
	int ms = serve_sooner(server.freezing ? FREEZING_MS : -1, present ? -1 : ABSENT_MS);

	return go_on ? 0 : serve_sooner(ms, serve_timeout_ms(&server));
}

static _Noreturn void loop(int signals)
{
	struct pollfd *fds = server.polled;
	bool present = true, waited = false;

	for (;;) {
		bool all_read = serve_input(&server);

		if (serve_waits(&server))
			serve_children(&server);
		serve_stdin(&server, waited);
		serve_output(&server);
		if (!port_flush(&server.port))
			finish(SANDBOXD_GOODBYE_REASON_BROKEN);
		if (server.shutdown)
			finish(SANDBOXD_GOODBYE_REASON_SHUTDOWN);
		fds[SERVE_PORT] = (struct pollfd){ present ? server.port.fd : -1,
						   port_events(all_read), 0 };
		fds[SERVE_SIGNALS] = (struct pollfd){ signals, POLLIN, 0 };
		fds[SERVE_DRAINS] = (struct pollfd){ drain_fd(), POLLIN, 0 };
		/* Do not wait in poll if serve_input can continue by now. It may have left frames
		 * unhandled because the queue had no room, and no event announces new room. */
		bool go_on = !all_read && serve_wants_input(&server);
		int ready = poll(fds, serve_poll(&server), poll_timeout_ms(present, go_on));

		waited = ready == 0;
		if (ready < 0)
			continue;
		serve_polled(&server, waited);
		if (fds[SERVE_DRAINS].revents)
			drain_run();
		if (fds[SERVE_SIGNALS].revents)
			read_signals(signals);
		present = !present || !(fds[SERVE_PORT].revents & (POLLIN | POLLHUP)) ||
			  read_port();
	}
}

int main(int argc, char **argv)
{
	serve_init(&server, getpid() == 1);
	block_signals();
	/* Mark all inherited descriptors except the standard streams to be closed on exec, so that
	 * no command gets them. */
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOEXEC_RANGE);
	occupy_streams();
	int signals = open_signals();

	server.port.fd = argc > 1 && !server.is_init ? adopt_port(argv[1]) : port_open();
	if (server.port.fd < 0)
		DIE("no port to the host");
	if (!spawn_init() || !drain_init())
		DIE("no memory");
	if (signals < 0)
		DIE("no signalfd");
	if (server.is_init) {
		const char *lacking = cgroup_init();

		console_expect(!lacking, "use ", lacking);
		resume_init();
	}
	server.counters.opened_ns = serve_clock();
	loop(signals);
}
