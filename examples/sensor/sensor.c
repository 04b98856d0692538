/* A simulated sensor, which reads requests from standard input and answers on standard output. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "protocol.h"

enum { MAX_TIMES = 1000 };

/* Buffers for the longest frames of both sides, so nothing is allocated. */
static uint8_t in[SENSOR_HEADER_SIZE + SENSOR_MAX_BODY_FROM_READER];
static uint8_t out[SENSOR_HEADER_SIZE + SENSOR_MAX_BODY_FROM_DEVICE];

/* Reads bytes `from` to `to` of a frame into `in`. Returns false on an error and at the end of the
 * stream; errno is 0 if the stream ends between two frames. */
static bool read_in(size_t from, size_t to)
{
	while (from < to) {
		ssize_t n = read(STDIN_FILENO, in + from, to - from);

		if (n == 0)
			errno = from == 0 ? 0 : EBADMSG;
		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		if (n > 0)
			from += (size_t)n;
	}
	return true;
}

/* Writes a frame of `size` bytes. An encoder that refuses a value returns a size of 0. */
static bool write_out(size_t size)
{
	size_t from = 0;

	if (size == 0)
		errno = EMSGSIZE;
	while (from < size) {
		ssize_t n = write(STDOUT_FILENO, out + from, size - from);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0)
			from += (size_t)n;
	}
	return size > 0;
}

static bool refuse(uint32_t id, uint16_t reason, uint32_t offset)
{
	const struct sensor_refused refused = { .reason = reason, .offset = offset };

	return write_out(sensor_encode_refused(out, sizeof out, SENSOR_VERSION, id, &refused));
}

static bool identify(void)
{
	static const char name[] = "greenhouse";
	const struct sensor_identity identity = {
		.serial = 4711,
		.name = { (const uint8_t *)name, sizeof name - 1 },
	};

	return write_out(sensor_encode_identity(out, sizeof out, SENSOR_VERSION, &identity));
}

static bool measure(uint32_t id, const struct sensor_measure *request)
{
	int32_t first = request->channel == SENSOR_CHANNEL_TEMPERATURE ? 21000 : 40000;

	if (request->times > MAX_TIMES)
		return refuse(id, SENSOR_REFUSAL_TOO_OFTEN, 0);
	for (int32_t i = 0; i < request->times; i++) {
		const struct sensor_reading reading = { .value = first + 125 * i };

		if (!write_out(
			    sensor_encode_reading(out, sizeof out, SENSOR_VERSION, id, &reading)))
			return false;
	}
	return write_out(sensor_encode_done(out, sizeof out, SENSOR_VERSION, id));
}

static bool answer(const struct sensor_header *header, const union sensor_body *body)
{
	switch (header->type) {
	case SENSOR_TYPE_IDENTIFY:
		return identify();
	case SENSOR_TYPE_MEASURE:
		return measure(header->id, &body->measure);
	default: /* no other type passes sensor_decode_header() */
		return false;
	}
}

int main(void)
{
	struct sensor_fault_at fault;
	struct sensor_header header;
	union sensor_body body;

	while (read_in(0, SENSOR_HEADER_SIZE)) {
		size_t size = SENSOR_HEADER_SIZE;

		/* A valid header has a body that fits into `in`. */
		if (!sensor_decode_header(in, SENSOR_READER, SENSOR_VERSION, &header, &fault))
			goto malformed;
		if (!read_in(size, size + header.body_length))
			break;
		if (!sensor_decode_body(&header, in + size, SENSOR_VERSION, &body, &fault))
			goto malformed;
		if (!answer(&header, &body))
			break;
	}
	if (errno == 0)
		return 0;
	perror("sensor");
	return 1;

malformed:
	/* The start of the next frame is unknown, so stop. */
	fprintf(stderr, "sensor: malformed frame: %s at offset %u\n",
		sensor_fault_name(fault.fault), (unsigned)fault.offset);
	refuse(header.id, (uint16_t)fault.fault, fault.offset);
	return 1;
}
