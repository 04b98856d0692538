/* The wire protocol of files, version 1. Generated from files.toml by `microvm-proto gen`. This
 * header needs C99 or C++11, or later, and string.h. It allocates no memory. It keeps no state.
 * Decoders check every value against its bounds. Decoded slices point into the frame, so keep
 * the frame while you use them. */
#ifndef FILES_PROTOCOL_H
#define FILES_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FILES_VERSION 1u
#define FILES_SCHEMA_DIGEST 0x52c933514f360439ULL

/* The path by which root executes the guest's program. PID 1 keeps the program open, so the path
 * works whatever the root file system contains. */
#define FILES_PROGRAM "/proc/1/fd/5"
/* Maximum number of nested folders, including the outermost one. */
#define FILES_MAX_DEPTH 128
/* The value of `mtime` by which an entry gets the time at which it is written. */
#define FILES_NOW (-9223372036854775807LL - 1)

/* The two ends of a connection. The sender of a message is one of them, or both. */
enum files_end {
	FILES_HOST = 1,
	FILES_GUEST = 2,
	FILES_BOTH = 3,
};

/* Reasons for which a frame is rejected; 0 means that it is valid. */
enum files_fault {
	FILES_FAULT_NONE = 0,
	/* No message has this type. */
	FILES_FAULT_UNKNOWN_TYPE = 1,
	/* Only the other side may send this message. */
	FILES_FAULT_BAD_DIRECTION = 2,
	/* The header's flags are not 0. */
	FILES_FAULT_RESERVED_FLAGS = 3,
	/* The id is 0 but the message needs one, or not 0 but the message has none. */
	FILES_FAULT_BAD_ID = 4,
	/* The body is longer than this message's maximum. */
	FILES_FAULT_BODY_TOO_LONG = 5,
	/* A field, or the length of a field, extends beyond the body. */
	FILES_FAULT_TRUNCATED = 6,
	/* A value of variable length is longer than its bound. */
	FILES_FAULT_TOO_LONG = 7,
	/* A list has more items than its bound. */
	FILES_FAULT_TOO_MANY = 8,
	/* The items of a list, with their lengths, exceed its total bound. */
	FILES_FAULT_TOTAL_TOO_LONG = 9,
	/* A value is not among those that its field allows. */
	FILES_FAULT_UNKNOWN_VALUE = 10,
	/* A value that must not contain a NUL byte contains one. */
	FILES_FAULT_EMBEDDED_NUL = 11,
	/* The body continues after its last field. */
	FILES_FAULT_TRAILING_BYTES = 12,
	/* Text is not valid UTF-8. */
	FILES_FAULT_NOT_UTF8 = 13,
	/* A float that must be finite is a NaN or an infinity. */
	FILES_FAULT_NOT_FINITE = 14,
	/* The frame's check is wrong. */
	FILES_FAULT_BAD_CHECK = 15,
	/* The bytes between two delimiters are not a stuffed frame. */
	FILES_FAULT_BAD_STUFFING = 16,
};

/* The types of messages. */
enum files_type {
	/* The request. It is the first message of the host, and the host sends only one. */
	FILES_TYPE_REQUEST = 1,
	/* An entry of a tree: a file, a folder, a link, or anything else that has a name. */
	FILES_TYPE_ENTRY = 2,
	/* Content of the file whose entry was sent last. The frame has at most 256 KiB, including the
	 * header. */
	FILES_TYPE_DATA = 3,
	/* Completes the innermost file or folder that is not complete yet. */
	FILES_TYPE_WHOLE = 4,
	/* The request is complete. No message follows. */
	FILES_TYPE_DONE = 5,
	/* The request failed. Incomplete new files and folders have been removed; a file that existed
	 * before may be partly written. No message follows. */
	FILES_TYPE_FAILURE = 6,
};

/* Returns the name of a fault, or "unknown" if no fault has this number. */
static inline const char *files_fault_name(enum files_fault fault)
{
	switch (fault) {
	case FILES_FAULT_NONE:
		return "none";
	case FILES_FAULT_UNKNOWN_TYPE:
		return "unknown_type";
	case FILES_FAULT_BAD_DIRECTION:
		return "bad_direction";
	case FILES_FAULT_RESERVED_FLAGS:
		return "reserved_flags";
	case FILES_FAULT_BAD_ID:
		return "bad_id";
	case FILES_FAULT_BODY_TOO_LONG:
		return "body_too_long";
	case FILES_FAULT_TRUNCATED:
		return "truncated";
	case FILES_FAULT_TOO_LONG:
		return "too_long";
	case FILES_FAULT_TOO_MANY:
		return "too_many";
	case FILES_FAULT_TOTAL_TOO_LONG:
		return "total_too_long";
	case FILES_FAULT_UNKNOWN_VALUE:
		return "unknown_value";
	case FILES_FAULT_EMBEDDED_NUL:
		return "embedded_nul";
	case FILES_FAULT_TRAILING_BYTES:
		return "trailing_bytes";
	case FILES_FAULT_NOT_UTF8:
		return "not_utf8";
	case FILES_FAULT_NOT_FINITE:
		return "not_finite";
	case FILES_FAULT_BAD_CHECK:
		return "bad_check";
	case FILES_FAULT_BAD_STUFFING:
		return "bad_stuffing";
	}
	return "unknown";
}

/* Returns the name of a message, or "unknown" if no message has this number. */
static inline const char *files_message_name(uint16_t type)
{
	switch (type) {
	case FILES_TYPE_REQUEST:
		return "request";
	case FILES_TYPE_ENTRY:
		return "entry";
	case FILES_TYPE_DATA:
		return "data";
	case FILES_TYPE_WHOLE:
		return "whole";
	case FILES_TYPE_DONE:
		return "done";
	case FILES_TYPE_FAILURE:
		return "failure";
	}
	return "unknown";
}

/* The kind of request. */
enum files_action {
	/* The guest sends one entry without content. If the path is a symbolic link, the entry is that
	 * of its target. */
	FILES_ACTION_STAT = 1,
	/* The guest sends one entry without content. If the path is a symbolic link, the entry is that
	 * of the link. */
	FILES_ACTION_LSTAT = 2,
	/* The guest sends an entry without content for each file and folder in a folder. */
	FILES_ACTION_LIST = 3,
	/* The content of a regular file: all bytes that can be read now. A device, a FIFO or a socket
	 * has an entry without content. */
	FILES_ACTION_READ = 4,
	/* The tree of a file or a folder. A folder's tree has only files, folders and links. Anything
	 * else has an entry without content. */
	FILES_ACTION_GET = 5,
	/* The host sends a tree, and the guest writes it. */
	FILES_ACTION_PUT = 6,
	/* As `list`, but the entry of a symbolic link is that of its target. A link without a target
	 * has its own entry. */
	FILES_ACTION_LIST_TARGETS = 7,
	/* The guest sends one entry without content. Its `target` is the absolute path without symbolic
	 * links, `.` and `..`. Components of the path may be missing; `mode` is then 0. */
	FILES_ACTION_RESOLVE = 8,
	/* The guest creates a folder. */
	FILES_ACTION_MAKE_FOLDER = 9,
	/* The guest removes a file, a symbolic link, or a folder with everything in it. It follows no
	 * links, and removes no mount point. */
	FILES_ACTION_REMOVE = 10,
	/* The guest gives a file or a folder another path, as rename(2) does. It replaces a file or an
	 * empty folder of this path. */
	FILES_ACTION_RENAME = 11,
	/* The guest sends an entry without content for each file and folder that matches `pattern`. If
	 * it is a symbolic link, the entry is that of its target, or its own if it has no target.
	 * `target` of each entry is its path, relative to `path`. The same path can be sent several
	 * times. */
	FILES_ACTION_MATCH = 12,
};

/* The subject of a failure. */
enum files_subject {
	/* The path of a file or folder. */
	FILES_SUBJECT_PATH = 1,
	/* The user with whose rights the request is executed. */
	FILES_SUBJECT_USER = 2,
	/* The owner of the written files. */
	FILES_SUBJECT_OWNER = 3,
};

/* The rule for the mode of a file that exists before the request. */
enum files_mode_rule {
	/* The file gets the mode in the tree. If the user may not set it, the request fails and changes
	 * nothing. */
	FILES_MODE_RULE_REQUIRE = 0,
	/* The file gets the mode in the tree if the user may set it; otherwise it keeps its mode. */
	FILES_MODE_RULE_PREFER = 1,
	/* The file keeps its mode. */
	FILES_MODE_RULE_KEEP = 2,
};

/* Sizes are in bytes; bounds of lists are numbers of items. MAX_TAILLESS_BODY is the largest
 * body of the messages without a tail, most of which are small. */
enum {
	FILES_HEADER_SIZE = 12,
	FILES_MAX_BODY = 262132,
	FILES_MAX_BODY_FROM_HOST = 262132,
	FILES_MAX_TAILLESS_BODY_FROM_HOST = 17690,
	FILES_MAX_BODY_FROM_GUEST = 262132,
	FILES_MAX_TAILLESS_BODY_FROM_GUEST = 4386,
	FILES_REQUEST_MAX_BODY = 17690,
	FILES_REQUEST_PATH_MAX = 4095,
	FILES_REQUEST_NAME_MAX = 255,
	FILES_REQUEST_NEW_PATH_MAX = 4095,
	FILES_REQUEST_PATTERN_MAX = 4095,
	FILES_REQUEST_CWD_MAX = 4095,
	FILES_REQUEST_USER_MAX = 511,
	FILES_REQUEST_OWNER_MAX = 511,
	FILES_ENTRY_MAX_BODY = 4386,
	FILES_ENTRY_NAME_MAX = 255,
	FILES_ENTRY_TARGET_MAX = 4095,
	FILES_DATA_MAX_BODY = 262132,
	FILES_DATA_DATA_MAX = 262132,
	FILES_DATA_DATA_PREFIX = 0,
	FILES_WHOLE_MAX_BODY = 0,
	FILES_DONE_MAX_BODY = 0,
	FILES_FAILURE_MAX_BODY = 4104,
	FILES_FAILURE_PATH_MAX = 4095,
};

typedef char files_needs_size_t_of_4_bytes[sizeof(size_t) >= 4 ? 1 : -1];

/* Bytes inside a frame. They are not terminated by a NUL. */
struct files_slice {
	const uint8_t *data;
	uint32_t size;
};

/* The encoded items of a list inside a frame. An item of variable size is preceded by its length;
 * `size` is the number of bytes of all items and lengths. */
struct files_list {
	const uint8_t *items;
	uint32_t size;
	uint32_t count;
};

static inline struct files_slice files_no_slice(void)
{
	const struct files_slice none = { NULL, 0 };

	return none;
}

static inline struct files_list files_no_list(void)
{
	const struct files_list none = { NULL, 0, 0 };

	return none;
}

struct files_header {
	uint32_t body_length;
	uint16_t type;
	uint16_t flags;
	uint32_t id;
};

/* The reason for which decoding failed, the offset of the error from the start of the frame, and
 * the number of the field, counted from 1, or 0 for the header. */
struct files_fault_at {
	enum files_fault fault;
	uint32_t offset;
	uint8_t field;
};

/* The request. It is the first message of the host, and the host sends only one. */
struct files_request {
	/* The kind of request. */
	uint8_t action;
	/* The rule for the mode of a file that exists before the request. */
	uint8_t mode_rule;
	/* If it is 0, a file that exists is opened and written with the user's rights. A request that
	 * fails midway leaves the file partly written. Otherwise a new file replaces the file that
	 * exists, and gets its name when it is complete. */
	uint8_t replace;
	/* If it is 0, `make_folder` creates no parent folders, and `remove` removes no folders.
	 * Otherwise `make_folder` creates all missing parent folders, and `remove` removes folders with
	 * everything in them. */
	uint8_t recursive;
	/* If it is not 0, `make_folder` succeeds if the folder exists, and `remove` succeeds if nothing
	 * has this path. */
	uint8_t idempotent;
	/* The path of the file or folder. */
	struct files_slice path;
	/* The name of the tree in the folder `path`, if that is a folder or ends with a slash. If the
	 * name is empty, `path` is the path of the tree itself. */
	struct files_slice name;
	/* The new path of the file or folder that is renamed. */
	struct files_slice new_path;
	/* The pattern of `match`: components with one slash between them, which are compared with the
	 * names in the folder `path` and the folders below. `*` matches any characters, `?` one
	 * character, and `[a-z]` or `[!a-z]` one that is in a set or not. A character is a code point
	 * of UTF-8, or else a byte. The component `**` matches any number of folders and follows no
	 * symbolic links. As the last component it matches every file and folder below. A name that
	 * begins with a dot needs a component that does. */
	struct files_slice pattern;
	/* The folder to which a relative path is relative. If it is empty, this is the default working
	 * directory of the user's commands: the user's home, which is created if the user has none, or
	 * `/` if the home cannot be entered. */
	struct files_slice cwd;
	/* The user to act as: a name or a number, optionally with a colon and a group. If it is empty,
	 * the user that runs the program. */
	struct files_slice user;
	/* The owner of the files and folders that are written, in the same form as the user. When it is
	 * empty, new files belong to the user, and files that exist keep their owner. */
	struct files_slice owner;
};

/* An entry of a tree: a file, a folder, a link, or anything else that has a name. */
struct files_entry {
	/* The type and permissions, as in Linux's `st_mode`. */
	uint32_t mode;
	/* The size in bytes. The data that follow may be longer or shorter. */
	uint64_t size;
	/* The time of the last modification, in nanoseconds since 1970-01-01 UTC. */
	int64_t mtime;
	/* The uid of the file's owner. The guest ignores it. */
	uint32_t uid;
	/* The gid of the file's group. The guest ignores it. */
	uint32_t gid;
	/* The name in the folder that contains the entry; empty for the outermost file or folder of a
	 * tree. */
	struct files_slice name;
	/* The target of a symbolic link, or the path that answers `resolve` or `match`; empty for any
	 * other entry. */
	struct files_slice target;
};

/* Content of the file whose entry was sent last. The frame has at most 256 KiB, including the
 * header. */
struct files_data {
	/* The next bytes of the file. */
	struct files_slice data;
};

/* The request failed. Incomplete new files and folders have been removed; a file that existed
 * before may be partly written. No message follows. */
struct files_failure {
	/* The subject of the failure. */
	uint8_t subject;
	/* The `errno`, as Linux numbers it. */
	uint32_t error_number;
	/* The path or user that the failure concerns. A path that is too long lacks its end. */
	struct files_slice path;
};

/* The body of any message. */
union files_body {
	struct files_request request;
	struct files_entry entry;
	struct files_data data;
	struct files_failure failure;
};

static inline uint64_t files_get(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

static inline uint8_t *files_put(uint8_t *at, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
	return at + size;
}

/* Copies `size` bytes to `at`, and returns the end of the copy. Does not copy if `data` is `at`, so
 * that a program can read a tail directly into its frame. */
static inline uint8_t *files_put_bytes(uint8_t *at, const uint8_t *data, uint32_t size)
{
	if (size > 0 && data != at)
		memmove(at, data, (size_t)size);
	return at + size;
}

static inline void files_put_header(uint8_t *out, const uint8_t *end, uint16_t type, uint32_t id)
{
	size_t body = (size_t)(end - out) - (size_t)FILES_HEADER_SIZE;

	files_put(out, 4, body);
	files_put(out + 4, 2, type);
	files_put(out + 6, 2, 0);
	files_put(out + 8, 4, id);
}

static inline bool files_fail(struct files_fault_at *at, enum files_fault fault, size_t offset,
	uint8_t field)
{
	at->fault = fault;
	at->offset = (uint32_t)offset;
	at->field = field;
	return false;
}

/* The state of decoding a body. The offset `at` never exceeds `size`. */
struct files_cursor {
	const uint8_t *body;
	size_t size;
	size_t at;
	struct files_fault_at *fault;
};

static inline bool files_refuse(const struct files_cursor *cursor, enum files_fault fault, size_t at,
	uint8_t field)
{
	return files_fail(cursor->fault, fault, FILES_HEADER_SIZE + at, field);
}

static inline bool files_take(struct files_cursor *cursor, uint8_t field, unsigned size,
	uint64_t *value)
{
	if (cursor->size - cursor->at < size)
		return files_refuse(cursor, FILES_FAULT_TRUNCATED, cursor->at, field);
	*value = files_get(cursor->body + cursor->at, size);
	cursor->at += size;
	return true;
}

#define FILES_DEFINE_TAKE(name, type, size) \
	static inline bool files_take_##name(struct files_cursor *cursor, uint8_t field, type *out) \
	{ \
		uint64_t value; \
		if (!files_take(cursor, field, size, &value)) \
			return false; \
		*out = (type)value; \
		return true; \
	}
FILES_DEFINE_TAKE(u8, uint8_t, 1)
FILES_DEFINE_TAKE(u16, uint16_t, 2)
FILES_DEFINE_TAKE(u32, uint32_t, 4)
FILES_DEFINE_TAKE(u64, uint64_t, 8)
FILES_DEFINE_TAKE(i8, int8_t, 1)
FILES_DEFINE_TAKE(i16, int16_t, 2)
FILES_DEFINE_TAKE(i32, int32_t, 4)
FILES_DEFINE_TAKE(i64, int64_t, 8)
FILES_DEFINE_TAKE(length, uint32_t, 4)
#undef FILES_DEFINE_TAKE

/* Reports an unknown value if `known` is false. The value is the last `size` bytes that were read.
 * Returns `known`. */
static inline bool files_known(const struct files_cursor *cursor, uint8_t field, unsigned size,
	bool known)
{
	if (!known)
		files_refuse(cursor, FILES_FAULT_UNKNOWN_VALUE, cursor->at - size, field);
	return known;
}

static inline bool files_take_constant(struct files_cursor *cursor, uint8_t field, unsigned size,
	uint64_t expected)
{
	uint64_t value;

	return files_take(cursor, field, size, &value) &&
		files_known(cursor, field, size, value == expected);
}

static inline bool files_no_nul(const struct files_cursor *cursor, uint8_t field,
	const struct files_slice *slice)
{
	for (uint32_t i = 0; i < slice->size; i++)
		if (slice->data[i] == 0)
			return files_refuse(cursor, FILES_FAULT_EMBEDDED_NUL,
				(size_t)(slice->data - cursor->body) + (size_t)i, field);
	return true;
}

static inline bool files_take_bytes(struct files_cursor *cursor, uint8_t field, uint32_t max,
	bool nul, struct files_slice *out)
{
	size_t prefix = cursor->at;

	if (!files_take_length(cursor, field, &out->size))
		return false;
	if (out->size > max)
		return files_refuse(cursor, FILES_FAULT_TOO_LONG, prefix, field);
	if (out->size > cursor->size - cursor->at)
		return files_refuse(cursor, FILES_FAULT_TRUNCATED, cursor->at, field);
	out->data = cursor->body + cursor->at;
	cursor->at += (size_t)out->size;
	return nul || files_no_nul(cursor, field, out);
}

static inline bool files_take_count(struct files_cursor *cursor, uint8_t field, uint32_t max_items,
	struct files_list *out)
{
	size_t prefix = cursor->at;

	if (!files_take_length(cursor, field, &out->count))
		return false;
	if (out->count > max_items)
		return files_refuse(cursor, FILES_FAULT_TOO_MANY, prefix, field);
	out->items = cursor->body + cursor->at;
	return true;
}

static inline bool files_take_list(struct files_cursor *cursor, uint8_t field, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul, struct files_list *out)
{
	if (!files_take_count(cursor, field, max_items, out))
		return false;
	size_t start = cursor->at;
	for (uint32_t i = 0; i < out->count; i++) {
		struct files_slice item;
		size_t before = cursor->at;

		if (!files_take_bytes(cursor, field, max_item, nul, &item))
			return false;
		if (cursor->at - start > max_total)
			return files_refuse(cursor, FILES_FAULT_TOTAL_TOO_LONG, before, field);
	}
	out->size = (uint32_t)(cursor->at - start);
	return true;
}

/* Returns the item at `*at` of a decoded list, and advances `*at` to the next item. */
static inline struct files_slice files_next(const uint8_t **at)
{
	struct files_slice item = { *at + 4, (uint32_t)files_get(*at, 4) };

	*at += 4 + item.size;
	return item;
}

static inline bool files_take_tail(struct files_cursor *cursor, uint8_t field, uint32_t max,
	struct files_slice *out)
{
	size_t left = cursor->size - cursor->at;

	if (left > max)
		return files_refuse(cursor, FILES_FAULT_TOO_LONG, cursor->at, field);
	out->data = cursor->body + cursor->at;
	out->size = (uint32_t)left;
	cursor->at = cursor->size;
	return true;
}

static inline bool files_end(const struct files_cursor *cursor)
{
	if (cursor->at != cursor->size)
		files_refuse(cursor, FILES_FAULT_TRAILING_BYTES, cursor->at, 0);
	return cursor->at == cursor->size;
}

static inline bool files_known_action(uint8_t value, uint32_t version)
{
	(void)version;
	return value == FILES_ACTION_STAT ||
		value == FILES_ACTION_LSTAT ||
		value == FILES_ACTION_LIST ||
		value == FILES_ACTION_READ ||
		value == FILES_ACTION_GET ||
		value == FILES_ACTION_PUT ||
		value == FILES_ACTION_LIST_TARGETS ||
		value == FILES_ACTION_RESOLVE ||
		value == FILES_ACTION_MAKE_FOLDER ||
		value == FILES_ACTION_REMOVE ||
		value == FILES_ACTION_RENAME ||
		value == FILES_ACTION_MATCH;
}

static inline bool files_known_subject(uint8_t value, uint32_t version)
{
	(void)version;
	return value == FILES_SUBJECT_PATH ||
		value == FILES_SUBJECT_USER ||
		value == FILES_SUBJECT_OWNER;
}

static inline bool files_known_mode_rule(uint8_t value, uint32_t version)
{
	(void)version;
	return value == FILES_MODE_RULE_REQUIRE ||
		value == FILES_MODE_RULE_PREFER ||
		value == FILES_MODE_RULE_KEEP;
}

/* A rule for the header of a message. It applies to all versions from `since` on, up to
 * the next rule for the same type. */
struct files_rule {
	uint16_t type;
	uint8_t sender;
	uint8_t id; /* 0: must be zero, 1: must not be zero, 2: any */
	uint32_t since;
	uint32_t max_body;
};

static const struct files_rule files_rules[] = {
	{ FILES_TYPE_REQUEST, FILES_HOST, 0, 1, 17690 },
	{ FILES_TYPE_ENTRY, FILES_BOTH, 0, 1, 4386 },
	{ FILES_TYPE_DATA, FILES_BOTH, 0, 1, 262132 },
	{ FILES_TYPE_WHOLE, FILES_BOTH, 0, 1, 0 },
	{ FILES_TYPE_DONE, FILES_GUEST, 0, 1, 0 },
	{ FILES_TYPE_FAILURE, FILES_GUEST, 0, 1, 4104 },
	{ 0, 0, 0, 0, 0 },
};

/* Returns the newest rule for a type that applies to `version`, or NULL if there is none. */
static inline const struct files_rule *files_find_rule(uint32_t version, uint16_t type)
{
	const struct files_rule *found = NULL;

	for (const struct files_rule *rule = files_rules; rule->type; rule++)
		if (rule->type == type && rule->since <= version)
			found = rule;
	return found;
}

/* Reads the header of a frame from `sender`, and checks everything that needs no body.
 * `version`, here and below, is the version that both sides agreed on. */
static inline bool files_decode_header(const uint8_t *frame, enum files_end sender, uint32_t version,
	struct files_header *header, struct files_fault_at *fault)
{
	header->body_length = (uint32_t)files_get(frame, 4);
	header->type = (uint16_t)files_get(frame + 4, 2);
	header->flags = (uint16_t)files_get(frame + 6, 2);
	header->id = (uint32_t)files_get(frame + 8, 4);
	const struct files_rule *rule = files_find_rule(version, header->type);
	if (!rule)
		return files_fail(fault, FILES_FAULT_UNKNOWN_TYPE, 4, 0);
	if (!(rule->sender & sender))
		return files_fail(fault, FILES_FAULT_BAD_DIRECTION, 4, 0);
	if (header->flags)
		return files_fail(fault, FILES_FAULT_RESERVED_FLAGS, 6, 0);
	if ((rule->id == 1 && header->id == 0) || (rule->id == 0 && header->id != 0))
		return files_fail(fault, FILES_FAULT_BAD_ID, 8, 0);
	if (header->body_length > rule->max_body)
		return files_fail(fault, FILES_FAULT_BODY_TOO_LONG, 0, 0);
	return true;
}

static inline bool files_decode_request(const uint8_t *body, size_t size,
	uint32_t version, struct files_request *message, struct files_fault_at *fault)
{
	struct files_cursor cursor = { body, size, 0, fault };

	return files_take_u8(&cursor, 1, &message->action) &&
		files_known(&cursor, 1, 1, files_known_action(message->action, version)) &&
		files_take_u8(&cursor, 2, &message->mode_rule) &&
		files_known(&cursor, 2, 1, files_known_mode_rule(message->mode_rule, version)) &&
		files_take_u8(&cursor, 3, &message->replace) &&
		files_take_u8(&cursor, 4, &message->recursive) &&
		files_take_u8(&cursor, 5, &message->idempotent) &&
		files_take_bytes(&cursor, 6, 4095, false, &message->path) &&
		files_take_bytes(&cursor, 7, 255, false, &message->name) &&
		files_take_bytes(&cursor, 8, 4095, false, &message->new_path) &&
		files_take_bytes(&cursor, 9, 4095, false, &message->pattern) &&
		files_take_bytes(&cursor, 10, 4095, false, &message->cwd) &&
		files_take_bytes(&cursor, 11, 511, false, &message->user) &&
		files_take_bytes(&cursor, 12, 511, false, &message->owner) &&
		files_end(&cursor);
}

static inline bool files_decode_entry(const uint8_t *body, size_t size,
	uint32_t version, struct files_entry *message, struct files_fault_at *fault)
{
	struct files_cursor cursor = { body, size, 0, fault };

	(void)version;
	return files_take_u32(&cursor, 1, &message->mode) &&
		files_take_u64(&cursor, 2, &message->size) &&
		files_take_i64(&cursor, 3, &message->mtime) &&
		files_take_u32(&cursor, 4, &message->uid) &&
		files_take_u32(&cursor, 5, &message->gid) &&
		files_take_bytes(&cursor, 6, 255, false, &message->name) &&
		files_take_bytes(&cursor, 7, 4095, false, &message->target) &&
		files_end(&cursor);
}

static inline bool files_decode_data(const uint8_t *body, size_t size,
	uint32_t version, struct files_data *message, struct files_fault_at *fault)
{
	struct files_cursor cursor = { body, size, 0, fault };

	(void)version;
	return files_take_tail(&cursor, 1, 262132, &message->data);
}

static inline bool files_decode_whole(const uint8_t *body, size_t size,
	uint32_t version, struct files_fault_at *fault)
{
	struct files_cursor cursor = { body, size, 0, fault };

	(void)version;
	return files_end(&cursor);
}

static inline bool files_decode_done(const uint8_t *body, size_t size,
	uint32_t version, struct files_fault_at *fault)
{
	struct files_cursor cursor = { body, size, 0, fault };

	(void)version;
	return files_end(&cursor);
}

static inline bool files_decode_failure(const uint8_t *body, size_t size,
	uint32_t version, struct files_failure *message, struct files_fault_at *fault)
{
	struct files_cursor cursor = { body, size, 0, fault };

	return files_take_u8(&cursor, 1, &message->subject) &&
		files_known(&cursor, 1, 1, files_known_subject(message->subject, version)) &&
		files_take_u32(&cursor, 2, &message->error_number) &&
		files_take_bytes(&cursor, 3, 4095, false, &message->path) &&
		files_end(&cursor);
}

/* Decodes the body of a frame whose header files_decode_header has accepted. */
static inline bool files_decode_body(const struct files_header *header, const uint8_t *body,
	uint32_t version, union files_body *out, struct files_fault_at *fault)
{
	(void)version;
	(void)out;
	switch (header->type) {
	case FILES_TYPE_REQUEST:
		return files_decode_request(body, (size_t)header->body_length, version, &out->request, fault);
	case FILES_TYPE_ENTRY:
		return files_decode_entry(body, (size_t)header->body_length, version, &out->entry, fault);
	case FILES_TYPE_DATA:
		return files_decode_data(body, (size_t)header->body_length, version, &out->data, fault);
	case FILES_TYPE_WHOLE:
		return files_decode_whole(body, (size_t)header->body_length, version, fault);
	case FILES_TYPE_DONE:
		return files_decode_done(body, (size_t)header->body_length, version, fault);
	case FILES_TYPE_FAILURE:
		return files_decode_failure(body, (size_t)header->body_length, version, &out->failure, fault);
	default:
		(void)body;
		return files_fail(fault, FILES_FAULT_UNKNOWN_TYPE, 4, 0);
	}
}

/* Returns the fault of bytes that must not contain NUL, or FAULT_NONE. */
static inline enum files_fault files_check_bytes(const struct files_slice *bytes, uint32_t max)
{
	struct files_fault_at at = { FILES_FAULT_NONE, 0, 0 };
	const struct files_cursor cursor = { bytes->data, (size_t)bytes->size, 0, &at };

	if (bytes->size > max)
		return FILES_FAULT_TOO_LONG;
	files_no_nul(&cursor, 0, bytes);
	return at.fault;
}

/* Checks a list, in which a length precedes each item. Returns its fault, or FAULT_NONE. */
static inline enum files_fault files_check_list(const struct files_list *list, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul)
{
	struct files_fault_at at = { FILES_FAULT_NONE, 0, 0 };
	struct files_cursor cursor = { list->items, (size_t)list->size, 0, &at };
	struct files_slice item;

	if (list->count > max_items)
		return FILES_FAULT_TOO_MANY;
	for (uint32_t i = 0; i < list->count; i++) {
		if (!files_take_bytes(&cursor, 0, max_item, nul, &item))
			return at.fault;
		if (cursor.at > max_total)
			return FILES_FAULT_TOTAL_TOO_LONG;
	}
	files_end(&cursor);
	return at.fault;
}

/* Returns FILES_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum files_fault files_check_request(uint32_t version,
	const struct files_request *message)
{
	enum files_fault fault;

	if (!files_known_action(message->action, version))
		return FILES_FAULT_UNKNOWN_VALUE;
	if (!files_known_mode_rule(message->mode_rule, version))
		return FILES_FAULT_UNKNOWN_VALUE;
	fault = files_check_bytes(&message->path, 4095);
	if (fault)
		return fault;
	fault = files_check_bytes(&message->name, 255);
	if (fault)
		return fault;
	fault = files_check_bytes(&message->new_path, 4095);
	if (fault)
		return fault;
	fault = files_check_bytes(&message->pattern, 4095);
	if (fault)
		return fault;
	fault = files_check_bytes(&message->cwd, 4095);
	if (fault)
		return fault;
	fault = files_check_bytes(&message->user, 511);
	if (fault)
		return fault;
	fault = files_check_bytes(&message->owner, 511);
	if (fault)
		return fault;
	return FILES_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * files_check_request finds a fault or the frame does not fit. */
static inline size_t files_encode_request(uint8_t *out, size_t room, uint32_t version,
	const struct files_request *message)
{
	uint32_t size = FILES_HEADER_SIZE;

	if (files_check_request(version, message))
		return 0;
	size += 33 + message->path.size + message->name.size + message->new_path.size + message->pattern.size + message->cwd.size + message->user.size + message->owner.size;
	if (size > room)
		return 0;
	uint8_t *at = out + FILES_HEADER_SIZE;
	at = files_put(at, 1, (uint64_t)message->action);
	at = files_put(at, 1, (uint64_t)message->mode_rule);
	at = files_put(at, 1, (uint64_t)message->replace);
	at = files_put(at, 1, (uint64_t)message->recursive);
	at = files_put(at, 1, (uint64_t)message->idempotent);
	at = files_put(at, 4, message->path.size);
	at = files_put_bytes(at, message->path.data, message->path.size);
	at = files_put(at, 4, message->name.size);
	at = files_put_bytes(at, message->name.data, message->name.size);
	at = files_put(at, 4, message->new_path.size);
	at = files_put_bytes(at, message->new_path.data, message->new_path.size);
	at = files_put(at, 4, message->pattern.size);
	at = files_put_bytes(at, message->pattern.data, message->pattern.size);
	at = files_put(at, 4, message->cwd.size);
	at = files_put_bytes(at, message->cwd.data, message->cwd.size);
	at = files_put(at, 4, message->user.size);
	at = files_put_bytes(at, message->user.data, message->user.size);
	at = files_put(at, 4, message->owner.size);
	at = files_put_bytes(at, message->owner.data, message->owner.size);
	files_put_header(out, at, FILES_TYPE_REQUEST, 0);
	return (size_t)(at - out);
}

/* Returns FILES_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum files_fault files_check_entry(uint32_t version,
	const struct files_entry *message)
{
	enum files_fault fault;

	(void)version;
	fault = files_check_bytes(&message->name, 255);
	if (fault)
		return fault;
	fault = files_check_bytes(&message->target, 4095);
	if (fault)
		return fault;
	return FILES_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * files_check_entry finds a fault or the frame does not fit. */
static inline size_t files_encode_entry(uint8_t *out, size_t room, uint32_t version,
	const struct files_entry *message)
{
	uint32_t size = FILES_HEADER_SIZE;

	if (files_check_entry(version, message))
		return 0;
	size += 36 + message->name.size + message->target.size;
	if (size > room)
		return 0;
	uint8_t *at = out + FILES_HEADER_SIZE;
	at = files_put(at, 4, (uint64_t)message->mode);
	at = files_put(at, 8, (uint64_t)message->size);
	at = files_put(at, 8, (uint64_t)message->mtime);
	at = files_put(at, 4, (uint64_t)message->uid);
	at = files_put(at, 4, (uint64_t)message->gid);
	at = files_put(at, 4, message->name.size);
	at = files_put_bytes(at, message->name.data, message->name.size);
	at = files_put(at, 4, message->target.size);
	at = files_put_bytes(at, message->target.data, message->target.size);
	files_put_header(out, at, FILES_TYPE_ENTRY, 0);
	return (size_t)(at - out);
}

/* Returns FILES_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum files_fault files_check_data(uint32_t version,
	const struct files_data *message)
{
	(void)version;
	if (message->data.size > 262132)
		return FILES_FAULT_TOO_LONG;
	return FILES_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * files_check_data finds a fault or the frame does not fit. */
static inline size_t files_encode_data(uint8_t *out, size_t room, uint32_t version,
	const struct files_data *message)
{
	uint32_t size = FILES_HEADER_SIZE;

	if (files_check_data(version, message))
		return 0;
	size += message->data.size;
	if (size > room)
		return 0;
	uint8_t *at = out + FILES_HEADER_SIZE;
	at = files_put_bytes(at, message->data.data, message->data.size);
	files_put_header(out, at, FILES_TYPE_DATA, 0);
	return (size_t)(at - out);
}

/* Returns FILES_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum files_fault files_check_whole(uint32_t version)
{
	(void)version;
	return FILES_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * files_check_whole finds a fault or the frame does not fit. */
static inline size_t files_encode_whole(uint8_t *out, size_t room, uint32_t version)
{
	uint32_t size = FILES_HEADER_SIZE;

	if (files_check_whole(version))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + FILES_HEADER_SIZE;
	files_put_header(out, at, FILES_TYPE_WHOLE, 0);
	return (size_t)(at - out);
}

/* Returns FILES_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum files_fault files_check_done(uint32_t version)
{
	(void)version;
	return FILES_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * files_check_done finds a fault or the frame does not fit. */
static inline size_t files_encode_done(uint8_t *out, size_t room, uint32_t version)
{
	uint32_t size = FILES_HEADER_SIZE;

	if (files_check_done(version))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + FILES_HEADER_SIZE;
	files_put_header(out, at, FILES_TYPE_DONE, 0);
	return (size_t)(at - out);
}

/* Returns FILES_FAULT_NONE if the message is valid, or else the fault that a decoder would find
 * in its frame. */
static inline enum files_fault files_check_failure(uint32_t version,
	const struct files_failure *message)
{
	enum files_fault fault;

	if (!files_known_subject(message->subject, version))
		return FILES_FAULT_UNKNOWN_VALUE;
	fault = files_check_bytes(&message->path, 4095);
	if (fault)
		return fault;
	return FILES_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * files_check_failure finds a fault or the frame does not fit. */
static inline size_t files_encode_failure(uint8_t *out, size_t room, uint32_t version,
	const struct files_failure *message)
{
	uint32_t size = FILES_HEADER_SIZE;

	if (files_check_failure(version, message))
		return 0;
	size += 9 + message->path.size;
	if (size > room)
		return 0;
	uint8_t *at = out + FILES_HEADER_SIZE;
	at = files_put(at, 1, (uint64_t)message->subject);
	at = files_put(at, 4, (uint64_t)message->error_number);
	at = files_put(at, 4, message->path.size);
	at = files_put_bytes(at, message->path.data, message->path.size);
	files_put_header(out, at, FILES_TYPE_FAILURE, 0);
	return (size_t)(at - out);
}

/* Results of the functions that follow conversations, if they do not return a state. */
enum files_verdict {
	/* The sender may not send this message now. */
	FILES_OUT_OF_ORDER = 0,
	/* Drop the message: its sender may not know this state yet. */
	FILES_IGNORED = 255,
};

/* The states of `transfer`, which begins in the first one. */
enum files_transfer_state {
	/* The host has not sent its request yet. */
	FILES_TRANSFER_STATE_NEW = 1,
	/* The guest sends an entry for each file and folder in a folder, or that matches a pattern. */
	FILES_TRANSFER_STATE_LISTING = 2,
	/* The guest has sent nothing yet. It sends a tree, or one entry without content. */
	FILES_TRANSFER_STATE_SENDING = 3,
	/* The guest sends the content of a file. */
	FILES_TRANSFER_STATE_SENDING_FILE = 4,
	/* The guest sends the entries of a folder. */
	FILES_TRANSFER_STATE_SENDING_FOLDER = 5,
	/* The host has not begun its tree yet. The guest can fail while it receives a tree. */
	FILES_TRANSFER_STATE_WRITING = 6,
	/* The host sends the content of a file. */
	FILES_TRANSFER_STATE_WRITING_FILE = 7,
	/* The host sends the entries of a folder. */
	FILES_TRANSFER_STATE_WRITING_FOLDER = 8,
	/* The tree or the entry is complete, or the request needs neither. */
	FILES_TRANSFER_STATE_COMPLETE = 9,
	/* The guest has sent its last message. Messages of the host can still be on their way. */
	FILES_TRANSFER_STATE_FINISHED = 10,
};

/* The conditions of `transfer`, which are bits. */
enum files_transfer_condition {
	/* The action of the request is `put`. */
	FILES_TRANSFER_CONDITION_PUT = 1,
	/* The action of the request is `list`, `list_targets` or `match`. */
	FILES_TRANSFER_CONDITION_LIST = 2,
	/* The action of the request is `make_folder`, `remove` or `rename`. */
	FILES_TRANSFER_CONDITION_CHANGE = 4,
	/* The content of a file follows the entry: the action is `read`, `get` or `put`, and the entry
	 * is a regular file. */
	FILES_TRANSFER_CONDITION_FILE = 8,
	/* The entries of a folder follow the entry: the action is `get` or `put`, and the entry is a
	 * folder. */
	FILES_TRANSFER_CONDITION_FOLDER = 16,
	/* The outermost file or folder of the tree becomes complete: `incomplete` is 1. */
	FILES_TRANSFER_CONDITION_OUTERMOST = 32,
};

/* Returns the state of `transfer` that follows a message of `type` from `sender`; FILES_IGNORED if
 * its receiver drops the message; or FILES_OUT_OF_ORDER. `conditions` are those that hold. */
static inline uint8_t files_follow_transfer(uint8_t state, enum files_end sender, uint16_t type,
	uint32_t conditions)
{
	if (sender == FILES_HOST) {
		switch (type) {
		case FILES_TYPE_REQUEST:
			switch (state) {
			case FILES_TRANSFER_STATE_NEW:
				if (conditions & FILES_TRANSFER_CONDITION_PUT)
					return FILES_TRANSFER_STATE_WRITING;
				if (conditions & FILES_TRANSFER_CONDITION_LIST)
					return FILES_TRANSFER_STATE_LISTING;
				if (conditions & FILES_TRANSFER_CONDITION_CHANGE)
					return FILES_TRANSFER_STATE_COMPLETE;
				return FILES_TRANSFER_STATE_SENDING;
			case FILES_TRANSFER_STATE_FINISHED:
				return FILES_IGNORED;
			}
			break;
		case FILES_TYPE_ENTRY:
			switch (state) {
			case FILES_TRANSFER_STATE_WRITING:
				if (conditions & FILES_TRANSFER_CONDITION_FILE)
					return FILES_TRANSFER_STATE_WRITING_FILE;
				if (conditions & FILES_TRANSFER_CONDITION_FOLDER)
					return FILES_TRANSFER_STATE_WRITING_FOLDER;
				return FILES_TRANSFER_STATE_COMPLETE;
			case FILES_TRANSFER_STATE_WRITING_FOLDER:
				if (conditions & FILES_TRANSFER_CONDITION_FILE)
					return FILES_TRANSFER_STATE_WRITING_FILE;
				return state;
			case FILES_TRANSFER_STATE_FINISHED:
				return FILES_IGNORED;
			}
			break;
		case FILES_TYPE_DATA:
			switch (state) {
			case FILES_TRANSFER_STATE_WRITING_FILE:
				return state;
			case FILES_TRANSFER_STATE_FINISHED:
				return FILES_IGNORED;
			}
			break;
		case FILES_TYPE_WHOLE:
			switch (state) {
			case FILES_TRANSFER_STATE_WRITING_FILE:
				if (conditions & FILES_TRANSFER_CONDITION_OUTERMOST)
					return FILES_TRANSFER_STATE_COMPLETE;
				return FILES_TRANSFER_STATE_WRITING_FOLDER;
			case FILES_TRANSFER_STATE_WRITING_FOLDER:
				if (conditions & FILES_TRANSFER_CONDITION_OUTERMOST)
					return FILES_TRANSFER_STATE_COMPLETE;
				return state;
			case FILES_TRANSFER_STATE_FINISHED:
				return FILES_IGNORED;
			}
			break;
		}
	}
	if (sender == FILES_GUEST) {
		switch (type) {
		case FILES_TYPE_ENTRY:
			switch (state) {
			case FILES_TRANSFER_STATE_LISTING:
				return state;
			case FILES_TRANSFER_STATE_SENDING:
				if (conditions & FILES_TRANSFER_CONDITION_FILE)
					return FILES_TRANSFER_STATE_SENDING_FILE;
				if (conditions & FILES_TRANSFER_CONDITION_FOLDER)
					return FILES_TRANSFER_STATE_SENDING_FOLDER;
				return FILES_TRANSFER_STATE_COMPLETE;
			case FILES_TRANSFER_STATE_SENDING_FOLDER:
				if (conditions & FILES_TRANSFER_CONDITION_FILE)
					return FILES_TRANSFER_STATE_SENDING_FILE;
				return state;
			}
			break;
		case FILES_TYPE_DATA:
			switch (state) {
			case FILES_TRANSFER_STATE_SENDING_FILE:
				return state;
			}
			break;
		case FILES_TYPE_WHOLE:
			switch (state) {
			case FILES_TRANSFER_STATE_SENDING_FILE:
				if (conditions & FILES_TRANSFER_CONDITION_OUTERMOST)
					return FILES_TRANSFER_STATE_COMPLETE;
				return FILES_TRANSFER_STATE_SENDING_FOLDER;
			case FILES_TRANSFER_STATE_SENDING_FOLDER:
				if (conditions & FILES_TRANSFER_CONDITION_OUTERMOST)
					return FILES_TRANSFER_STATE_COMPLETE;
				return state;
			}
			break;
		case FILES_TYPE_DONE:
			switch (state) {
			case FILES_TRANSFER_STATE_LISTING:
			case FILES_TRANSFER_STATE_COMPLETE:
				return FILES_TRANSFER_STATE_FINISHED;
			}
			break;
		case FILES_TYPE_FAILURE:
			switch (state) {
			case FILES_TRANSFER_STATE_LISTING:
			case FILES_TRANSFER_STATE_SENDING:
			case FILES_TRANSFER_STATE_SENDING_FILE:
			case FILES_TRANSFER_STATE_SENDING_FOLDER:
			case FILES_TRANSFER_STATE_WRITING:
			case FILES_TRANSFER_STATE_WRITING_FILE:
			case FILES_TRANSFER_STATE_WRITING_FOLDER:
			case FILES_TRANSFER_STATE_COMPLETE:
				return FILES_TRANSFER_STATE_FINISHED;
			}
			break;
		}
	}
	return FILES_OUT_OF_ORDER;
}

#endif
