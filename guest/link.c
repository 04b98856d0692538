#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* `in` has the bytes that were read and not executed, and `out` a frame of which `written` bytes of
 * `size` were written. */
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

/* Decodes the header at the start of `in`, which has been read completely. */
static struct streams_header decode_header(void)
{
	struct streams_header header;
	struct streams_fault_at fault;

	if (!streams_decode_header(in, STREAMS_HOST, STREAMS_VERSION, &header, &fault))
		link_fail(MALFORMED);
	return header;
}

bool link_has_frame(void)
{
	return received >= STREAMS_HEADER_SIZE &&
	       received >= STREAMS_HEADER_SIZE + decode_header().body_length;
}

bool link_read(void)
{
	ssize_t n = read(STDIN_FILENO, in + received, sizeof in - received);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	received += (size_t)n;
	if (n == 0 && received > 0)
		link_fail("the input ends within a frame");
	return n > 0;
}

struct streams_header link_next(union streams_body *body)
{
	struct streams_header header = decode_header();
	struct streams_fault_at fault;

	if (!streams_decode_body(&header, in + STREAMS_HEADER_SIZE, STREAMS_VERSION, body, &fault))
		link_fail(MALFORMED);
	return header;
}

void link_done(void)
{
	size_t frame = STREAMS_HEADER_SIZE + decode_header().body_length;

	received -= frame;
	memmove(in, in + frame, received);
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

	switch (type) {
	case STREAMS_TYPE_CONNECTED:
		return streams_encode_connected(out, sizeof out, STREAMS_VERSION, id, &connected);
	case STREAMS_TYPE_REFUSED:
		return streams_encode_refused(out, sizeof out, STREAMS_VERSION, id, &refused);
	case STREAMS_TYPE_DATA:
		return streams_encode_data(out, sizeof out, STREAMS_VERSION, id, &data);
	case STREAMS_TYPE_CREDIT:
		return streams_encode_credit(out, sizeof out, STREAMS_VERSION, id, &credit);
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
