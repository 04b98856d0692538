/* Proves that exec.c sends a command's output within the credit, and sends all of it if the command
 * has exited.
 *
 * Functions: exec_add_credit exec_reaped exec_poll exec_pump exec_done exec_timeout_ms exec_clear
 *	exec_kill exec_resize pump read_stream wanted is_empty has_output_left is_unpaid is_silent
 *	kill_all enlarge
 * Bound: the proof covers every state of a command and its two streams, every credit, and
 *	every answer of the kernel
 * Assumes: the clock never decreases, and is below 2^63 ns; the encoder behaves as encoding.c proves
 * Idle: fcntl input_close input_poll cgroup_kill cgroup_renew ioctl
 * Unwind: 3 */
#include "proof.h"

static size_t encode(uint8_t *out, size_t room, const struct sandboxd_exec_output *output)
{
	PROVE(__CPROVER_w_ok(out, room));
	PROVE(room >= SANDBOXD_HEADER_SIZE + SANDBOXD_EXEC_OUTPUT_DATA_PREFIX + output->data.size);
	PROVE(output->data.size > 0 && output->data.size <= SANDBOXD_EXEC_OUTPUT_DATA_MAX);
	PROVE(output->data.data == out + SANDBOXD_HEADER_SIZE + SANDBOXD_EXEC_OUTPUT_DATA_PREFIX);
	return SANDBOXD_HEADER_SIZE + SANDBOXD_EXEC_OUTPUT_DATA_PREFIX + output->data.size;
}
#define sandboxd_encode_exec_output(out, room, version, id, output) encode(out, room, output)

#include <limits.h>

#include <exec.c>

static struct exec exec;
static struct port port;
static struct pollfd polled[EXEC_POLLED];
static uint64_t now;

ssize_t read(int fd, void *into, size_t size)
{
	PROVE(size > 0 && fd >= 0);
	PROVE((uint8_t *)into >= port.queue);
	PROVE(size <= PORT_QUEUE_SIZE - (size_t)((uint8_t *)into - port.queue));
	return nondet_part(size); /* reads no bytes, because no proof depends on their values */
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

void drain_add(int fd) { PROVE(fd >= 0); }

static bool valid(void)
{
	return exec.pid >= 0 && (exec.group > 0 || (!exec.id && !exec.pid)) &&
	       exec.silent_ns <= now + SILENCE_NS && exec.slot < SANDBOXD_MAX_COMMANDS;
}

static void begin(void)
{
	__CPROVER_havoc_object(&exec);
	__CPROVER_havoc_object(polled);
	port.end = nondet_upto(PORT_QUEUE_SIZE);
	now = nondet_u64();
	ASSUME(now < (uint64_t)INT64_MAX && valid());
}

void prove_credit(void)
{
	begin();
	enum sandboxd_stream stream = nondet_bool() ? SANDBOXD_STREAM_STDOUT :
						      SANDBOXD_STREAM_STDERR;
	uint32_t amount = nondet_u32();
	const uint32_t *credit = &exec.streams[stream == SANDBOXD_STREAM_STDERR].credit;
	uint32_t before = *credit;

	exec_add_credit(&exec, stream, amount);
	PROVE(*credit >= before && *credit >= amount);
	PROVE(*credit == UINT32_MAX || *credit - before == amount);
	WITNESS(*credit == UINT32_MAX && amount > 0 && before > 0);
}

void prove_end(void)
{
	begin();
	ASSUME(exec.pid > 0);
	exec_reaped(&exec, exec.pid, nondet_int(), now);
	PROVE(valid());
	for (int i = 0; i < EXEC_STREAMS; i++)
		PROVE(exec.streams[i].last && (exec.terminal || exec.streams[i].left <= INT_MAX));
}

/* Proves that exec_reaped changes nothing if the reaped process is not that of the command. */
void prove_end_of_another(void)
{
	begin();
	const struct exec before = exec;
	pid_t pid = nondet_int();

	ASSUME(pid > 0 && pid != exec.pid);
	exec_reaped(&exec, pid, nondet_int(), now);
	PROVE(exec.id == before.id && exec.pid == before.pid && exec.status == before.status);
	PROVE(exec.input.fd == before.input.fd && exec.silent_ns == before.silent_ns);
	for (int i = 0; i < EXEC_STREAMS; i++)
		PROVE(exec.streams[i].last == before.streams[i].last &&
		      exec.streams[i].left == before.streams[i].left);
}

void prove_clear(void)
{
	begin();
	exec_clear(&exec);
	PROVE(exec.id == 0);
}

/* After exec_kill, a command ends even without credit. */
void prove_kill(void)
{
	begin();
	exec_kill(&exec);
	ASSUME(exec.id && exec.pid == 0);
	for (int i = 0; i < EXEC_STREAMS; i++)
		ASSUME(exec.streams[i].credit == 0 || exec.streams[i].left == 0);
	PROVE(exec_done(&exec, &port, now));
}

/* After exec_kill, a process that keeps writing to the terminal cannot delay the end for long. */
void prove_kill_on_terminal(void)
{
	begin();
	ASSUME(exec.id && exec.terminal && exec.streams[1].fd < 0);
	ASSUME(exec.pid > 0 || (exec.streams[0].last && !exec.coalescing));
	exec_kill(&exec);
	if (exec.pid > 0)
		exec_reaped(&exec, exec.pid, nondet_int(), now);
	size_t left = exec.streams[0].left;
	PROVE(left <= TERMINAL_HOLDS);
	ASSUME(port_idle(&port) && !exec_done(&exec, &port, now));
	PROVE(exec_timeout_ms(&exec, now) == 0);
	exec_pump(&exec, &port, 1, now, polled);
	PROVE(exec.streams[0].left < left);
	WITNESS(port.end > 0);
}

void prove_output(void)
{
	begin();
	const struct exec before = exec;
	size_t queued = port.end;

	bool sent = exec_pump(&exec, &port, 1, now, polled);
	PROVE(valid());
	PROVE(port.end <= PORT_LARGE_SIZE || port.end == queued);
	PROVE(sent == (port.end != queued) && (!sent || (exec.id && queued == 0)));
	PROVE(queued == 0 || port.end > 0);
	for (int i = 0; i < EXEC_STREAMS; i++) {
		const struct exec_stream *old = &before.streams[i], *new = &exec.streams[i];
		uint32_t paid = old->credit - new->credit;

		PROVE(new->credit <= old->credit);
		PROVE(paid == 0 || (queued == 0 && paid + PREFIX == port.end));
		PROVE(!old->last || paid <= old->left);
		PROVE(!old->last || new->left <= old->left);
		WITNESS(paid == CHUNK);
		WITNESS(paid > 0 && old->last && new->left == 1);
	}
	struct pollfd fds[EXEC_POLLED];
	exec_poll(&exec, nondet_bool(), nondet_bool(), fds);
	exec_done(&exec, &port, now);
	int timeout = exec_timeout_ms(&exec, now);
	PROVE(timeout >= -1 && timeout <= 101);
}
