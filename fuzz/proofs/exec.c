/* The output of a command: how much is read, paid for, and left when the command has ended.
 *
 * Functions: exec_add_credit exec_reaped exec_poll exec_pump exec_done exec_timeout_ms exec_clear
 *	exec_kill exec_resize pump read_stream wanted has_output_left is_unpaid is_silent stream_of
 * Bound: every state of a command and its two streams, every credit, every answer of the kernel
 * Assumes: the clock does not go back, and is below 2^63 ns; the encoder is what encoding.c proves
 * Unwind: 3 */
#include "proof.h"

static size_t encode(uint8_t *out, const struct sandboxd_exec_output *output)
{
	PROVE(output->data.size > 0 && output->data.size <= SANDBOXD_EXEC_OUTPUT_DATA_MAX);
	PROVE(output->data.data == out + SANDBOXD_HEADER_SIZE + SANDBOXD_EXEC_OUTPUT_DATA_PREFIX);
	return SANDBOXD_HEADER_SIZE + SANDBOXD_EXEC_OUTPUT_DATA_PREFIX + output->data.size;
}
#define sandboxd_encode_exec_output(out, version, id, output) encode(out, output)

#include <limits.h>
#include <stdarg.h>

#include <exec.c>

static const struct port *queue; /* the bytes themselves play no part */

ssize_t read(int fd, void *into, size_t size)
{
	PROVE(size > 0 && fd >= 0);
	PROVE((uint8_t *)into >= queue->queue);
	PROVE(size <= PORT_QUEUE_SIZE - (size_t)((uint8_t *)into - queue->queue));
	return nondet_part(size);
}

int fcntl(int fd, int command, ...) { return nondet_int(); }

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	PROVE(__CPROVER_w_ok(fds, count * sizeof *fds));
	fds->revents = nondet_short();
	return nondet_int();
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;

	va_start(arguments, request);
	*va_arg(arguments, int *) = nondet_int();
	va_end(arguments);
	return nondet_int();
}

int kill(pid_t pid, int signal)
{
	PROVE(pid < 0);
	return 0;
}

int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	PROVE(__CPROVER_w_ok(info, sizeof *info));
	PROVE(type == P_PGID && (options & WNOWAIT));
	return nondet_int();
}

void input_close(struct input *input) {}
void cgroup_kill(void) {}
void cgroup_renew(void) {}
void drain_add(int fd) { PROVE(fd >= 0); }
void terminal_resize(int master, uint16_t rows, uint16_t columns) {}

static bool valid(const struct exec *exec, uint64_t now)
{
	return exec->pid >= 0 && (exec->group > 0 || (!exec->id && !exec->pid)) &&
	       exec->silent_ns <= now + SILENCE_NS;
}

static void prove_credit(struct exec *exec)
{
	enum sandboxd_stream stream = nondet_bool() ? SANDBOXD_STREAM_STDOUT :
						      SANDBOXD_STREAM_STDERR;
	uint32_t amount = nondet_u32();
	const uint32_t *credit = &exec->streams[stream == SANDBOXD_STREAM_STDERR].credit;
	uint32_t before = *credit;

	exec_add_credit(exec, stream, amount);
	PROVE(*credit >= before && *credit >= amount);
	PROVE(*credit == UINT32_MAX || *credit - before == amount);
	WITNESS(*credit == UINT32_MAX && amount > 0 && before > 0);
}

static void prove_end(struct exec *exec, uint64_t now)
{
	ASSUME(exec->pid > 0);
	exec_reaped(exec, exec->pid, nondet_int(), now);
	PROVE(valid(exec, now));
	for (int i = 0; i < EXEC_STREAMS; i++)
		PROVE(exec->streams[i].last &&
		      (exec->terminal || exec->streams[i].left <= INT_MAX));
}

/* Whom nobody pays ends all the same once it has been killed. */
static void prove_kill(struct exec *exec, const struct port *port, uint64_t now)
{
	exec_kill(exec);
	ASSUME(exec->id && exec->pid == 0);
	for (int i = 0; i < EXEC_STREAMS; i++)
		ASSUME(exec->streams[i].credit == 0 || exec->streams[i].left == 0);
	PROVE(exec_done(exec, port, now));
}

/* Who goes on writing to the terminal of a command that was killed holds up its end for no longer. */
static void prove_kill_on_terminal(struct exec *exec, struct port *port, uint64_t now)
{
	ASSUME(exec->id && exec->terminal && exec->streams[1].fd < 0);
	ASSUME(exec->pid > 0 || (exec->streams[0].last && !exec->coalescing));
	exec_kill(exec);
	if (exec->pid > 0)
		exec_reaped(exec, exec->pid, nondet_int(), now);
	PROVE(exec->streams[0].left <= TERMINAL_HOLDS);
	if (port_idle(port) && !exec_done(exec, port, now)) {
		size_t left = exec->streams[0].left;

		PROVE(exec_timeout_ms(exec, now) == 0);
		exec_pump(exec, port, 1, now);
		PROVE(exec->streams[0].left < left);
		WITNESS(port->end > 0);
	}
}

static void prove_output(struct exec *exec, struct port *port, uint64_t now)
{
	const struct exec before = *exec;
	bool was_idle = port_idle(port);

	exec_pump(exec, port, 1, now);
	PROVE(valid(exec, now));
	PROVE(port->end <= PORT_LARGE_SIZE || port->end == queue->end);
	PROVE(was_idle || port->end > 0);
	for (int i = 0; i < EXEC_STREAMS; i++) {
		const struct exec_stream *old = &before.streams[i], *new = &exec->streams[i];
		uint32_t paid = old->credit - new->credit;

		PROVE(new->credit <= old->credit);
		PROVE(paid == 0 || (was_idle && paid + PREFIX == port->end));
		PROVE(!old->last || paid <= old->left);
		PROVE(!old->last || new->left <= old->left);
		WITNESS(paid == CHUNK);
		WITNESS(paid > 0 && old->last && new->left == 1);
	}
	struct pollfd fds[EXEC_STREAMS];
	exec_poll(exec, nondet_bool(), fds);
	exec_done(exec, port, now);
	int timeout = exec_timeout_ms(exec, now);
	PROVE(timeout >= -1 && timeout <= 101);
}

void prove(void)
{
	static struct exec exec;
	static struct port port;
	uint64_t now = nondet_u64();

	__CPROVER_havoc_object(&exec);
	port.end = nondet_upto(PORT_QUEUE_SIZE);
	ASSUME(now < (uint64_t)INT64_MAX && valid(&exec, now));
	queue = &port;
	if (nondet_bool()) {
		prove_credit(&exec);
	} else if (nondet_bool()) {
		prove_end(&exec, now);
	} else if (nondet_bool()) {
		exec_clear(&exec);
		PROVE(exec.id == 0);
	} else if (nondet_bool()) {
		prove_kill(&exec, &port, now);
	} else if (nondet_bool()) {
		prove_kill_on_terminal(&exec, &port, now);
	} else {
		prove_output(&exec, &port, now);
	}
}
