/* The guest of the benchmark's baseline: a first process that answers requests of one letter on a virtio-serial port,
 * without frames, limits and isolation. Each answer ends with the letter of the request.
 *
 *	p	does nothing
 *	x	runs /bin/true
 *	y	runs python3 -c pass
 *	o	sends STREAM bytes, which dd writes to a pipe
 *	i	receives STREAM bytes, which dd reads from a pipe
 */
#define _GNU_SOURCE /* declares pipe2 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STREAM = 64 << 20, POLL_US = 500, MAX_POLLS = 1000 };

static char buffer[1 << 16];
static int port;

/* Waits for data from the host. A read from the port returns 0 while the host is not connected. If that persists, the
 * host has exited, so the guest stops QEMU. */
static size_t receive(char *data, size_t size)
{
	for (int polls = 0; polls < MAX_POLLS; polls++) {
		ssize_t n = read(port, data, size);
		if (n > 0)
			return (size_t)n;
		usleep(POLL_US);
	}
	reboot(RB_AUTOBOOT);
	_exit(1);
}

static void put(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);
		if (n < 0)
			return;
		data += n;
		size -= (size_t)n;
	}
}

static void run(char *const *command)
{
	pid_t child = vfork();
	if (child == 0) {
		execvp(*command, command);
		_exit(127);
	}
	waitpid(child, 0, 0);
}

/* Starts a command whose standard input or output is a pipe, and returns the other side of the pipe. */
static int start(char *const *command, int stream)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	if (vfork() == 0) {
		dup2(ends[stream], stream);
		execvp(*command, command);
		_exit(127);
	}
	close(ends[stream]);
	return ends[!stream];
}

static void output(void)
{
	static char *const dd[] = { "dd", "if=/dev/zero", "bs=64k", "count=1024", 0 };
	int pipe = start(dd, STDOUT_FILENO);
	for (ssize_t n; (n = read(pipe, buffer, sizeof buffer)) > 0;)
		put(port, buffer, (size_t)n);
	close(pipe);
	wait(0);
}

/* Receives STREAM bytes and writes them to dd. The first `have` bytes are in the buffer already, as they arrived
 * together with the letter. A read from the port returns at most a page, so bytes are collected into larger blocks. */
static void input(size_t have)
{
	static char *const dd[] = { "dd", "of=/dev/null", "bs=64k", 0 };
	int pipe = start(dd, STDIN_FILENO);
	for (size_t done = 0; done < STREAM; done += sizeof buffer) {
		while (have < sizeof buffer)
			have += receive(buffer + have, sizeof buffer - have);
		put(pipe, buffer, have);
		have = 0;
	}
	close(pipe);
	wait(0);
}

int main(void)
{
	static char *const true_command[] = { "/bin/true", 0 }, *const python[] = { "python3", "-c",
										    "pass", 0 };

	setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
	setenv("HOME", "/root", 1);
	mkdir("/dev", 0755);
	mount("dev", "/dev", "devtmpfs", 0, 0);
	/* The name of a port contains the number of its virtio device. This is 0, or 1 if the guest has a
	 * disk, which is then device 0. */
	while ((port = open("/dev/vport0p1", O_RDWR)) < 0 &&
	       (port = open("/dev/vport1p1", O_RDWR)) < 0)
		usleep(POLL_US);
	for (;;) {
		size_t n = receive(buffer, sizeof buffer);
		char letter = buffer[0];
		if (letter == 'x')
			run(true_command);
		else if (letter == 'y')
			run(python);
		else if (letter == 'o')
			output();
		else if (letter == 'i')
			input(n - 1);
		put(port, &letter, 1);
	}
}
