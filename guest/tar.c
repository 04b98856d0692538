#include "tar.h"

#include <string.h>
#include <unistd.h>

#include "console.h"
#include "decimal.h"

enum { BLOCK = 512, RECORDS_SIZE = 1 << 18, OUT_SIZE = 1 << 16 };

/* The header of an archive's member, in the ustar format, which POSIX describes under pax. */
struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type,
		target[100];
	char magic[8], user[32], group[32], major[8], minor[8], prefix[155], padding[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

static char records[RECORDS_SIZE];
static size_t records_size;
static uint8_t out[OUT_SIZE];
static size_t out_size;

static void flush(void)
{
	for (size_t done = 0; done < out_size;) {
		ssize_t n = write(STDOUT_FILENO, out + done, out_size - done);

		console_expect(n > 0, "write ", "the tar");
		if (n <= 0)
			_exit(1);
		done += (size_t)n;
	}
	out_size = 0;
}

void tar_data(const void *data, size_t size)
{
	const uint8_t *from = data;

	while (size > 0) {
		size_t n = OUT_SIZE - out_size < size ? OUT_SIZE - out_size : size;

		memcpy(out + out_size, from, n);
		out_size += n;
		from += n;
		size -= n;
		if (out_size == OUT_SIZE)
			flush();
	}
}

void tar_pad(uint64_t size)
{
	static const uint8_t zeros[BLOCK];

	tar_data(zeros, (size_t)(-size % BLOCK));
}

/* A pax record begins with its length in decimal. The length includes its own digits, so this
 * function first finds out how many digits there are. */
bool tar_record(const char *key, const void *value, size_t size)
{
	char text[DIGITS + 1];
	size_t key_size = strlen(key), rest = sizeof " =\n" - 1 + key_size + size, digits = 1;

	while (strlen(decimal(text, rest + digits)) > digits)
		digits++;
	if (size >= RECORDS_SIZE || rest + digits > RECORDS_SIZE - records_size)
		return false;
	char *at = records + records_size;

	records_size += rest + digits;
	memcpy(at, decimal(text, rest + digits), digits);
	at += digits;
	*at++ = ' ';
	memcpy(at, key, key_size);
	at += key_size;
	*at++ = '=';
	memcpy(at, value, size);
	at += size;
	*at = '\n';
	return true;
}

static bool record_number(const char *key, uint64_t value, bool negative)
{
	char text[DIGITS + 2];
	char *at = decimal(text + 1, value);

	if (negative)
		*--at = '-';
	return tar_record(key, at, strlen(at));
}

/* Fills a field of a header with octal digits and a NUL. Returns false if the value has too many
 * digits for the field. */
static bool octal(char *field, size_t size, uint64_t value)
{
	field[size - 1] = 0;
	for (size_t from_end = 2; from_end <= size; from_end++, value /= 8)
		field[size - from_end] = (char)('0' + value % 8);
	return value == 0;
}

/* Writes a number to a field of a header. If the number does not fit, the field gets its last
 * digits, and a pax record gets the whole number. Returns false if there is no room for the
 * record. */
static bool number(char *field, size_t size, const char *key, uint64_t value)
{
	return octal(field, size, value) || record_number(key, value, false);
}

static bool time_of(struct header *header, const struct stat *status)
{
	int64_t seconds = status->st_mtime;

	if (seconds >= 0)
		return number(header->mtime, sizeof header->mtime, "mtime", (uint64_t)seconds);
	octal(header->mtime, sizeof header->mtime, 0);
	return record_number("mtime", -(uint64_t)seconds, true);
}

static bool text(char *field, size_t size, const char *key, const char *value)
{
	size_t length = strlen(value);

	memcpy(field, value, length < size ? length : size);
	return length <= size || tar_record(key, value, length);
}

static void write_header(struct header *header, char type)
{
	const uint8_t *byte = (const uint8_t *)header;
	unsigned sum = 0;

	header->type = type;
	memcpy(header->magic,
	       "ustar\0"
	       "00",
	       sizeof header->magic);
	memset(header->checksum, ' ', sizeof header->checksum);
	for (size_t i = 0; i < sizeof *header; i++)
		sum += byte[i];
	octal(header->checksum, sizeof header->checksum - 1, sum);
	tar_data(header, sizeof *header);
}

static void write_records(void)
{
	struct header header = { .name = "pax",
				 .mode = "0000644",
				 .uid = "0000000",
				 .gid = "0000000",
				 .mtime = "00000000000" };

	if (records_size == 0)
		return;
	octal(header.size, sizeof header.size, records_size);
	write_header(&header, 'x');
	tar_data(records, records_size);
	tar_pad(records_size);
	records_size = 0;
}

/* Return the major and the minor number of a device, as the kernel encodes them (new_encode_dev in
 * linux/kdev_t.h). */
static uint64_t major_of(dev_t device)
{
	return device >> 8 & 0xfff;
}

static uint64_t minor_of(dev_t device)
{
	return (device & 0xff) | (device >> 12 & 0xfff00);
}

bool tar_member(const char *path, char type, const struct stat *status, uint64_t size,
		const char *target)
{
	struct header header = { 0 };
	bool fits = text(header.name, sizeof header.name, "path", path) &&
		    text(header.target, sizeof header.target, "linkpath", target ? target : "") &&
		    number(header.uid, sizeof header.uid, "uid", status->st_uid) &&
		    number(header.gid, sizeof header.gid, "gid", status->st_gid) &&
		    number(header.size, sizeof header.size, "size", size) &&
		    time_of(&header, status);

	octal(header.mode, sizeof header.mode, status->st_mode & 07777);
	octal(header.major, sizeof header.major, major_of(status->st_rdev));
	octal(header.minor, sizeof header.minor, minor_of(status->st_rdev));
	if (!fits)
		return false;
	write_records();
	write_header(&header, type);
	return true;
}

void tar_end(void)
{
	static const uint8_t zeros[2 * BLOCK];

	tar_data(zeros, sizeof zeros);
	flush();
}
