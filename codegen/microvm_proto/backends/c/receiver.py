"""The part of the C header that a schema with a `[framing]` has: checks, stuffing, a receiver."""

from __future__ import annotations

from microvm_proto.schema import Schema
from microvm_proto.variants import for_framing


def seal(schema: Schema) -> str:
    """Write the functions that finish a frame, and those that they share with the receiver."""
    text = _filled(_SEAL, schema)
    older = (
        f"\tif (version < {since})\n\t\treturn {seed:#x};\n" for seed, since in schema.older_seeds
    )
    seed = "".join(older) or "\t(void)version;\n"
    return text.replace("@seed@", f"{seed}\treturn {schema.seed:#x};")


def receiver(schema: Schema) -> str:
    """Write the receiver."""
    text = _filled(_RECEIVER, schema)
    return text.replace("@FIRST@", schema.ends[0].upper()).replace(
        "@SECOND@", schema.ends[1].upper()
    )


def _filled(template: str, schema: Schema) -> str:
    text = for_framing(template, schema.framing)
    return text.replace("@check_t@", f"uint{8 * schema.framing.check_size}_t")


_SEAL = """
@if crc16
/* CRC-16/IBM-3740, without a table. */
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
/* CRC-32C, with a table for half bytes. */
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
/* What a check is XORed with: it stands for all that gives the bytes of a version their meaning. */
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
/* Stuffs the bytes from `from` to `end` into `out`, and ends them with a zero. `out` is so far
 * before `from` that what is written never overtakes what is read. */
static inline uint8_t *@p@_stuff(uint8_t *out, const uint8_t *from, const uint8_t *end)
{
	uint8_t *code = out++;

	for (*code = 1; from < end; from++) {
		/* No zero is behind a run of 254 bytes. */
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
/* The seed for which the check of a frame is right: that of this schema, or of another. */
static inline @check_t@ @p@_seed_of(const uint8_t *frame, size_t size)
{
	size_t checked = size - @P@_CHECK_SIZE;

	return (@check_t@)(@p@_crc(frame, checked) ^ @p@_get(frame + checked, @P@_CHECK_SIZE));
}

@end
@if cobs
/* Decodes a whole frame, unstuffed: its header, its check, its body. */
@else
/* Decodes a whole frame: its header, its check, its body. */
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
		return @p@_fail(fault, @P@_FAULT_BAD_CHECK, size - @P@_CHECK_SIZE, 0);
@end
	return @p@_decode_body(header, frame + @P@_HEADER_SIZE, version, body, fault);
}

/* What one end receives from `sender`; `header` and `body` are of the last frame, and `fault` is of
 * what was refused last. The counts only rise; bytes are those on the wire. */
struct @p@_receiver {
	enum @p@_end sender;
	uint32_t version; /* may be changed between two frames */
	struct @p@_header header;
	union @p@_body body;
	struct @p@_fault_at fault;
	uint32_t frames;
	uint32_t bad; /* frames, or bytes in a row that make none, that were refused */
	uint32_t skipped; /* bytes of all that was refused */
@if check
	uint32_t foreign; /* bad frames whose check was right for the seed of the one before */
	@check_t@ seed; /* for which the last check was right */
@end
@if sequence
	uint32_t lost; /* frames that are missing by the numbers of those that came */
	bool numbered;
	uint8_t next;
@end
@if cobs
	uint8_t *frame;
	size_t room;
	size_t size; /* above `room` when the frame is too long */
	size_t wire;
	uint8_t left; /* bytes of a run that are to come */
	bool zero; /* whether a zero is behind it */
@end
@if stream
	uint8_t *frame;
	size_t room;
	size_t start; /* of what may be a frame; `end` is that of what has come */
	size_t end;
	size_t need; /* bytes without which nothing can be told */
	size_t taken; /* bytes of the frame that was handed on */
	bool searching;
@end
};

@if datagram
/* Makes a receiver of the datagrams of `sender`. */
static inline void @p@_receiver_init(struct @p@_receiver *r, enum @p@_end sender, uint32_t version)
@else
/* Makes a receiver of the frames of `sender`; `frame` has room for the longest of them, which is
 * @P@_ROOM_FROM_ and the name of that end. */
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
	r->room = sender == @P@_@FIRST@ ? @P@_ROOM_FROM_@FIRST@ : @P@_ROOM_FROM_@SECOND@;
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

	/* A number that is behind is that of a datagram which was overtaken. */
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
/* Counts a check that is wrong just as that of the frame before was: what comes from an end with
 * another schema is, what was damaged on its way hardly ever. */
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
/* Counts a frame that has ended, of `wire` bytes. */
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
/* Takes a datagram. True: it is a message, which refers to `frame`. */
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

/* Ends a frame; several zeros in a row end one. */
static inline bool @p@_end_frame(struct @p@_receiver *r)
{
	size_t size = r->size, wire = r->wire + 1;
	bool whole = r->left == 0 || size > r->room;

	r->size = r->wire = 0;
	r->left = 0;
	r->zero = false;
	if (wire == 1)
		return false;
	/* Of one that is too long this sees no more than the header. */
	if (whole)
		return @p@_ended(r, r->frame, size, wire);
	r->bad++;
	r->skipped += (uint32_t)wire;
	return @p@_fail(&r->fault, @P@_FAULT_BAD_STUFFING, 0, 0);
}

/* Takes the next byte. True: it ends a message, which stays until the next one. */
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
/* Drops bytes that make no frame; `fault` is why the first of them in a row do not. */
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

/* Takes the frame at `start`, or drops it, or what is no frame. */
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
	/* It is certain where this frame ends, though not what it says. */
	r->searching = false;
	@p@_skip(r, size, &fault);
	r->searching = false;
@else
	@p@_skip(r, r->end - r->start, &fault);
@end
	return false;
}

/* True: there is another message, which has come with the last byte, too. */
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
		r->need = @P@_HEADER_SIZE + r->header.body_length + @P@_CHECK_SIZE;
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
/* Takes the next byte. True: there is a message, which stays until the next call; and while
 * @p@_receive_more is true, there is another. */
@else
/* Takes the next byte. True: it ends a message, which stays until the next one. The first bad frame
 * is the last: what is behind it is skipped. */
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
