#define _GNU_SOURCE /* makes the headers declare splice */
#include "exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t in[FILES_HEADER_SIZE + FILES_MAX_BODY_FROM_HOST];

/* Frames are gathered in `out` until they have GATHERED bytes, so that one write sends many small
 * frames. LONGEST is the size of the longest frame. */
enum { GATHERED = 1 << 16, LONGEST = FILES_HEADER_SIZE + CHUNK };
static uint8_t out[GATHERED + LONGEST];
static size_t gathered;

/* The state of the conversation after the last message of the host, and the number of files and
 * folders of the host's tree that are not complete yet. In some states, a side ignores messages that come
 * too late. This program receives none of them, because it exits after its last message. */
static uint8_t state = FILES_TRANSFER_STATE_NEW;
static size_t incomplete;

void trail_set(struct trail *trail, size_t folder, const char *name)
{
	size_t room = sizeof trail->path - 1, size = strlen(name);

	if (folder > 0 && trail->path[folder - 1] != '/' && folder < room)
		trail->path[folder++] = '/';
	if (size > room - folder)
		size = room - folder;
	memcpy(trail->path + folder, name, size);
	trail->size = folder + size;
	trail->path[trail->size] = 0;
}

void copy_text(char *to, const struct files_slice *from)
{
	memcpy(to, from->data, from->size);
	to[from->size] = 0;
}

static bool read_all(uint8_t *to, size_t size)
{
	while (size > 0) {
		ssize_t n = read(STDIN_FILENO, to, size);

		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		if (n > 0) {
			to += n;
			size -= (size_t)n;
		}
	}
	return true;
}

static uint32_t condition_of(enum files_action action)
{
	switch (action) {
	case FILES_ACTION_PUT:
		return FILES_TRANSFER_CONDITION_PUT;
	case FILES_ACTION_LIST:
	case FILES_ACTION_LIST_TARGETS:
	case FILES_ACTION_MATCH:
		return FILES_TRANSFER_CONDITION_LIST;
	case FILES_ACTION_MAKE_FOLDER:
	case FILES_ACTION_REMOVE:
	case FILES_ACTION_RENAME:
		return FILES_TRANSFER_CONDITION_CHANGE;
	default:
		return 0;
	}
}

/* Returns the conditions that hold for a message of the host. */
static uint32_t conditions_of(enum files_type type, const union files_body *body)
{
	if (type == FILES_TYPE_REQUEST)
		return condition_of((enum files_action)body->request.action);
	if (type == FILES_TYPE_ENTRY && S_ISREG(body->entry.mode))
		return FILES_TRANSFER_CONDITION_FILE;
	if (type == FILES_TYPE_ENTRY && S_ISDIR(body->entry.mode))
		return FILES_TRANSFER_CONDITION_FOLDER;
	if (type == FILES_TYPE_WHOLE && incomplete == 1)
		return FILES_TRANSFER_CONDITION_OUTERMOST;
	return 0;
}

/* Changes to the state that follows a message of the host. Returns false if the message is out of
 * order. */
static bool follow(enum files_type type, const union files_body *body)
{
	uint32_t conditions = conditions_of(type, body);

	if (conditions & (FILES_TRANSFER_CONDITION_FILE | FILES_TRANSFER_CONDITION_FOLDER))
		incomplete++;
	if (type == FILES_TYPE_WHOLE)
		incomplete--;
	state = files_follow_transfer(state, FILES_HOST, (uint16_t)type, conditions);
	return state != FILES_OUT_OF_ORDER;
}

bool is_incomplete(void)
{
	return incomplete > 0;
}

bool receive(enum files_type *type, union files_body *body)
{
	struct files_header header;
	struct files_fault_at fault;

	if (!read_all(in, FILES_HEADER_SIZE) ||
	    !files_decode_header(in, FILES_HOST, FILES_VERSION, &header, &fault))
		return false;
	*type = (enum files_type)header.type;
	if (*type == FILES_TYPE_DATA) {
		body->data.data = (struct files_slice){ NULL, header.body_length };
		return follow(*type, body);
	}
	return read_all(in + FILES_HEADER_SIZE, header.body_length) &&
	       files_decode_body(&header, in + FILES_HEADER_SIZE, FILES_VERSION, body, &fault) &&
	       follow(*type, body);
}

static bool write_all(int fd, const uint8_t *at, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			at += n;
			size -= (size_t)n;
		}
	}
	return true;
}

/* Copies data from standard input to a file with read and write, because splice does not support
 * some files, such as those in /proc. */
static enum received copy_data(int fd, size_t size)
{
	if (!read_all(in, size))
		return NO_MORE;
	return write_all(fd, in, size) ? RECEIVED : NOT_WRITTEN;
}

/* Moves the data with splice, so that the kernel does not copy it to this process and back. */
enum received receive_data(int fd, size_t size)
{
	while (size > 0) {
		ssize_t n = splice(STDIN_FILENO, NULL, fd, NULL, size, 0);

		if (n < 0 && errno == EINVAL)
			return copy_data(fd, size);
		if (n < 0 && errno != EINTR)
			return NOT_WRITTEN;
		if (n == 0)
			return NO_MORE;
		if (n > 0)
			size -= (size_t)n;
	}
	return RECEIVED;
}

static void flush(void)
{
	if (!write_all(STDOUT_FILENO, out, gathered))
		exit(EXIT_FAILURE);
	gathered = 0;
}

/* Adds the frame of `size` bytes that was just encoded in `out`, behind the frames that wait there.
 * When they have at least GATHERED bytes, writes them to standard output. `size` is 0 if a value is
 * too long for a frame. This is a failure of the program, because no path or name on Linux is as
 * long as that. */
static void send_out(size_t size)
{
	if (size == 0)
		exit(EXIT_FAILURE);
	gathered += size;
	if (gathered >= GATHERED)
		flush();
}

#define SEND(message, ...) \
	send_out(files_encode_##message(out + gathered, sizeof out - gathered, __VA_ARGS__))

static struct files_slice slice_of(const char *text)
{
	return (struct files_slice){ (const uint8_t *)text, (uint32_t)strlen(text) };
}

void *data_room(void)
{
	return out + gathered + FILES_HEADER_SIZE;
}

void send_data(size_t size)
{
	const struct files_data data = { .data = { data_room(), (uint32_t)size } };

	SEND(data, FILES_VERSION, &data);
}

void send_entry(const struct stat *status, const char *name, const char *target)
{
	const struct files_entry entry = {
		.mode = status->st_mode,
		.size = (uint64_t)status->st_size,
		.mtime = status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec,
		.uid = status->st_uid,
		.gid = status->st_gid,
		.name = slice_of(name),
		.target = slice_of(target),
	};

	SEND(entry, FILES_VERSION, &entry);
}

void send_whole(void)
{
	SEND(whole, FILES_VERSION);
}

_Noreturn void end_done(void)
{
	SEND(done, FILES_VERSION);
	flush();
	exit(EXIT_SUCCESS);
}

_Noreturn void end_failed(enum files_subject subject, int error, const char *path)
{
	const struct files_failure failure = {
		.subject = (uint8_t)subject,
		.error_number = (uint32_t)error,
		.path = slice_of(path),
	};

	SEND(failure, FILES_VERSION, &failure);
	flush();
	exit(EXIT_SUCCESS);
}
