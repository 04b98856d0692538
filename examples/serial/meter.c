/* A simulated meter. All its memory is static: the longest frame of each side, and a receiver. */
#include "device.h"

#include "protocol.h"

static uint8_t in[METER_ROOM_FROM_READER];
static struct meter_receiver receiver;
static uint8_t out[METER_MAX_FRAME_FROM_METER];
static uint8_t sequence;
static uint32_t ticks;

/* Sends the frame in `out` after a zero, so that damage to the end of the previous frame does not
 * destroy this one. */
static void put(size_t size)
{
	static const uint8_t zero;

	sequence++;
	line_write(&zero, 1);
	line_write(out, size);
}

static void identify(uint16_t id)
{
	static const char model[] = "multimeter";
	const struct meter_identity identity = {
		.serial = 4711,
		.model = { (const uint8_t *)model, sizeof model - 1 },
	};

	put(meter_encode_identity(out, sizeof out, METER_VERSION, sequence, id, &identity));
}

static void measure(uint16_t id, const struct meter_measure *request)
{
	int32_t first = request->channel == METER_CHANNEL_VOLTAGE ? 3300 : -250000;

	for (uint16_t i = 0; i < request->times; i++) {
		const struct meter_reading reading = { .tick = ticks++, .value = first + i % 100 };

		put(meter_encode_reading(out, sizeof out, METER_VERSION, sequence, id, &reading));
	}
	const struct meter_status status = {
		.frames = receiver.frames,
		.bad = receiver.bad,
		.lost = receiver.lost,
	};
	put(meter_encode_status(out, sizeof out, METER_VERSION, sequence, id, &status));
	put(meter_encode_done(out, sizeof out, METER_VERSION, sequence, id));
}

void device_start(void)
{
	meter_receiver_init(&receiver, METER_READER, METER_VERSION, in);
}

void device_take(uint8_t byte)
{
	/* Invalid frames are counted and skipped; the reader sends its request again. */
	if (!meter_receive(&receiver, byte))
		return;
	if (receiver.header.type == METER_TYPE_IDENTIFY)
		identify(receiver.header.id);
	else
		measure(receiver.header.id, &receiver.body.measure);
}
