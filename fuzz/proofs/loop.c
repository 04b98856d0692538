/* Proves that the daemon's poll loop never reads more than its stream has room for, polls the
 * correct descriptors, and waits for the correct time.
 *
 * Functions: loop read_port miss_host port_events poll_timeout_ms read_signals finish serve_sooner
 * Bound: the proof covers every state, and one turn of the loop; two turns when the daemon
 *	exits
 * Assumes: the stream has 64 KiB instead of 6 MiB; the daemon has 2 slots instead of 64;
 *	serve_timeout_ms returns at most 101, as serve.c proves; the clock never decreases, and is
 *	below 2^62 ns
 * Idle: serve_input serve_waits serve_wants_input serve_children serve_stdin serve_output
 *	serve_polled serve_kill drain_fd drain_run port_flush
 * Unwind: 3
 * Wraps: conversion */
#include "proof.h"

#define SANDBOXD_MAX_BODY_FROM_HOST 65536
#undef SANDBOXD_MAX_COMMANDS
#define SANDBOXD_MAX_COMMANDS 2

#define sandboxd_encode_goodbye(out, room, ...) nondet_frame(out, room, SANDBOXD_GOODBYE_MAX_BODY)

#define main sandboxd_main
#include <sandboxd.c>
#undef main

static bool valid(void)
{
	return server.missed_ns < 1ULL << 62 && server.absent_ns < 1ULL << 62 &&
	       server.session.in.start <= server.session.in.end &&
	       server.session.in.end <= STREAM_SIZE && server.port.sent <= server.port.end &&
	       server.port.end <= PORT_QUEUE_SIZE;
}

ssize_t port_read(const struct port *port, uint8_t *into, size_t size)
{
	PROVE(size > 0 && __CPROVER_w_ok(into, size));
	PROVE(into == server.session.in.data + server.session.in.end);
	PROVE(size == STREAM_SIZE - server.session.in.end);
	WITNESS(size == 1);
	return nondet_part(size);
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	static int turn, goodbyes;

	PROVE(__CPROVER_w_ok(fds, count * sizeof *fds));
	if (count == 1) {
		fds->revents = nondet_short();
		return goodbyes++ == 0 ? nondet_int() : 0;
	}
	PROVE(timeout >= -1 && timeout <= 101);
	ASSUME(turn++ == 0);
	PROVE(fds == server.polled && count >= SERVE_COMMANDS && count <= SERVE_POLLED);
	fds[SERVE_PORT].revents = nondet_short();
	fds[SERVE_SIGNALS].revents = 0;
	return nondet_int();
}

unsigned serve_poll(struct server *server)
{
	return SERVE_COMMANDS + (unsigned)nondet_upto(SANDBOXD_MAX_COMMANDS) * EXEC_POLLED;
}

int serve_timeout_ms(const struct server *server)
{
	int ms = nondet_int();

	ASSUME(ms >= -1 && ms <= 101);
	return ms;
}

uint64_t serve_clock(void)
{
	uint64_t now = nondet_u64();

	ASSUME(now >= server.missed_ns && now < 1ULL << 62);
	return now;
}

void stream_cut(struct stream *in) { in->start = in->end = 0; }
int reboot(int how) { _exit(0); }

void prove(void)
{
	__CPROVER_havoc_object(&server);
	ASSUME(valid());
	if (nondet_bool()) {
		/* `loop` never returns. The model of `poll` ends the run by a failed assumption. */
		loop(nondet_int());
	} else {
		read_port();
		ASSUME(server.absent_ns < 1ULL << 62);
		PROVE(valid());
		WITNESS(server.session.in.end == STREAM_SIZE);
	}
}
