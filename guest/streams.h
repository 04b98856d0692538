/* The wire protocol of streams, version 1. Generated from streams.toml by `microvm-proto gen`.
 * This header needs C99 or C++11, or later, and string.h. It allocates no memory. It keeps no
 * state. Decoders check every value against its bounds. Decoded slices point into the frame, so
 * keep the frame while you use them. */
#ifndef STREAMS_PROTOCOL_H
#define STREAMS_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define STREAMS_VERSION 1u
#define STREAMS_SCHEMA_DIGEST 0x85953a5d38ecc0c1ULL

/* The path by which root executes the guest's program. PID 1 keeps the program open, so the path
 * works whatever the root file system contains. */
#define STREAMS_PROGRAM "/proc/1/fd/6"
/* Maximum number of streams at a time. While so many exist, the guest refuses `connect` with
 * EMFILE, and accepts no client. A stream counts until the guest has sent all of its data to the
 * server or client. */
#define STREAMS_MAX_STREAMS 256
/* Maximum number of listeners at a time. While so many exist, the guest refuses `listen` with
 * EMFILE. */
#define STREAMS_MAX_LISTENERS 16

/* The two ends of a connection. The sender of a message is one of them, or both. */
enum streams_end {
	STREAMS_HOST = 1,
	STREAMS_GUEST = 2,
	STREAMS_BOTH = 3,
};

/* Reasons for which a frame is rejected; 0 means that it is valid. */
enum streams_fault {
	STREAMS_FAULT_NONE = 0,
	/* No message has this type. */
	STREAMS_FAULT_UNKNOWN_TYPE = 1,
	/* Only the other side may send this message. */
	STREAMS_FAULT_BAD_DIRECTION = 2,
	/* The header's flags are not 0. */
	STREAMS_FAULT_RESERVED_FLAGS = 3,
	/* The id is 0 but the message needs one, or not 0 but the message has none. */
	STREAMS_FAULT_BAD_ID = 4,
	/* The body is longer than this message's maximum. */
	STREAMS_FAULT_BODY_TOO_LONG = 5,
	/* A field, or the length of a field, extends beyond the body. */
	STREAMS_FAULT_TRUNCATED = 6,
	/* A value of variable length is longer than its bound. */
	STREAMS_FAULT_TOO_LONG = 7,
	/* A list has more items than its bound. */
	STREAMS_FAULT_TOO_MANY = 8,
	/* The items of a list, with their lengths, exceed its total bound. */
	STREAMS_FAULT_TOTAL_TOO_LONG = 9,
	/* A value is not among those that its field allows. */
	STREAMS_FAULT_UNKNOWN_VALUE = 10,
	/* A value that must not contain a NUL byte contains one. */
	STREAMS_FAULT_EMBEDDED_NUL = 11,
	/* The body continues after its last field. */
	STREAMS_FAULT_TRAILING_BYTES = 12,
	/* Text is not valid UTF-8. */
	STREAMS_FAULT_NOT_UTF8 = 13,
	/* A float that must be finite is a NaN or an infinity. */
	STREAMS_FAULT_NOT_FINITE = 14,
	/* The frame's check is wrong. */
	STREAMS_FAULT_BAD_CHECK = 15,
	/* The bytes between two delimiters are not a stuffed frame. */
	STREAMS_FAULT_BAD_STUFFING = 16,
};

/* The types of messages. */
enum streams_type {
	/* Asks the guest to connect to a server. */
	STREAMS_TYPE_CONNECT = 1,
	/* The guest has connected to the server. */
	STREAMS_TYPE_CONNECTED = 2,
	/* The guest cannot connect to the server. */
	STREAMS_TYPE_REFUSED = 3,
	/* Bytes of the stream. The frame has at most 64 KiB, including the header. */
	STREAMS_TYPE_DATA = 4,
	/* Allows the other side to send more data. */
	STREAMS_TYPE_CREDIT = 5,
	/* The sender sends no more data. */
	STREAMS_TYPE_EOF = 6,
	/* The sender has closed the stream, and drops its data. */
	STREAMS_TYPE_RESET = 7,
	/* Asks the guest to open a listener, whose id is in the header. */
	STREAMS_TYPE_LISTEN = 8,
	/* The guest has opened the listener. */
	STREAMS_TYPE_LISTENING = 9,
	/* The guest cannot open the listener. */
	STREAMS_TYPE_NOT_LISTENING = 10,
	/* Asks the guest to accept the next client of a listener. The id in the header becomes the id
	 * of the client's stream. */
	STREAMS_TYPE_ACCEPT = 11,
	/* The guest has accepted a client. */
	STREAMS_TYPE_ACCEPTED = 12,
	/* The guest has accepted no client, because the listener is closed or because of an error. */
	STREAMS_TYPE_NOT_ACCEPTED = 13,
};

/* Returns the name of a fault, or "unknown" if no fault has this number. */
static inline const char *streams_fault_name(enum streams_fault fault)
{
	switch (fault) {
	case STREAMS_FAULT_NONE:
		return "none";
	case STREAMS_FAULT_UNKNOWN_TYPE:
		return "unknown_type";
	case STREAMS_FAULT_BAD_DIRECTION:
		return "bad_direction";
	case STREAMS_FAULT_RESERVED_FLAGS:
		return "reserved_flags";
	case STREAMS_FAULT_BAD_ID:
		return "bad_id";
	case STREAMS_FAULT_BODY_TOO_LONG:
		return "body_too_long";
	case STREAMS_FAULT_TRUNCATED:
		return "truncated";
	case STREAMS_FAULT_TOO_LONG:
		return "too_long";
	case STREAMS_FAULT_TOO_MANY:
		return "too_many";
	case STREAMS_FAULT_TOTAL_TOO_LONG:
		return "total_too_long";
	case STREAMS_FAULT_UNKNOWN_VALUE:
		return "unknown_value";
	case STREAMS_FAULT_EMBEDDED_NUL:
		return "embedded_nul";
	case STREAMS_FAULT_TRAILING_BYTES:
		return "trailing_bytes";
	case STREAMS_FAULT_NOT_UTF8:
		return "not_utf8";
	case STREAMS_FAULT_NOT_FINITE:
		return "not_finite";
	case STREAMS_FAULT_BAD_CHECK:
		return "bad_check";
	case STREAMS_FAULT_BAD_STUFFING:
		return "bad_stuffing";
	}
	return "unknown";
}

/* Returns the name of a message, or "unknown" if no message has this number. */
static inline const char *streams_message_name(uint16_t type)
{
	switch (type) {
	case STREAMS_TYPE_CONNECT:
		return "connect";
	case STREAMS_TYPE_CONNECTED:
		return "connected";
	case STREAMS_TYPE_REFUSED:
		return "refused";
	case STREAMS_TYPE_DATA:
		return "data";
	case STREAMS_TYPE_CREDIT:
		return "credit";
	case STREAMS_TYPE_EOF:
		return "eof";
	case STREAMS_TYPE_RESET:
		return "reset";
	case STREAMS_TYPE_LISTEN:
		return "listen";
	case STREAMS_TYPE_LISTENING:
		return "listening";
	case STREAMS_TYPE_NOT_LISTENING:
		return "not_listening";
	case STREAMS_TYPE_ACCEPT:
		return "accept";
	case STREAMS_TYPE_ACCEPTED:
		return "accepted";
	case STREAMS_TYPE_NOT_ACCEPTED:
		return "not_accepted";
	}
	return "unknown";
}

/* Sizes are in bytes; bounds of lists are numbers of items. MAX_TAILLESS_BODY is the largest
 * body of the messages without a tail, most of which are small. */
enum {
	STREAMS_HEADER_SIZE = 12,
	STREAMS_MAX_BODY = 65524,
	STREAMS_MAX_BODY_FROM_HOST = 65524,
	STREAMS_MAX_TAILLESS_BODY_FROM_HOST = 117,
	STREAMS_MAX_BODY_FROM_GUEST = 65524,
	STREAMS_MAX_TAILLESS_BODY_FROM_GUEST = 4,
	STREAMS_CONNECT_MAX_BODY = 117,
	STREAMS_CONNECT_PATH_MAX = 107,
	STREAMS_CONNECTED_MAX_BODY = 4,
	STREAMS_REFUSED_MAX_BODY = 4,
	STREAMS_DATA_MAX_BODY = 65524,
	STREAMS_DATA_DATA_MAX = 65524,
	STREAMS_DATA_DATA_PREFIX = 0,
	STREAMS_CREDIT_MAX_BODY = 4,
	STREAMS_EOF_MAX_BODY = 0,
	STREAMS_RESET_MAX_BODY = 0,
	STREAMS_LISTEN_MAX_BODY = 2,
	STREAMS_LISTENING_MAX_BODY = 2,
	STREAMS_NOT_LISTENING_MAX_BODY = 4,
	STREAMS_ACCEPT_MAX_BODY = 8,
	STREAMS_ACCEPTED_MAX_BODY = 4,
	STREAMS_NOT_ACCEPTED_MAX_BODY = 4,
};

/* Bytes inside a frame. They are not terminated by a NUL. */
struct streams_slice {
	const uint8_t *data;
	uint32_t size;
};

/* The encoded items of a list inside a frame. An item of variable size is preceded by its length;
 * `size` is the number of bytes of all items and lengths. */
struct streams_list {
	const uint8_t *items;
	uint32_t size;
	uint32_t count;
};

static inline struct streams_slice streams_no_slice(void)
{
	const struct streams_slice none = { NULL, 0 };

	return none;
}

static inline struct streams_list streams_no_list(void)
{
	const struct streams_list none = { NULL, 0, 0 };

	return none;
}

struct streams_header {
	uint32_t body_length;
	uint16_t type;
	uint16_t flags;
	uint32_t id;
};

/* The reason for which decoding failed, the offset of the error from the start of the frame, and
 * the number of the field, counted from 1, or 0 for the header. */
struct streams_fault_at {
	enum streams_fault fault;
	uint32_t offset;
	uint8_t field;
};

/* Asks the guest to connect to a server. */
struct streams_connect {
	/* Number of bytes that the guest may send before it gets more credit. */
	uint32_t credit;
	/* The TCP port to connect to, first at the address 127.0.0.1 and then at ::1. Ignored if there
	 * is a path. */
	uint16_t port;
	/* The path of the Unix socket to connect to; empty for a TCP port. */
	struct streams_slice path;
};

/* The guest has connected to the server. */
struct streams_connected {
	/* Number of bytes that the host may send before it gets more credit. */
	uint32_t credit;
};

/* The guest cannot connect to the server. */
struct streams_refused {
	/* The `errno`, as Linux numbers it. For a TCP port, it is that of 127.0.0.1. */
	uint32_t error_number;
};

/* Bytes of the stream. The frame has at most 64 KiB, including the header. */
struct streams_data {
	/* The next bytes of the stream. */
	struct streams_slice data;
};

/* Allows the other side to send more data. */
struct streams_credit {
	/* Number of further bytes that the other side may send. */
	uint32_t amount;
};

/* Asks the guest to open a listener, whose id is in the header. */
struct streams_listen {
	/* The TCP port of the listener; 0 lets the guest choose a free port. */
	uint16_t port;
};

/* The guest has opened the listener. */
struct streams_listening {
	/* The TCP port of the listener. */
	uint16_t port;
};

/* The guest cannot open the listener. */
struct streams_not_listening {
	/* The `errno`, as Linux numbers it. */
	uint32_t error_number;
};

/* Asks the guest to accept the next client of a listener. The id in the header becomes the id of
 * the client's stream. */
struct streams_accept {
	/* Number of bytes that the guest may send before it gets more credit. */
	uint32_t credit;
	/* The id of the listener. */
	uint32_t listener;
};

/* The guest has accepted a client. */
struct streams_accepted {
	/* Number of bytes that the host may send before it gets more credit. */
	uint32_t credit;
};

/* The guest has accepted no client, because the listener is closed or because of an error. */
struct streams_not_accepted {
	/* The `errno`, as Linux numbers it. It is EINVAL if the listener does not exist, or if another
	 * `accept` waits at it. */
	uint32_t error_number;
};

/* The body of any message. */
union streams_body {
	struct streams_connect connect;
	struct streams_connected connected;
	struct streams_refused refused;
	struct streams_data data;
	struct streams_credit credit;
	struct streams_listen listen;
	struct streams_listening listening;
	struct streams_not_listening not_listening;
	struct streams_accept accept;
	struct streams_accepted accepted;
	struct streams_not_accepted not_accepted;
};

static inline uint64_t streams_get(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

static inline uint8_t *streams_put(uint8_t *at, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
	return at + size;
}

/* Copies `size` bytes to `at`, and returns the end of the copy. Does not copy if `data` is `at`, so
 * that a program can read a tail directly into its frame. */
static inline uint8_t *streams_put_bytes(uint8_t *at, const uint8_t *data, uint32_t size)
{
	if (size > 0 && data != at)
		memmove(at, data, (size_t)size);
	return at + size;
}

static inline void streams_put_header(uint8_t *out, const uint8_t *end, uint16_t type, uint32_t id)
{
	size_t body = (size_t)(end - out) - (size_t)STREAMS_HEADER_SIZE;

	streams_put(out, 4, body);
	streams_put(out + 4, 2, type);
	streams_put(out + 6, 2, 0);
	streams_put(out + 8, 4, id);
}

static inline bool streams_fail(struct streams_fault_at *at, enum streams_fault fault, size_t offset,
	uint8_t field)
{
	at->fault = fault;
	at->offset = (uint32_t)offset;
	at->field = field;
	return false;
}

/* The state of decoding a body. The offset `at` never exceeds `size`. */
struct streams_cursor {
	const uint8_t *body;
	size_t size;
	size_t at;
	struct streams_fault_at *fault;
};

static inline bool streams_refuse(const struct streams_cursor *cursor, enum streams_fault fault, size_t at,
	uint8_t field)
{
	return streams_fail(cursor->fault, fault, STREAMS_HEADER_SIZE + at, field);
}

static inline bool streams_take(struct streams_cursor *cursor, uint8_t field, unsigned size,
	uint64_t *value)
{
	if (cursor->size - cursor->at < size)
		return streams_refuse(cursor, STREAMS_FAULT_TRUNCATED, cursor->at, field);
	*value = streams_get(cursor->body + cursor->at, size);
	cursor->at += size;
	return true;
}

#define STREAMS_DEFINE_TAKE(name, type, size) \
	static inline bool streams_take_##name(struct streams_cursor *cursor, uint8_t field, type *out) \
	{ \
		uint64_t value; \
		if (!streams_take(cursor, field, size, &value)) \
			return false; \
		*out = (type)value; \
		return true; \
	}
STREAMS_DEFINE_TAKE(u8, uint8_t, 1)
STREAMS_DEFINE_TAKE(u16, uint16_t, 2)
STREAMS_DEFINE_TAKE(u32, uint32_t, 4)
STREAMS_DEFINE_TAKE(u64, uint64_t, 8)
STREAMS_DEFINE_TAKE(i8, int8_t, 1)
STREAMS_DEFINE_TAKE(i16, int16_t, 2)
STREAMS_DEFINE_TAKE(i32, int32_t, 4)
STREAMS_DEFINE_TAKE(i64, int64_t, 8)
STREAMS_DEFINE_TAKE(length, uint32_t, 4)
#undef STREAMS_DEFINE_TAKE

/* Reports an unknown value if `known` is false. The value is the last `size` bytes that were read.
 * Returns `known`. */
static inline bool streams_known(const struct streams_cursor *cursor, uint8_t field, unsigned size,
	bool known)
{
	if (!known)
		streams_refuse(cursor, STREAMS_FAULT_UNKNOWN_VALUE, cursor->at - size, field);
	return known;
}

static inline bool streams_take_constant(struct streams_cursor *cursor, uint8_t field, unsigned size,
	uint64_t expected)
{
	uint64_t value;

	return streams_take(cursor, field, size, &value) &&
		streams_known(cursor, field, size, value == expected);
}

static inline bool streams_no_nul(const struct streams_cursor *cursor, uint8_t field,
	const struct streams_slice *slice)
{
	for (uint32_t i = 0; i < slice->size; i++)
		if (slice->data[i] == 0)
			return streams_refuse(cursor, STREAMS_FAULT_EMBEDDED_NUL,
				(size_t)(slice->data - cursor->body) + (size_t)i, field);
	return true;
}

static inline bool streams_take_bytes(struct streams_cursor *cursor, uint8_t field, uint32_t max,
	bool nul, struct streams_slice *out)
{
	size_t prefix = cursor->at;

	if (!streams_take_length(cursor, field, &out->size))
		return false;
	if (out->size > max)
		return streams_refuse(cursor, STREAMS_FAULT_TOO_LONG, prefix, field);
	if (out->size > cursor->size - cursor->at)
		return streams_refuse(cursor, STREAMS_FAULT_TRUNCATED, cursor->at, field);
	out->data = cursor->body + cursor->at;
	cursor->at += (size_t)out->size;
	return nul || streams_no_nul(cursor, field, out);
}

static inline bool streams_take_count(struct streams_cursor *cursor, uint8_t field, uint32_t max_items,
	struct streams_list *out)
{
	size_t prefix = cursor->at;

	if (!streams_take_length(cursor, field, &out->count))
		return false;
	if (out->count > max_items)
		return streams_refuse(cursor, STREAMS_FAULT_TOO_MANY, prefix, field);
	out->items = cursor->body + cursor->at;
	return true;
}

static inline bool streams_take_list(struct streams_cursor *cursor, uint8_t field, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul, struct streams_list *out)
{
	if (!streams_take_count(cursor, field, max_items, out))
		return false;
	size_t start = cursor->at;
	for (uint32_t i = 0; i < out->count; i++) {
		struct streams_slice item;
		size_t before = cursor->at;

		if (!streams_take_bytes(cursor, field, max_item, nul, &item))
			return false;
		if (cursor->at - start > max_total)
			return streams_refuse(cursor, STREAMS_FAULT_TOTAL_TOO_LONG, before, field);
	}
	out->size = (uint32_t)(cursor->at - start);
	return true;
}

/* Returns the item at `*at` of a decoded list, and advances `*at` to the next item. */
static inline struct streams_slice streams_next(const uint8_t **at)
{
	struct streams_slice item = { *at + 4, (uint32_t)streams_get(*at, 4) };

	*at += 4 + item.size;
	return item;
}

static inline bool streams_take_tail(struct streams_cursor *cursor, uint8_t field, uint32_t max,
	struct streams_slice *out)
{
	size_t left = cursor->size - cursor->at;

	if (left > max)
		return streams_refuse(cursor, STREAMS_FAULT_TOO_LONG, cursor->at, field);
	out->data = cursor->body + cursor->at;
	out->size = (uint32_t)left;
	cursor->at = cursor->size;
	return true;
}

static inline bool streams_end(const struct streams_cursor *cursor)
{
	if (cursor->at != cursor->size)
		streams_refuse(cursor, STREAMS_FAULT_TRAILING_BYTES, cursor->at, 0);
	return cursor->at == cursor->size;
}

/* A rule for the header of a message. It applies to all versions from `since` on, up to
 * the next rule for the same type. */
struct streams_rule {
	uint16_t type;
	uint8_t sender;
	uint8_t id; /* 0: must be zero, 1: must not be zero, 2: any */
	uint32_t since;
	uint32_t max_body;
};

static const struct streams_rule streams_rules[] = {
	{ STREAMS_TYPE_CONNECT, STREAMS_HOST, 1, 1, 117 },
	{ STREAMS_TYPE_CONNECTED, STREAMS_GUEST, 1, 1, 4 },
	{ STREAMS_TYPE_REFUSED, STREAMS_GUEST, 1, 1, 4 },
	{ STREAMS_TYPE_DATA, STREAMS_BOTH, 1, 1, 65524 },
	{ STREAMS_TYPE_CREDIT, STREAMS_BOTH, 1, 1, 4 },
	{ STREAMS_TYPE_EOF, STREAMS_BOTH, 1, 1, 0 },
	{ STREAMS_TYPE_RESET, STREAMS_BOTH, 1, 1, 0 },
	{ STREAMS_TYPE_LISTEN, STREAMS_HOST, 1, 1, 2 },
	{ STREAMS_TYPE_LISTENING, STREAMS_GUEST, 1, 1, 2 },
	{ STREAMS_TYPE_NOT_LISTENING, STREAMS_GUEST, 1, 1, 4 },
	{ STREAMS_TYPE_ACCEPT, STREAMS_HOST, 1, 1, 8 },
	{ STREAMS_TYPE_ACCEPTED, STREAMS_GUEST, 1, 1, 4 },
	{ STREAMS_TYPE_NOT_ACCEPTED, STREAMS_GUEST, 1, 1, 4 },
	{ 0, 0, 0, 0, 0 },
};

/* Returns the newest rule for a type that applies to `version`, or NULL if there is none. */
static inline const struct streams_rule *streams_find_rule(uint32_t version, uint16_t type)
{
	const struct streams_rule *found = NULL;

	for (const struct streams_rule *rule = streams_rules; rule->type; rule++)
		if (rule->type == type && rule->since <= version)
			found = rule;
	return found;
}

/* Reads the header of a frame from `sender`, and checks everything that needs no body.
 * `version`, here and below, is the version that both sides agreed on. */
static inline bool streams_decode_header(const uint8_t *frame, enum streams_end sender, uint32_t version,
	struct streams_header *header, struct streams_fault_at *fault)
{
	header->body_length = (uint32_t)streams_get(frame, 4);
	header->type = (uint16_t)streams_get(frame + 4, 2);
	header->flags = (uint16_t)streams_get(frame + 6, 2);
	header->id = (uint32_t)streams_get(frame + 8, 4);
	const struct streams_rule *rule = streams_find_rule(version, header->type);
	if (!rule)
		return streams_fail(fault, STREAMS_FAULT_UNKNOWN_TYPE, 4, 0);
	if (!(rule->sender & sender))
		return streams_fail(fault, STREAMS_FAULT_BAD_DIRECTION, 4, 0);
	if (header->flags)
		return streams_fail(fault, STREAMS_FAULT_RESERVED_FLAGS, 6, 0);
	if ((rule->id == 1 && header->id == 0) || (rule->id == 0 && header->id != 0))
		return streams_fail(fault, STREAMS_FAULT_BAD_ID, 8, 0);
	if (header->body_length > rule->max_body)
		return streams_fail(fault, STREAMS_FAULT_BODY_TOO_LONG, 0, 0);
	return true;
}

static inline bool streams_decode_connect(const uint8_t *body, size_t size,
	uint32_t version, struct streams_connect *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_u32(&cursor, 1, &message->credit) &&
		streams_take_u16(&cursor, 2, &message->port) &&
		streams_take_bytes(&cursor, 3, 107, false, &message->path) &&
		streams_end(&cursor);
}

static inline bool streams_decode_connected(const uint8_t *body, size_t size,
	uint32_t version, struct streams_connected *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_u32(&cursor, 1, &message->credit) &&
		streams_end(&cursor);
}

static inline bool streams_decode_refused(const uint8_t *body, size_t size,
	uint32_t version, struct streams_refused *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_u32(&cursor, 1, &message->error_number) &&
		streams_end(&cursor);
}

static inline bool streams_decode_data(const uint8_t *body, size_t size,
	uint32_t version, struct streams_data *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_tail(&cursor, 1, 65524, &message->data);
}

static inline bool streams_decode_credit(const uint8_t *body, size_t size,
	uint32_t version, struct streams_credit *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_u32(&cursor, 1, &message->amount) &&
		streams_end(&cursor);
}

static inline bool streams_decode_eof(const uint8_t *body, size_t size,
	uint32_t version, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_end(&cursor);
}

static inline bool streams_decode_reset(const uint8_t *body, size_t size,
	uint32_t version, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_end(&cursor);
}

static inline bool streams_decode_listen(const uint8_t *body, size_t size,
	uint32_t version, struct streams_listen *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_u16(&cursor, 1, &message->port) &&
		streams_end(&cursor);
}

static inline bool streams_decode_listening(const uint8_t *body, size_t size,
	uint32_t version, struct streams_listening *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_u16(&cursor, 1, &message->port) &&
		streams_end(&cursor);
}

static inline bool streams_decode_not_listening(const uint8_t *body, size_t size,
	uint32_t version, struct streams_not_listening *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_u32(&cursor, 1, &message->error_number) &&
		streams_end(&cursor);
}

static inline bool streams_decode_accept(const uint8_t *body, size_t size,
	uint32_t version, struct streams_accept *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_u32(&cursor, 1, &message->credit) &&
		streams_take_u32(&cursor, 2, &message->listener) &&
		streams_end(&cursor);
}

static inline bool streams_decode_accepted(const uint8_t *body, size_t size,
	uint32_t version, struct streams_accepted *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_u32(&cursor, 1, &message->credit) &&
		streams_end(&cursor);
}

static inline bool streams_decode_not_accepted(const uint8_t *body, size_t size,
	uint32_t version, struct streams_not_accepted *message, struct streams_fault_at *fault)
{
	struct streams_cursor cursor = { body, size, 0, fault };

	(void)version;
	return streams_take_u32(&cursor, 1, &message->error_number) &&
		streams_end(&cursor);
}

/* Decodes the body of a frame whose header streams_decode_header has accepted. */
static inline bool streams_decode_body(const struct streams_header *header, const uint8_t *body,
	uint32_t version, union streams_body *out, struct streams_fault_at *fault)
{
	(void)version;
	(void)out;
	switch (header->type) {
	case STREAMS_TYPE_CONNECT:
		return streams_decode_connect(body, (size_t)header->body_length, version, &out->connect, fault);
	case STREAMS_TYPE_CONNECTED:
		return streams_decode_connected(body, (size_t)header->body_length, version, &out->connected, fault);
	case STREAMS_TYPE_REFUSED:
		return streams_decode_refused(body, (size_t)header->body_length, version, &out->refused, fault);
	case STREAMS_TYPE_DATA:
		return streams_decode_data(body, (size_t)header->body_length, version, &out->data, fault);
	case STREAMS_TYPE_CREDIT:
		return streams_decode_credit(body, (size_t)header->body_length, version, &out->credit, fault);
	case STREAMS_TYPE_EOF:
		return streams_decode_eof(body, (size_t)header->body_length, version, fault);
	case STREAMS_TYPE_RESET:
		return streams_decode_reset(body, (size_t)header->body_length, version, fault);
	case STREAMS_TYPE_LISTEN:
		return streams_decode_listen(body, (size_t)header->body_length, version, &out->listen, fault);
	case STREAMS_TYPE_LISTENING:
		return streams_decode_listening(body, (size_t)header->body_length, version, &out->listening, fault);
	case STREAMS_TYPE_NOT_LISTENING:
		return streams_decode_not_listening(body, (size_t)header->body_length, version, &out->not_listening, fault);
	case STREAMS_TYPE_ACCEPT:
		return streams_decode_accept(body, (size_t)header->body_length, version, &out->accept, fault);
	case STREAMS_TYPE_ACCEPTED:
		return streams_decode_accepted(body, (size_t)header->body_length, version, &out->accepted, fault);
	case STREAMS_TYPE_NOT_ACCEPTED:
		return streams_decode_not_accepted(body, (size_t)header->body_length, version, &out->not_accepted, fault);
	default:
		(void)body;
		return streams_fail(fault, STREAMS_FAULT_UNKNOWN_TYPE, 4, 0);
	}
}

/* Returns the fault of bytes that must not contain NUL, or FAULT_NONE. */
static inline enum streams_fault streams_check_bytes(const struct streams_slice *bytes, uint32_t max)
{
	struct streams_fault_at at = { STREAMS_FAULT_NONE, 0, 0 };
	const struct streams_cursor cursor = { bytes->data, (size_t)bytes->size, 0, &at };

	if (bytes->size > max)
		return STREAMS_FAULT_TOO_LONG;
	streams_no_nul(&cursor, 0, bytes);
	return at.fault;
}

/* Checks a list, in which a length precedes each item. Returns its fault, or FAULT_NONE. */
static inline enum streams_fault streams_check_list(const struct streams_list *list, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul)
{
	struct streams_fault_at at = { STREAMS_FAULT_NONE, 0, 0 };
	struct streams_cursor cursor = { list->items, (size_t)list->size, 0, &at };
	struct streams_slice item;

	if (list->count > max_items)
		return STREAMS_FAULT_TOO_MANY;
	for (uint32_t i = 0; i < list->count; i++) {
		if (!streams_take_bytes(&cursor, 0, max_item, nul, &item))
			return at.fault;
		if (cursor.at > max_total)
			return STREAMS_FAULT_TOTAL_TOO_LONG;
	}
	streams_end(&cursor);
	return at.fault;
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_connect(uint32_t version, uint32_t id,
	const struct streams_connect *message)
{
	enum streams_fault fault;

	(void)version;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	fault = streams_check_bytes(&message->path, 107);
	if (fault)
		return fault;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_connect finds a fault or the frame does not fit. */
static inline size_t streams_encode_connect(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct streams_connect *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_connect(version, id, message))
		return 0;
	size += 10 + message->path.size;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put(at, 4, (uint64_t)message->credit);
	at = streams_put(at, 2, (uint64_t)message->port);
	at = streams_put(at, 4, message->path.size);
	at = streams_put_bytes(at, message->path.data, message->path.size);
	streams_put_header(out, at, STREAMS_TYPE_CONNECT, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_connected(uint32_t version, uint32_t id,
	const struct streams_connected *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_connected finds a fault or the frame does not fit. */
static inline size_t streams_encode_connected(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct streams_connected *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_connected(version, id, message))
		return 0;
	size += 4;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put(at, 4, (uint64_t)message->credit);
	streams_put_header(out, at, STREAMS_TYPE_CONNECTED, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_refused(uint32_t version, uint32_t id,
	const struct streams_refused *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_refused finds a fault or the frame does not fit. */
static inline size_t streams_encode_refused(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct streams_refused *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_refused(version, id, message))
		return 0;
	size += 4;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put(at, 4, (uint64_t)message->error_number);
	streams_put_header(out, at, STREAMS_TYPE_REFUSED, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_data(uint32_t version, uint32_t id,
	const struct streams_data *message)
{
	(void)version;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	if (message->data.size > 65524)
		return STREAMS_FAULT_TOO_LONG;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_data finds a fault or the frame does not fit. */
static inline size_t streams_encode_data(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct streams_data *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_data(version, id, message))
		return 0;
	size += message->data.size;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put_bytes(at, message->data.data, message->data.size);
	streams_put_header(out, at, STREAMS_TYPE_DATA, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_credit(uint32_t version, uint32_t id,
	const struct streams_credit *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_credit finds a fault or the frame does not fit. */
static inline size_t streams_encode_credit(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct streams_credit *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_credit(version, id, message))
		return 0;
	size += 4;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put(at, 4, (uint64_t)message->amount);
	streams_put_header(out, at, STREAMS_TYPE_CREDIT, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_eof(uint32_t version, uint32_t id)
{
	(void)version;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_eof finds a fault or the frame does not fit. */
static inline size_t streams_encode_eof(uint8_t *out, size_t room, uint32_t version,
	uint32_t id)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_eof(version, id))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	streams_put_header(out, at, STREAMS_TYPE_EOF, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_reset(uint32_t version, uint32_t id)
{
	(void)version;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_reset finds a fault or the frame does not fit. */
static inline size_t streams_encode_reset(uint8_t *out, size_t room, uint32_t version,
	uint32_t id)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_reset(version, id))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	streams_put_header(out, at, STREAMS_TYPE_RESET, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_listen(uint32_t version, uint32_t id,
	const struct streams_listen *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_listen finds a fault or the frame does not fit. */
static inline size_t streams_encode_listen(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct streams_listen *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_listen(version, id, message))
		return 0;
	size += 2;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put(at, 2, (uint64_t)message->port);
	streams_put_header(out, at, STREAMS_TYPE_LISTEN, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_listening(uint32_t version, uint32_t id,
	const struct streams_listening *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_listening finds a fault or the frame does not fit. */
static inline size_t streams_encode_listening(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct streams_listening *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_listening(version, id, message))
		return 0;
	size += 2;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put(at, 2, (uint64_t)message->port);
	streams_put_header(out, at, STREAMS_TYPE_LISTENING, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_not_listening(uint32_t version, uint32_t id,
	const struct streams_not_listening *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_not_listening finds a fault or the frame does not fit. */
static inline size_t streams_encode_not_listening(uint8_t *out, size_t room,
	uint32_t version, uint32_t id, const struct streams_not_listening *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_not_listening(version, id, message))
		return 0;
	size += 4;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put(at, 4, (uint64_t)message->error_number);
	streams_put_header(out, at, STREAMS_TYPE_NOT_LISTENING, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_accept(uint32_t version, uint32_t id,
	const struct streams_accept *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_accept finds a fault or the frame does not fit. */
static inline size_t streams_encode_accept(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct streams_accept *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_accept(version, id, message))
		return 0;
	size += 8;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put(at, 4, (uint64_t)message->credit);
	at = streams_put(at, 4, (uint64_t)message->listener);
	streams_put_header(out, at, STREAMS_TYPE_ACCEPT, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_accepted(uint32_t version, uint32_t id,
	const struct streams_accepted *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_accepted finds a fault or the frame does not fit. */
static inline size_t streams_encode_accepted(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct streams_accepted *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_accepted(version, id, message))
		return 0;
	size += 4;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put(at, 4, (uint64_t)message->credit);
	streams_put_header(out, at, STREAMS_TYPE_ACCEPTED, id);
	return (size_t)(at - out);
}

/* Returns STREAMS_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum streams_fault streams_check_not_accepted(uint32_t version, uint32_t id,
	const struct streams_not_accepted *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return STREAMS_FAULT_BAD_ID;
	return STREAMS_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * streams_check_not_accepted finds a fault or the frame does not fit. */
static inline size_t streams_encode_not_accepted(uint8_t *out, size_t room,
	uint32_t version, uint32_t id, const struct streams_not_accepted *message)
{
	uint32_t size = STREAMS_HEADER_SIZE;

	if (streams_check_not_accepted(version, id, message))
		return 0;
	size += 4;
	if (size > room)
		return 0;
	uint8_t *at = out + STREAMS_HEADER_SIZE;
	at = streams_put(at, 4, (uint64_t)message->error_number);
	streams_put_header(out, at, STREAMS_TYPE_NOT_ACCEPTED, id);
	return (size_t)(at - out);
}

/* Results of the functions that follow conversations, if they do not return a state. */
enum streams_verdict {
	/* The sender may not send this message now. */
	STREAMS_OUT_OF_ORDER = 0,
	/* Drop the message: its sender may not know this state yet. */
	STREAMS_IGNORED = 255,
};

/* The states of `stream`, which begins in the first one. */
enum streams_stream_state {
	/* The host has sent no message with this id or a higher one. */
	STREAMS_STREAM_STATE_NEW = 1,
	/* The guest connects to the server. */
	STREAMS_STREAM_STATE_CONNECTING = 2,
	/* The guest waits for a client of the listener. */
	STREAMS_STREAM_STATE_ACCEPTING = 3,
	/* Both sides can send data. */
	STREAMS_STREAM_STATE_OPEN = 4,
	/* The host sends no more data. Credit that the guest has sent can still arrive. */
	STREAMS_STREAM_STATE_HOST_ENDED = 5,
	/* The guest sends no more data. Credit of the host can still be on its way. */
	STREAMS_STREAM_STATE_GUEST_ENDED = 6,
	/* The guest opens the sockets of the listener. */
	STREAMS_STREAM_STATE_BINDING = 7,
	/* Clients in the guest can connect to the listener. */
	STREAMS_STREAM_STATE_LISTENING = 8,
	/* The stream or listener is closed. Messages that the other side has sent before can still
	 * arrive. */
	STREAMS_STREAM_STATE_CLOSED = 9,
};

/* Returns the state of `stream` that follows a message of `type` from `sender`; STREAMS_IGNORED if
 * its receiver drops the message; or STREAMS_OUT_OF_ORDER. `conditions` are those that hold. */
static inline uint8_t streams_follow_stream(uint8_t state, enum streams_end sender, uint16_t type,
	uint32_t conditions)
{
	(void)conditions;
	if (sender == STREAMS_HOST) {
		switch (type) {
		case STREAMS_TYPE_CONNECT:
			switch (state) {
			case STREAMS_STREAM_STATE_NEW:
				return STREAMS_STREAM_STATE_CONNECTING;
			}
			break;
		case STREAMS_TYPE_DATA:
			switch (state) {
			case STREAMS_STREAM_STATE_OPEN:
			case STREAMS_STREAM_STATE_GUEST_ENDED:
				return state;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_CREDIT:
			switch (state) {
			case STREAMS_STREAM_STATE_OPEN:
			case STREAMS_STREAM_STATE_HOST_ENDED:
				return state;
			case STREAMS_STREAM_STATE_GUEST_ENDED:
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_EOF:
			switch (state) {
			case STREAMS_STREAM_STATE_OPEN:
				return STREAMS_STREAM_STATE_HOST_ENDED;
			case STREAMS_STREAM_STATE_GUEST_ENDED:
				return STREAMS_STREAM_STATE_CLOSED;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_RESET:
			switch (state) {
			case STREAMS_STREAM_STATE_CONNECTING:
			case STREAMS_STREAM_STATE_ACCEPTING:
			case STREAMS_STREAM_STATE_OPEN:
			case STREAMS_STREAM_STATE_HOST_ENDED:
			case STREAMS_STREAM_STATE_GUEST_ENDED:
			case STREAMS_STREAM_STATE_BINDING:
			case STREAMS_STREAM_STATE_LISTENING:
				return STREAMS_STREAM_STATE_CLOSED;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_LISTEN:
			switch (state) {
			case STREAMS_STREAM_STATE_NEW:
				return STREAMS_STREAM_STATE_BINDING;
			}
			break;
		case STREAMS_TYPE_ACCEPT:
			switch (state) {
			case STREAMS_STREAM_STATE_NEW:
				return STREAMS_STREAM_STATE_ACCEPTING;
			}
			break;
		}
	}
	if (sender == STREAMS_GUEST) {
		switch (type) {
		case STREAMS_TYPE_CONNECTED:
			switch (state) {
			case STREAMS_STREAM_STATE_CONNECTING:
				return STREAMS_STREAM_STATE_OPEN;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_REFUSED:
			switch (state) {
			case STREAMS_STREAM_STATE_CONNECTING:
				return STREAMS_STREAM_STATE_CLOSED;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_DATA:
			switch (state) {
			case STREAMS_STREAM_STATE_OPEN:
			case STREAMS_STREAM_STATE_HOST_ENDED:
				return state;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_CREDIT:
			switch (state) {
			case STREAMS_STREAM_STATE_OPEN:
			case STREAMS_STREAM_STATE_GUEST_ENDED:
				return state;
			case STREAMS_STREAM_STATE_HOST_ENDED:
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_EOF:
			switch (state) {
			case STREAMS_STREAM_STATE_OPEN:
				return STREAMS_STREAM_STATE_GUEST_ENDED;
			case STREAMS_STREAM_STATE_HOST_ENDED:
				return STREAMS_STREAM_STATE_CLOSED;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_RESET:
			switch (state) {
			case STREAMS_STREAM_STATE_OPEN:
			case STREAMS_STREAM_STATE_HOST_ENDED:
			case STREAMS_STREAM_STATE_GUEST_ENDED:
				return STREAMS_STREAM_STATE_CLOSED;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_LISTENING:
			switch (state) {
			case STREAMS_STREAM_STATE_BINDING:
				return STREAMS_STREAM_STATE_LISTENING;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_NOT_LISTENING:
			switch (state) {
			case STREAMS_STREAM_STATE_BINDING:
				return STREAMS_STREAM_STATE_CLOSED;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_ACCEPTED:
			switch (state) {
			case STREAMS_STREAM_STATE_ACCEPTING:
				return STREAMS_STREAM_STATE_OPEN;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		case STREAMS_TYPE_NOT_ACCEPTED:
			switch (state) {
			case STREAMS_STREAM_STATE_ACCEPTING:
				return STREAMS_STREAM_STATE_CLOSED;
			case STREAMS_STREAM_STATE_CLOSED:
				return STREAMS_IGNORED;
			}
			break;
		}
	}
	return STREAMS_OUT_OF_ORDER;
}

#endif
