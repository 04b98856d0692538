#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* `in`: bytes that were read but belong to no executed frame. `out`: the frame to send, which has
 * `size` bytes. The first `written` bytes were written. */
static uint8_t in[STREAMS_HEADER_SIZE + STREAMS_MAX_BODY_FROM_HOST];
static uint8_t out[STREAMS_HEADER_SIZE + STREAMS_MAX_BODY_FROM_GUEST];
static size_t received, size, written;

#define MALFORMED "a frame is malformed"

_Noreturn void link_fail(const char *reason)
{
	static const char name[] = "relay: ", end[] = "\n";

	/* Nothing can be done if standard error cannot be written, so ignore the results. */
	(void)!write(STDERR_FILENO, name, sizeof name - 1);
	(void)!write(STDERR_FILENO, reason, strlen(reason));
	(void)!write(STDERR_FILENO, end, sizeof end - 1);
	exit(EXIT_FAILURE);
}

void link_open(void)
{
	if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) < 0 ||
	    fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK) < 0)
		link_fail("cannot make standard input and output non-blocking");
}

/* Decodes the header at the start of `in`. */
static void decode_header(struct streams_header *header)
{
	struct streams_fault_at fault;

	if (!streams_decode_header(in, STREAMS_HOST, STREAMS_VERSION, header, &fault))
		link_fail(MALFORMED);
}

/* Reads until `in` has `wanted` bytes. */
static enum link_input read_until(size_t wanted)
{
	while (received < wanted) {
		ssize_t n = read(STDIN_FILENO, in + received, wanted - received);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? NOTHING : END;
		if (n == 0 && received > 0)
			link_fail("the input ends within a frame");
		if (n == 0)
			return END;
		received += (size_t)n;
	}
	return FRAME;
}

enum link_input link_read(struct streams_header *header, union streams_body *body)
{
	struct streams_fault_at fault;
	enum link_input input = read_until(STREAMS_HEADER_SIZE);

	if (input != FRAME)
		return input;
	decode_header(header);
	input = read_until(STREAMS_HEADER_SIZE + header->body_length);
	if (input != FRAME)
		return input;
	received = 0;
	if (!streams_decode_body(header, in + STREAMS_HEADER_SIZE, STREAMS_VERSION, body, &fault))
		link_fail(MALFORMED);
	return FRAME;
}

bool link_is_free(void)
{
	return written == size;
}

uint8_t *link_room(void)
{
	return out + STREAMS_HEADER_SIZE;
}

void link_write(void)
{
	ssize_t n = write(STDOUT_FILENO, out + written, size - written);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		link_fail("cannot write to standard output");
	if (n > 0)
		written += (size_t)n;
}

static size_t encode(uint32_t id, enum streams_type type, uint32_t number)
{
	const struct streams_connected connected = { .credit = number };
	const struct streams_refused refused = { .error_number = number };
	const struct streams_data data = { .data = { link_room(), number } };
	const struct streams_credit credit = { .amount = number };
	const struct streams_listening listening = { .port = (uint16_t)number };
	const struct streams_not_listening not_listening = { .error_number = number };
	const struct streams_accepted accepted = { .credit = number };
	const struct streams_not_accepted not_accepted = { .error_number = number };

	switch (type) {
	case STREAMS_TYPE_CONNECTED:
		return streams_encode_connected(out, sizeof out, STREAMS_VERSION, id, &connected);
	case STREAMS_TYPE_REFUSED:
		return streams_encode_refused(out, sizeof out, STREAMS_VERSION, id, &refused);
	case STREAMS_TYPE_DATA:
		return streams_encode_data(out, sizeof out, STREAMS_VERSION, id, &data);
	case STREAMS_TYPE_CREDIT:
		return streams_encode_credit(out, sizeof out, STREAMS_VERSION, id, &credit);
	case STREAMS_TYPE_LISTENING:
		return streams_encode_listening(out, sizeof out, STREAMS_VERSION, id, &listening);
	case STREAMS_TYPE_NOT_LISTENING:
		return streams_encode_not_listening(out, sizeof out, STREAMS_VERSION, id,
						    &not_listening);
	case STREAMS_TYPE_ACCEPTED:
		return streams_encode_accepted(out, sizeof out, STREAMS_VERSION, id, &accepted);
	case STREAMS_TYPE_NOT_ACCEPTED:
		return streams_encode_not_accepted(out, sizeof out, STREAMS_VERSION, id,
						   &not_accepted);
	case STREAMS_TYPE_EOF:
		return streams_encode_eof(out, sizeof out, STREAMS_VERSION, id);
	default:
		return streams_encode_reset(out, sizeof out, STREAMS_VERSION, id);
	}
}

void link_send(uint32_t id, enum streams_type type, uint32_t number)
{
	size = encode(id, type, number);
	written = 0;
	link_write();
}
