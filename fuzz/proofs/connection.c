/* Proves that connection.c stores the host's data within the buffer of their connection, in every
 * state of the connection, and that the host never gets more credit than the buffer has room for.
 *
 * Functions: connection_receive connection_advance connection_speak connection_refuse begin
 *	receive_data send_to_peer send_buffered add_credit owes_credit say_due settle close_socket
 *	buffer_of may_send state_after relay_data connection_find
 * Bound: the proof covers every state of one connection, and any data that the host sends
 * Assumes: a buffer has 8 bytes instead of 131072; the connection is the first entry of the table,
 *	which has 2 entries instead of 257; no call of the kernel returns a negative `errno`
 * Idle: link_send address_size address_port address_set_v6 setsockopt shutdown getsockopt socket
 *	connect
 * Unwind: 10 */
#include "proof.h"

#include <streams.h>
#undef STREAMS_MAX_STREAMS
#define STREAMS_MAX_STREAMS 1

#include <connection.h>
#define WINDOW 8

/* Replaces memcpy and memmove, because the proof that the bytes are correct fails with CBMC's own
 * models of both. If both addresses are in one buffer, `to` must be before `from`. */
static void copy(uint8_t *to, const uint8_t *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		to[i] = from[i];
}
#define memcpy copy
#define memmove copy

#include <connection.c>

_Noreturn void link_fail(const char *reason)
{
	ASSUME(false);
	for (;;)
		;
}

uint8_t *link_room(void)
{
	static uint8_t room[STREAMS_DATA_DATA_MAX];

	return room;
}

ssize_t read(int fd, void *into, size_t size)
{
	PROVE(__CPROVER_w_ok(into, size));
	return nondet_part(size);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address,
	       socklen_t length)
{
	PROVE(fd >= 0 && __CPROVER_r_ok(data, size));
	return nondet_part(size);
}

/* Returns whether a connection can be in this state. The buffer has room for the sum of three
 * numbers of bytes: those that the host may still send, those that wait for the peer, and those that
 * were sent to the peer but not granted to the host again yet. */
static bool valid(const struct connection *connection)
{
	return connection->begin <= connection->end && connection->end <= WINDOW &&
	       connection->given <= WINDOW && connection->owed <= WINDOW &&
	       connection->end - connection->begin <= WINDOW - connection->given &&
	       connection->owed <=
		       WINDOW - connection->given - (connection->end - connection->begin) &&
	       connection->error >= 0 && (connection->fd >= 0 || connection->end == 0);
}

void prove(void)
{
	static uint8_t bytes[WINDOW + 1];
	struct connection *connection = &connections[0];
	union streams_body body;

	__CPROVER_havoc_object(connections);
	__CPROVER_havoc_object(buffers);
	used = 1 + nondet_upto(CONNECTIONS - 1);
	ASSUME(connection->id != 0 && valid(connection));
	const uint32_t buffered = connection->end - connection->begin;
	const uint32_t some = (uint32_t)nondet_upto(WINDOW - 1);
	const uint8_t old = buffered ? buffers[0][connection->begin] : 0;
	const uint32_t size = (uint32_t)nondet_upto(sizeof bytes);

	switch (nondet_byte()) {
	case 0:
		__CPROVER_havoc_object(bytes);
		body.data.data = (struct streams_slice){ bytes, size };
		connection_receive(connection, STREAMS_TYPE_DATA, &body);
		if (connection->fd >= 0 && buffered > 0 && size > 0) {
			uint32_t begin = connection->begin;

			PROVE(buffers[0][begin] == old);
			PROVE(connection->end - begin == buffered + size);
			PROVE(some >= size || buffers[0][begin + buffered + some] == bytes[some]);
			WITNESS(buffered + size == WINDOW);
		}
		break;
	case 1:
		body.credit.amount = nondet_u32();
		connection_receive(connection, STREAMS_TYPE_CREDIT, &body);
		break;
	case 2:
		connection_receive(connection,
				   nondet_bool() ? STREAMS_TYPE_EOF : STREAMS_TYPE_RESET, &body);
		break;
	case 3:
		connections[1].id = 0;
		connection_refuse(1 + (uint32_t)nondet_upto(9), nondet_byte(),
				  (int)nondet_upto(200));
		PROVE(valid(&connections[1]));
		break;
	case 4:
		ASSUME(connection->state != STREAMS_STREAM_STATE_CONNECTING);
		ASSUME(!connection->retries);
		connection_advance(connection);
		WITNESS(buffered > 0 && connection->begin == connection->end);
		break;
	default:
		connection_speak(connection, nondet_bool());
		WITNESS(connection->given == WINDOW);
	}
	PROVE(connection->id == 0 || valid(connection));
}
