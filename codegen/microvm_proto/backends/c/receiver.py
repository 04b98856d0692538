"""Generate the C code for schemas with a `[framing]` table: checksums, COBS, and a receiver."""

from __future__ import annotations

from microvm_proto.schema import Schema
from microvm_proto.variants import variant


def seal(schema: Schema) -> str:
    """Generate the C functions for checksums and COBS, which the encoders and the receiver call."""
    text = _filled(_SEAL, schema)
    older = (
        f"\tif (version < {since})\n\t\treturn {seed:#x};\n" for seed, since in schema.older_seeds
    )
    seed = "".join(older) or "\t(void)version;\n"
    return text.replace("@seed@", f"{seed}\treturn {schema.seed:#x};")


def receiver(schema: Schema) -> str:
    """Generate the C receiver, which finds frames in a stream of bytes or in datagrams."""
    text = _filled(_RECEIVER, schema)
    return text.replace("@FIRST@", schema.ends[0].upper()).replace(
        "@SECOND@", schema.ends[1].upper()
    )


def _filled(template: str, schema: Schema) -> str:
    text = variant(template, schema.framing)
    return text.replace("@check_t@", f"uint{8 * schema.framing.check_size}_t")


_SEAL = """
@if crc16
/* Returns the CRC-16/IBM-3740, computed without a table. */
static inline uint16_t @p@_crc(const uint8_t *data, size_t size)
{
	uint32_t crc = 0xffff;

	for (size_t i = 0; i < size; i++) {
		uint32_t x = (crc >> 8 ^ data[i]) & 0xff;

		x ^= x >> 4;
		crc = crc << 8 ^ x << 12 ^ x << 5 ^ x;
	}
	return (uint16_t)crc;
}

@end
@if crc32c
/* Returns the CRC-32C, computed with a table for half bytes. */
static inline uint32_t @p@_crc(const uint8_t *data, size_t size)
{
	static const uint32_t table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
		0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

@end
@if check
/* Returns the number that the checksum is XORed with. It identifies the schema and version, so that
 * a receiver rejects frames of a sender that has another schema. */
static inline @check_t@ @p@_seed(uint32_t version)
{
@seed@
}

static inline uint8_t *@p@_put_check(const uint8_t *frame, uint8_t *at, uint32_t version)
{
	@check_t@ crc = @p@_crc(frame, (size_t)(at - frame));

	return @p@_put(at, @P@_CHECK_SIZE, (uint64_t)crc ^ @p@_seed(version));
}

@end
@if cobs
/* Encodes the bytes from `from` to `end` by COBS into `out`, and appends a zero. `out` must start
 * so far before `from` that no byte is overwritten before it is read. */
static inline uint8_t *@p@_stuff(uint8_t *out, const uint8_t *from, const uint8_t *end)
{
	uint8_t *code = out++;

	for (*code = 1; from < end; from++) {
		/* A run has at most 254 bytes. No zero follows a run of this length. */
		if (*code == 0xff) {
			code = out++;
			*code = 1;
		}
		if (*from == 0) {
			code = out++;
			*code = 1;
		} else {
			*out++ = *from;
			++*code;
		}
	}
	*out++ = 0;
	return out;
}

@end
"""

_RECEIVER = """
@if check
/* Returns the seed for which the checksum of a frame is correct. */
static inline @check_t@ @p@_seed_of(const uint8_t *frame, size_t size)
{
	size_t checked = size - (size_t)@P@_CHECK_SIZE;

	return (@check_t@)(@p@_crc(frame, checked) ^ @p@_get(frame + checked, @P@_CHECK_SIZE));
}

@end
@if cobs
/* Decodes a complete frame, whose COBS encoding is removed already: checks its header and checksum,
 * and decodes its body. */
@else
/* Decodes a complete frame: checks its header and checksum, and decodes its body. */
@end
static inline bool @p@_decode_frame(const uint8_t *frame, size_t size, enum @p@_end sender,
	uint32_t version, struct @p@_header *header, union @p@_body *body,
	struct @p@_fault_at *fault)
{
@if stream
	(void)size;
	if (!@p@_decode_header(frame, sender, version, header, fault))
		return false;
@else
	if (!@p@_decode_header(frame, size, sender, version, header, fault))
		return false;
@end
@if check
	if (@p@_seed_of(frame, size) != @p@_seed(version))
		return @p@_fail(fault, @P@_FAULT_BAD_CHECK, size - (size_t)@P@_CHECK_SIZE,
			0);
@end
	return @p@_decode_body(header, frame + @P@_HEADER_SIZE, version, body, fault);
}

/* A receiver of frames from `sender`. `header` and `body` belong to the last valid frame, and
 * `fault` to the last bad frame. Counters never decrease. Byte counts are those on the wire. */
struct @p@_receiver {
	enum @p@_end sender;
	uint32_t version; /* the caller may change it between two frames */
	struct @p@_header header;
	union @p@_body body;
	struct @p@_fault_at fault;
	uint32_t frames; /* number of valid frames */
	uint32_t bad; /* number of bad frames; a run of bytes without any frame counts as one */
	uint32_t skipped; /* number of bytes that were rejected */
@if check
	uint32_t foreign; /* number of bad frames that seem to be of a sender with another schema */
	@check_t@ seed; /* the seed for which the last checksum was correct */
@end
@if sequence
	uint32_t lost; /* number of frames that are missing between the received sequence numbers */
	bool numbered;
	uint8_t next;
@end
@if cobs
	uint8_t *frame;
	size_t room;
	size_t size; /* exceeds `room` if the frame is too long */
	size_t wire;
	uint8_t left; /* number of bytes that the current run still lacks */
	bool zero; /* true if a zero follows the run */
@end
@if stream
	uint8_t *frame;
	size_t room;
	size_t start; /* offset of the first byte that may begin a frame */
	size_t end; /* offset behind the last received byte */
	size_t need; /* number of bytes that the next step of decoding needs */
	size_t taken; /* size of the last frame that was returned */
	bool searching; /* true after bytes that belong to no frame */
@end
};

@if datagram
/* Initializes a receiver of datagrams from `sender`. */
static inline void @p@_receiver_init(struct @p@_receiver *r, enum @p@_end sender, uint32_t version)
@else
/* Initializes a receiver of frames from `sender`. `frame` must have room for the longest of them:
 * @P@_ROOM_FROM_SENDER bytes, where SENDER is the name of that end. */
static inline void @p@_receiver_init(struct @p@_receiver *r, enum @p@_end sender, uint32_t version,
	uint8_t *frame)
@end
{
	r->sender = sender;
	r->version = version;
	r->fault.fault = @P@_FAULT_NONE;
	r->frames = r->bad = r->skipped = 0;
@if check
	r->foreign = 0;
	r->seed = @p@_seed(version);
@end
@if sequence
	r->lost = 0;
	r->numbered = false;
@end
@if cobs stream
	r->frame = frame;
	r->room = (size_t)(sender == @P@_@FIRST@ ?
		@P@_ROOM_FROM_@FIRST@ : @P@_ROOM_FROM_@SECOND@);
@end
@if cobs
	r->size = r->wire = 0;
	r->left = 0;
	r->zero = false;
@end
@if stream
	r->start = r->end = r->taken = 0;
	r->need = @P@_HEADER_SIZE;
	r->searching = false;
@end
}

static inline bool @p@_accept(struct @p@_receiver *r)
{
@if sequence
	uint8_t gap = r->numbered ? (uint8_t)(r->header.sequence - r->next) : 0;

	/* A lower number belongs to a datagram that arrived out of order. */
	if (gap < 128) {
		r->lost += gap;
		r->next = (uint8_t)(r->header.sequence + 1);
		r->numbered = true;
	}
@end
@if check
	r->seed = @p@_seed(r->version);
@end
	r->frames++;
	return true;
}

@if check
/* Returns true, and counts the frame as foreign, if its wrong checksum is correct for the same seed
 * as that of the frame before. Frames of a sender with another schema have the same seed; two
 * damaged frames hardly ever have. */
static inline bool @p@_is_foreign(struct @p@_receiver *r, const uint8_t *frame, size_t size)
{
	@check_t@ seed = @p@_seed_of(frame, size);
	bool again = r->seed == seed;

	r->seed = seed;
	r->foreign += again;
	return again;
}

@end
@if cobs datagram
/* Decodes and counts a complete frame, which had `wire` bytes on the wire. Returns true if it is
 * valid. */
static inline bool @p@_ended(struct @p@_receiver *r, const uint8_t *frame, size_t size, size_t wire)
{
	if (@p@_decode_frame(frame, size, r->sender, r->version, &r->header, &r->body, &r->fault))
		return @p@_accept(r);
	r->bad++;
	r->skipped += (uint32_t)wire;
@if check
	if (r->fault.fault == @P@_FAULT_BAD_CHECK)
		@p@_is_foreign(r, frame, size);
@end
	return false;
}

@end
@if datagram
/* Decodes a datagram. Returns true if it is a valid message. Its slices point into `frame`. */
static inline bool @p@_receive(struct @p@_receiver *r, const uint8_t *frame, size_t size)
{
	return @p@_ended(r, frame, size, size);
}
@end
@if cobs
static inline void @p@_store(struct @p@_receiver *r, uint8_t byte)
{
	if (r->size < r->room)
		r->frame[r->size] = byte;
	if (r->size <= r->room)
		r->size++;
}

/* Processes the zero at the end of a frame. Zeros that follow another zero have no effect. */
static inline bool @p@_end_frame(struct @p@_receiver *r)
{
	size_t size = r->size, wire = r->wire + 1;
	bool whole = r->left == 0 || size > r->room;

	r->size = r->wire = 0;
	r->left = 0;
	r->zero = false;
	if (wire == 1)
		return false;
	/* If the frame is too long, its header is rejected, so nothing behind the header is read. */
	if (whole)
		return @p@_ended(r, r->frame, size, wire);
	r->bad++;
	r->skipped += (uint32_t)wire;
	return @p@_fail(&r->fault, @P@_FAULT_BAD_STUFFING, 0, 0);
}

/* Processes the next byte. Returns true if it completes a message, which remains valid until the
 * next call. */
static inline bool @p@_receive(struct @p@_receiver *r, uint8_t byte)
{
	if (byte == 0)
		return @p@_end_frame(r);
	r->wire++;
	if (r->left > 0) {
		r->left--;
		@p@_store(r, byte);
		return false;
	}
	if (r->zero)
		@p@_store(r, 0);
	r->left = (uint8_t)(byte - 1);
	r->zero = byte != 0xff;
	return false;
}
@end
@if stream
/* Skips bytes that do not form a frame, because of `fault`. A run of such bytes counts as one bad
 * frame. */
static inline void @p@_skip(struct @p@_receiver *r, size_t size, const struct @p@_fault_at *fault)
{
	if (!r->searching) {
		r->bad++;
		r->fault = *fault;
	}
	r->start += size;
	r->skipped += (uint32_t)size;
	r->searching = true;
}

/* Decodes the frame at `start`. Returns true if it is valid, or else skips it. */
static inline bool @p@_take_frame(struct @p@_receiver *r, const uint8_t *frame, size_t size)
{
	struct @p@_fault_at fault = { @P@_FAULT_NONE, 0, 0 };

	if (@p@_decode_frame(frame, size, r->sender, r->version, &r->header, &r->body, &fault)) {
		r->searching = false;
		r->taken = size;
		return @p@_accept(r);
	}
@if check
	if (fault.fault == @P@_FAULT_BAD_CHECK && !@p@_is_foreign(r, frame, size)) {
		@p@_skip(r, 1, &fault);
		return false;
	}
	/* The checksum shows that this frame ends here, although its content is not valid. */
	r->searching = false;
	@p@_skip(r, size, &fault);
	r->searching = false;
@else
	@p@_skip(r, r->end - r->start, &fault);
@end
	return false;
}

/* Decodes the next message among the bytes received so far. Returns true if there is one. */
static inline bool @p@_receive_more(struct @p@_receiver *r)
{
	r->start += r->taken;
	r->taken = 0;
	while (r->end - r->start >= r->need) {
		const uint8_t *frame = r->frame + r->start;
		struct @p@_fault_at fault;

		if (!@p@_decode_header(frame, r->sender, r->version, &r->header, &fault)) {
@if check
			@p@_skip(r, 1, &fault);
@else
			@p@_skip(r, r->end - r->start, &fault);
@end
			continue;
		}
		r->need = (size_t)(@P@_HEADER_SIZE + r->header.body_length + @P@_CHECK_SIZE);
		if (r->end - r->start < r->need)
			return false;
		if (@p@_take_frame(r, frame, r->need)) {
			r->need = @P@_HEADER_SIZE;
			return true;
		}
		r->need = @P@_HEADER_SIZE;
	}
	return false;
}

@if check
/* Processes the next byte. Returns true if a message is complete, which remains valid until the
 * next call. Then call @p@_receive_more until it returns false: there may be more messages. */
@else
/* Processes the next byte. Returns true if it completes a message, which remains valid until the
 * next call. After a bad frame all further bytes are skipped. */
@end
static inline bool @p@_receive(struct @p@_receiver *r, uint8_t byte)
{
@if none
	if (r->searching) {
		r->skipped++;
		return false;
	}
@end
	r->start += r->taken;
	r->taken = 0;
	if (r->end == r->room) {
		r->end -= r->start;
		@p@_put_bytes(r->frame, r->frame + r->start, (uint32_t)r->end);
		r->start = 0;
	}
	r->frame[r->end++] = byte;
	return @p@_receive_more(r);
}
@end
"""
