#include "messages.h"

#include <errno.h>
#include <stddef.h>

#include "connection.h"
#include "link.h"
#include "listener.h"

static uint32_t last_id;

/* Executes a message that opens a stream or a listener. `state` is the state of the new stream or
 * listener. */
static void begin(const struct streams_header *header, const union streams_body *body,
		  uint8_t state)
{
	int error = 0;

	last_id = header->id;
	switch (header->type) {
	case STREAMS_TYPE_CONNECT:
		connection_connect(header->id, &body->connect);
		break;
	case STREAMS_TYPE_LISTEN:
		error = listener_open(header->id, body->listen.port);
		break;
	case STREAMS_TYPE_ACCEPT:
		error = listener_offer(body->accept.listener, header->id, body->accept.credit);
		break;
	}
	if (error)
		connection_refuse(header->id, state, error);
}

/* Executes a `reset` with the id of a listener, or of an `accept` that waits at it. */
static void reset(struct listener *listener, uint32_t id)
{
	uint32_t offer = listener_reset(listener, id);

	if (offer != 0)
		connection_refuse(offer, STREAMS_STREAM_STATE_ACCEPTING, EINVAL);
}

/* Returns the state of the stream or listener with this id, which has no entry in `connections`.
 * `listener` is the listener with this id, or at which an `accept` with this id waits; NULL if no
 * such listener exists. */
static uint8_t state_of(const struct listener *listener, uint32_t id)
{
	if (listener)
		return listener->id == id ? listener->state : STREAMS_STREAM_STATE_ACCEPTING;
	return id > last_id ? STREAMS_STREAM_STATE_NEW : STREAMS_STREAM_STATE_CLOSED;
}

void execute_message(const struct streams_header *header, const union streams_body *body)
{
	struct connection *connection = connection_find(header->id);
	struct listener *listener = listener_of(header->id);
	uint8_t state = connection ? connection->state : state_of(listener, header->id);
	uint8_t next = streams_follow_stream(state, STREAMS_HOST, header->type, 0);

	if (next == STREAMS_OUT_OF_ORDER)
		link_fail("a message is out of order");
	if (next == STREAMS_IGNORED)
		return;
	if (connection) {
		connection->state = next;
		connection_receive(connection, header->type, body);
	} else if (listener) {
		reset(listener, header->id);
	} else {
		begin(header, body, next);
	}
}
