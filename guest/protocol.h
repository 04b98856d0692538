/* The wire protocol of sandboxd, version 4. Generated from sandboxd.toml by `microvm-proto gen`.
 * This header needs C99 or C++11, or later, and string.h. It allocates no memory. It keeps no
 * state. Decoders check every value against its bounds. Decoded slices point into the frame, so
 * keep the frame while you use them. */
#ifndef SANDBOXD_PROTOCOL_H
#define SANDBOXD_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SANDBOXD_VERSION 4u
#define SANDBOXD_SCHEMA_DIGEST 0x2957adf01e17c144ULL

/* The name of the virtio-serial port that carries the stream. */
#define SANDBOXD_PORT_NAME "microvm.sandboxd.0"
/* The bytes `microvm` and a newline, with which `hello` and `ready` begin. */
#define SANDBOXD_MAGIC 0xa6d766f7263696dULL
/* Maximum number of commands that run at once. */
#define SANDBOXD_MAX_COMMANDS 64

/* The two ends of a connection. The sender of a message is one of them, or both. */
enum sandboxd_end {
	SANDBOXD_HOST = 1,
	SANDBOXD_GUEST = 2,
	SANDBOXD_BOTH = 3,
};

/* Reasons for which a frame is rejected; 0 means that it is valid. */
enum sandboxd_fault {
	SANDBOXD_FAULT_NONE = 0,
	/* No message has this type. */
	SANDBOXD_FAULT_UNKNOWN_TYPE = 1,
	/* Only the other side may send this message. */
	SANDBOXD_FAULT_BAD_DIRECTION = 2,
	/* The header's flags are not 0. */
	SANDBOXD_FAULT_RESERVED_FLAGS = 3,
	/* The id is 0 but the message needs one, or not 0 but the message has none. */
	SANDBOXD_FAULT_BAD_ID = 4,
	/* The body is longer than this message's maximum. */
	SANDBOXD_FAULT_BODY_TOO_LONG = 5,
	/* A field, or the length of a field, extends beyond the body. */
	SANDBOXD_FAULT_TRUNCATED = 6,
	/* A value of variable length is longer than its bound. */
	SANDBOXD_FAULT_TOO_LONG = 7,
	/* A list has more items than its bound. */
	SANDBOXD_FAULT_TOO_MANY = 8,
	/* The items of a list, with their lengths, exceed its total bound. */
	SANDBOXD_FAULT_TOTAL_TOO_LONG = 9,
	/* A value is not among those that its field allows. */
	SANDBOXD_FAULT_UNKNOWN_VALUE = 10,
	/* A value that must not contain a NUL byte contains one. */
	SANDBOXD_FAULT_EMBEDDED_NUL = 11,
	/* The body continues after its last field. */
	SANDBOXD_FAULT_TRAILING_BYTES = 12,
	/* Text is not valid UTF-8. */
	SANDBOXD_FAULT_NOT_UTF8 = 13,
	/* A float that must be finite is a NaN or an infinity. */
	SANDBOXD_FAULT_NOT_FINITE = 14,
	/* The frame's check is wrong. */
	SANDBOXD_FAULT_BAD_CHECK = 15,
	/* The bytes between two delimiters are not a stuffed frame. */
	SANDBOXD_FAULT_BAD_STUFFING = 16,
};

/* The types of messages. */
enum sandboxd_type {
	/* Starts a new session on the stream. */
	SANDBOXD_TYPE_HELLO = 1,
	/* Answers `hello`. */
	SANDBOXD_TYPE_READY = 2,
	/* Gives a machine that was just started or restored the time and random bytes. A daemon that is
	 * not PID 1, as in tests, ignores the message. */
	SANDBOXD_TYPE_RESUME = 3,
	/* Asks whether the guest is alive. The guest also answers while a command runs. */
	SANDBOXD_TYPE_PING = 4,
	/* Answers `ping`. */
	SANDBOXD_TYPE_PONG = 5,
	/* Asks for the daemon's counters. */
	SANDBOXD_TYPE_STATUS_REQUEST = 6,
	/* Answers `status_request`. Times are of CLOCK_MONOTONIC, in nanoseconds since the guest's
	 * kernel started. */
	SANDBOXD_TYPE_STATUS = 7,
	/* Shuts the guest down: it kills all commands, sends `goodbye`, and resets the machine. */
	SANDBOXD_TYPE_SHUTDOWN = 8,
	/* The last frame of a guest that shuts down on purpose. */
	SANDBOXD_TYPE_GOODBYE = 9,
	/* Refuses a frame. The header's id is that of the refused frame. */
	SANDBOXD_TYPE_ERROR = 10,
	/* Freezes all processes, and the next `hello` does not kill them. Refused as `busy` while a
	 * command runs. */
	SANDBOXD_TYPE_KEEP = 11,
	/* Runs a command. */
	SANDBOXD_TYPE_EXEC_REQUEST = 16,
	/* Output of the command. */
	SANDBOXD_TYPE_EXEC_OUTPUT = 17,
	/* The command has ended, and all of its output has been sent. */
	SANDBOXD_TYPE_EXEC_RESPONSE = 18,
	/* The command could not be started. */
	SANDBOXD_TYPE_EXEC_FAILED = 19,
	/* Sends a signal to the command's process group. */
	SANDBOXD_TYPE_EXEC_SIGNAL = 20,
	/* Kills the command and all processes that it has started. The guest then sends the response,
	 * even if the host does not allow it to send the rest of the output. */
	SANDBOXD_TYPE_EXEC_KILL = 21,
	/* Asks the command to exit, by SIGTERM. When it has exited, the guest kills all processes that
	 * it leaves behind. */
	SANDBOXD_TYPE_EXEC_TERMINATE = 27,
	/* Allows the guest to send more output of the command. */
	SANDBOXD_TYPE_EXEC_CREDIT = 22,
	/* Bytes for the standard input of the command. An empty message is the end of file. */
	SANDBOXD_TYPE_EXEC_STDIN = 23,
	/* Allows the host to send more standard input for the command. */
	SANDBOXD_TYPE_EXEC_STDIN_CREDIT = 24,
	/* The command has closed its standard input. The guest drops any more input. */
	SANDBOXD_TYPE_EXEC_STDIN_CLOSED = 25,
	/* Changes the size of the command's terminal. */
	SANDBOXD_TYPE_EXEC_RESIZE = 26,
};

/* Returns the name of a fault, or "unknown" if no fault has this number. */
static inline const char *sandboxd_fault_name(enum sandboxd_fault fault)
{
	switch (fault) {
	case SANDBOXD_FAULT_NONE:
		return "none";
	case SANDBOXD_FAULT_UNKNOWN_TYPE:
		return "unknown_type";
	case SANDBOXD_FAULT_BAD_DIRECTION:
		return "bad_direction";
	case SANDBOXD_FAULT_RESERVED_FLAGS:
		return "reserved_flags";
	case SANDBOXD_FAULT_BAD_ID:
		return "bad_id";
	case SANDBOXD_FAULT_BODY_TOO_LONG:
		return "body_too_long";
	case SANDBOXD_FAULT_TRUNCATED:
		return "truncated";
	case SANDBOXD_FAULT_TOO_LONG:
		return "too_long";
	case SANDBOXD_FAULT_TOO_MANY:
		return "too_many";
	case SANDBOXD_FAULT_TOTAL_TOO_LONG:
		return "total_too_long";
	case SANDBOXD_FAULT_UNKNOWN_VALUE:
		return "unknown_value";
	case SANDBOXD_FAULT_EMBEDDED_NUL:
		return "embedded_nul";
	case SANDBOXD_FAULT_TRAILING_BYTES:
		return "trailing_bytes";
	case SANDBOXD_FAULT_NOT_UTF8:
		return "not_utf8";
	case SANDBOXD_FAULT_NOT_FINITE:
		return "not_finite";
	case SANDBOXD_FAULT_BAD_CHECK:
		return "bad_check";
	case SANDBOXD_FAULT_BAD_STUFFING:
		return "bad_stuffing";
	}
	return "unknown";
}

/* Returns the name of a message, or "unknown" if no message has this number. */
static inline const char *sandboxd_message_name(uint16_t type)
{
	switch (type) {
	case SANDBOXD_TYPE_HELLO:
		return "hello";
	case SANDBOXD_TYPE_READY:
		return "ready";
	case SANDBOXD_TYPE_RESUME:
		return "resume";
	case SANDBOXD_TYPE_PING:
		return "ping";
	case SANDBOXD_TYPE_PONG:
		return "pong";
	case SANDBOXD_TYPE_STATUS_REQUEST:
		return "status_request";
	case SANDBOXD_TYPE_STATUS:
		return "status";
	case SANDBOXD_TYPE_SHUTDOWN:
		return "shutdown";
	case SANDBOXD_TYPE_GOODBYE:
		return "goodbye";
	case SANDBOXD_TYPE_ERROR:
		return "error";
	case SANDBOXD_TYPE_KEEP:
		return "keep";
	case SANDBOXD_TYPE_EXEC_REQUEST:
		return "exec_request";
	case SANDBOXD_TYPE_EXEC_OUTPUT:
		return "exec_output";
	case SANDBOXD_TYPE_EXEC_RESPONSE:
		return "exec_response";
	case SANDBOXD_TYPE_EXEC_FAILED:
		return "exec_failed";
	case SANDBOXD_TYPE_EXEC_SIGNAL:
		return "exec_signal";
	case SANDBOXD_TYPE_EXEC_KILL:
		return "exec_kill";
	case SANDBOXD_TYPE_EXEC_TERMINATE:
		return "exec_terminate";
	case SANDBOXD_TYPE_EXEC_CREDIT:
		return "exec_credit";
	case SANDBOXD_TYPE_EXEC_STDIN:
		return "exec_stdin";
	case SANDBOXD_TYPE_EXEC_STDIN_CREDIT:
		return "exec_stdin_credit";
	case SANDBOXD_TYPE_EXEC_STDIN_CLOSED:
		return "exec_stdin_closed";
	case SANDBOXD_TYPE_EXEC_RESIZE:
		return "exec_resize";
	}
	return "unknown";
}

/* The reasons for which a frame is refused. */
enum sandboxd_error_code {
	/* No message has this type. */
	SANDBOXD_ERROR_CODE_UNKNOWN_TYPE = 1,
	/* Only the other side may send this message. */
	SANDBOXD_ERROR_CODE_BAD_DIRECTION = 2,
	/* The header's flags are not 0. */
	SANDBOXD_ERROR_CODE_RESERVED_FLAGS = 3,
	/* The id is 0 but the message needs one, or not 0 but the message has none. */
	SANDBOXD_ERROR_CODE_BAD_ID = 4,
	/* The body is longer than this message's maximum. */
	SANDBOXD_ERROR_CODE_BODY_TOO_LONG = 5,
	/* A field, or the length of a field, extends beyond the body. */
	SANDBOXD_ERROR_CODE_TRUNCATED = 6,
	/* A value of variable length is longer than its bound. */
	SANDBOXD_ERROR_CODE_TOO_LONG = 7,
	/* A list has more items than its bound. */
	SANDBOXD_ERROR_CODE_TOO_MANY = 8,
	/* The items of a list, with their lengths, exceed its total bound. */
	SANDBOXD_ERROR_CODE_TOTAL_TOO_LONG = 9,
	/* A value is not among those that its field allows. */
	SANDBOXD_ERROR_CODE_UNKNOWN_VALUE = 10,
	/* A value that must not contain a NUL byte contains one. */
	SANDBOXD_ERROR_CODE_EMBEDDED_NUL = 11,
	/* The body continues after its last field. */
	SANDBOXD_ERROR_CODE_TRAILING_BYTES = 12,
	/* Text is not valid UTF-8. */
	SANDBOXD_ERROR_CODE_NOT_UTF8 = 13,
	/* A float that must be finite is a NaN or an infinity. */
	SANDBOXD_ERROR_CODE_NOT_FINITE = 14,
	/* The frame's check is wrong. */
	SANDBOXD_ERROR_CODE_BAD_CHECK = 15,
	/* The bytes between two delimiters are not a stuffed frame. */
	SANDBOXD_ERROR_CODE_BAD_STUFFING = 16,
	/* The command must not run at the same time as the running commands. */
	SANDBOXD_ERROR_CODE_BUSY = 64,
	/* The message is about a command that was never requested: its id is higher than that of every
	 * `exec_request` so far. */
	SANDBOXD_ERROR_CODE_UNKNOWN_ID = 65,
	/* The id of an `exec_request` is not higher than the ids of all earlier ones. */
	SANDBOXD_ERROR_CODE_STALE_ID = 66,
	/* An `exec_stdin` contains more data than the guest has allowed by `exec_stdin_credit`. */
	SANDBOXD_ERROR_CODE_OVER_CREDIT = 67,
};

/* The output streams of a command; the numbers are its file descriptors. */
enum sandboxd_stream {
	/* Standard output. */
	SANDBOXD_STREAM_STDOUT = 1,
	/* Standard error. */
	SANDBOXD_STREAM_STDERR = 2,
};

/* The ways in which a command can end. */
enum sandboxd_ending {
	/* The command exited by itself; the status is its exit code. */
	SANDBOXD_ENDING_EXITED = 0,
	/* A signal killed the command; the status is the signal's number. */
	SANDBOXD_ENDING_SIGNALLED = 1,
	/* The kernel killed the command and all processes that it had started, because together they
	 * exceeded `max_memory`. The status is the signal's number. A host that speaks version 1 gets
	 * `signalled` instead. */
	SANDBOXD_ENDING_OUT_OF_MEMORY = 2,
};

/* The steps of a command's start, at each of which it can fail. */
enum sandboxd_stage {
	/* Creating the pipes for the command's standard streams. */
	SANDBOXD_STAGE_PIPE = 1,
	/* Creating the process. */
	SANDBOXD_STAGE_FORK = 2,
	/* Giving the process its streams, session and limits. */
	SANDBOXD_STAGE_SETUP = 3,
	/* Entering the working directory. */
	SANDBOXD_STAGE_CHDIR = 4,
	/* Looking up the command: no folder of PATH has it. */
	SANDBOXD_STAGE_LOOKUP = 5,
	/* Executing the command. */
	SANDBOXD_STAGE_EXEC = 6,
	/* Executing the command: its file exists, but the interpreter of that file does not. */
	SANDBOXD_STAGE_INTERPRETER = 7,
	/* Changing to the user: there is no user of that name. */
	SANDBOXD_STAGE_USER = 8,
	/* Limiting memory or processes. */
	SANDBOXD_STAGE_LIMIT = 9,
};

/* The sources of a command's standard input. */
enum sandboxd_stdin_kind {
	/* `/dev/null`, so that the command has no input. */
	SANDBOXD_STDIN_KIND_NULL = 0,
	/* The host, which sends the input in `exec_stdin` messages. */
	SANDBOXD_STDIN_KIND_HOST = 1,
};

/* The reasons why the guest shuts itself down. */
enum sandboxd_goodbye_reason {
	/* The host has sent `shutdown`. */
	SANDBOXD_GOODBYE_REASON_SHUTDOWN = 1,
	/* The daemon cannot continue, or its connection to the host has ended. */
	SANDBOXD_GOODBYE_REASON_BROKEN = 2,
};

/* Sizes are in bytes; bounds of lists are numbers of items. MAX_TAILLESS_BODY is the largest
 * body of the messages without a tail, most of which are small. */
enum {
	SANDBOXD_HEADER_SIZE = 12,
	SANDBOXD_MAX_BODY = 6299831,
	SANDBOXD_MAX_BODY_FROM_HOST = 6299831,
	SANDBOXD_MAX_TAILLESS_BODY_FROM_HOST = 6299831,
	SANDBOXD_MAX_BODY_FROM_GUEST = 65537,
	SANDBOXD_MAX_TAILLESS_BODY_FROM_GUEST = 105,
	SANDBOXD_HELLO_MAX_BODY = 32,
	SANDBOXD_READY_MAX_BODY = 32,
	SANDBOXD_RESUME_MAX_BODY = 76,
	SANDBOXD_RESUME_ENTROPY_MAX = 64,
	SANDBOXD_PING_MAX_BODY = 8,
	SANDBOXD_PONG_MAX_BODY = 8,
	SANDBOXD_STATUS_REQUEST_MAX_BODY = 0,
	SANDBOXD_STATUS_MAX_BODY = 69,
	SANDBOXD_SHUTDOWN_MAX_BODY = 0,
	SANDBOXD_GOODBYE_MAX_BODY = 1,
	SANDBOXD_ERROR_MAX_BODY = 9,
	SANDBOXD_KEEP_MAX_BODY = 0,
	SANDBOXD_EXEC_REQUEST_MAX_BODY = 6299831,
	SANDBOXD_EXEC_REQUEST_COMMAND_MAX = 4096,
	SANDBOXD_EXEC_REQUEST_CWD_MAX = 4096,
	SANDBOXD_EXEC_REQUEST_ARGV_MAX_ITEMS = 16384,
	SANDBOXD_EXEC_REQUEST_ARGV_MAX_ITEM = 131071,
	SANDBOXD_EXEC_REQUEST_ARGV_MAX_TOTAL = 1048576,
	SANDBOXD_EXEC_REQUEST_ENV_MAX_ITEMS = 16384,
	SANDBOXD_EXEC_REQUEST_ENV_MAX_ITEM = 131071,
	SANDBOXD_EXEC_REQUEST_ENV_MAX_TOTAL = 1048576,
	SANDBOXD_EXEC_REQUEST_USER_MAX = 128,
	SANDBOXD_EXEC_REQUEST_MORE_ARGV_MAX_ITEMS = 262144,
	SANDBOXD_EXEC_REQUEST_MORE_ARGV_MAX_ITEM = 131071,
	SANDBOXD_EXEC_REQUEST_MORE_ARGV_MAX_TOTAL = 2097152,
	SANDBOXD_EXEC_REQUEST_MORE_ENV_MAX_ITEMS = 262144,
	SANDBOXD_EXEC_REQUEST_MORE_ENV_MAX_ITEM = 131071,
	SANDBOXD_EXEC_REQUEST_MORE_ENV_MAX_TOTAL = 2097152,
	SANDBOXD_EXEC_OUTPUT_MAX_BODY = 65537,
	SANDBOXD_EXEC_OUTPUT_DATA_MAX = 65536,
	SANDBOXD_EXEC_OUTPUT_DATA_PREFIX = 1,
	SANDBOXD_EXEC_RESPONSE_MAX_BODY = 10,
	SANDBOXD_EXEC_FAILED_MAX_BODY = 105,
	SANDBOXD_EXEC_FAILED_MISSING_MAX = 96,
	SANDBOXD_EXEC_SIGNAL_MAX_BODY = 1,
	SANDBOXD_EXEC_KILL_MAX_BODY = 0,
	SANDBOXD_EXEC_TERMINATE_MAX_BODY = 0,
	SANDBOXD_EXEC_CREDIT_MAX_BODY = 5,
	SANDBOXD_EXEC_STDIN_MAX_BODY = 65536,
	SANDBOXD_EXEC_STDIN_DATA_MAX = 65536,
	SANDBOXD_EXEC_STDIN_DATA_PREFIX = 0,
	SANDBOXD_EXEC_STDIN_CREDIT_MAX_BODY = 4,
	SANDBOXD_EXEC_STDIN_CLOSED_MAX_BODY = 0,
	SANDBOXD_EXEC_RESIZE_MAX_BODY = 4,
};

typedef char sandboxd_needs_size_t_of_4_bytes[sizeof(size_t) >= 4 ? 1 : -1];

/* Bytes inside a frame. They are not terminated by a NUL. */
struct sandboxd_slice {
	const uint8_t *data;
	uint32_t size;
};

/* The encoded items of a list inside a frame. An item of variable size is preceded by its length;
 * `size` is the number of bytes of all items and lengths. */
struct sandboxd_list {
	const uint8_t *items;
	uint32_t size;
	uint32_t count;
};

static inline struct sandboxd_slice sandboxd_no_slice(void)
{
	const struct sandboxd_slice none = { NULL, 0 };

	return none;
}

static inline struct sandboxd_list sandboxd_no_list(void)
{
	const struct sandboxd_list none = { NULL, 0, 0 };

	return none;
}

struct sandboxd_header {
	uint32_t body_length;
	uint16_t type;
	uint16_t flags;
	uint32_t id;
};

/* The reason for which decoding failed, the offset of the error from the start of the frame, and
 * the number of the field, counted from 1, or 0 for the header. */
struct sandboxd_fault_at {
	enum sandboxd_fault fault;
	uint32_t offset;
	uint8_t field;
};

/* Starts a new session on the stream. */
struct sandboxd_hello {
	/* The highest version of this protocol that the sender speaks. */
	uint32_t version;
	/* The digest of the sender's schema. */
	uint64_t digest;
	/* The longest body that the sender can receive, in bytes; information only. */
	uint32_t max_body;
	/* A random number, which is a new one for each `hello`. */
	uint64_t nonce;
};

/* Answers `hello`. */
struct sandboxd_ready {
	/* The highest version of this protocol that the sender speaks. */
	uint32_t version;
	/* The digest of the sender's schema. */
	uint64_t digest;
	/* The longest body that the sender can receive, in bytes; information only. */
	uint32_t max_body;
	/* The nonce of the `hello` that this answers. */
	uint64_t nonce;
};

/* Gives a machine that was just started or restored the time and random bytes. A daemon that is
 * not PID 1, as in tests, ignores the message. */
struct sandboxd_resume {
	/* The wall clock, in nanoseconds since 1970-01-01 UTC. */
	uint64_t realtime_ns;
	/* Random bytes for the guest's kernel, which counts all their bits as entropy. */
	struct sandboxd_slice entropy;
};

/* Asks whether the guest is alive. The guest also answers while a command runs. */
struct sandboxd_ping {
	/* Any number. */
	uint64_t token;
};

/* Answers `ping`. */
struct sandboxd_pong {
	/* The number from the `ping`. */
	uint64_t token;
};

/* Answers `status_request`. Times are of CLOCK_MONOTONIC, in nanoseconds since the guest's
 * kernel started. */
struct sandboxd_status {
	/* The time at which the daemon started. */
	uint64_t started_ns;
	/* The time at which the daemon had opened its port to the host. */
	uint64_t opened_ns;
	/* The time at which the daemon wrote this message. */
	uint64_t now_ns;
	/* Number of well-formed frames since the daemon started, including the `status_request`. */
	uint64_t frames_seen;
	/* Number of frames that the daemon answered with `error`. */
	uint64_t frames_refused;
	/* Number of commands that the daemon has started, without failed starts. */
	uint64_t execs;
	/* Number of bytes skipped in search of a `hello`, including those of the malformed frame
	 * before. */
	uint64_t bytes_dropped;
	/* Number of files that the daemon has open. */
	uint32_t descriptors;
	/* 1 if a child process has exited and was not reaped yet, otherwise 0. */
	uint8_t zombies;
	/* The resident memory of the daemon, in bytes; 0 if it has no `/proc`. */
	uint64_t memory;
};

/* The last frame of a guest that shuts down on purpose. */
struct sandboxd_goodbye {
	/* The reason. */
	uint8_t reason;
};

/* Refuses a frame. The header's id is that of the refused frame. */
struct sandboxd_error {
	/* The reason. */
	uint16_t code;
	/* The type in the refused frame's header. */
	uint16_t refused_type;
	/* The position of the fault, in bytes from the start of the frame; 0 for codes from 64 on. */
	uint32_t offset;
	/* The number of the faulty field, from 1; 0 for the header, for `trailing_bytes`, and for codes
	 * from 64 on. */
	uint8_t field;
};

/* Runs a command. */
struct sandboxd_exec_request {
	/* The file to execute. Without a slash, it is looked up in PATH. */
	struct sandboxd_slice command;
	/* The working directory. When it is empty, it is the user's home, or `/` if the home cannot be
	 * entered. */
	struct sandboxd_slice cwd;
	/* The arguments, as for `execve`: the first is the program's own name. */
	struct sandboxd_list argv;
	/* The environment variables, as `KEY=VALUE`. The guest adds defaults, such as PATH, for those
	 * that are missing. */
	struct sandboxd_list env;
	/* Number of bytes of standard output that the guest may send before the first `exec_credit`. */
	uint32_t stdout_credit;
	/* Number of bytes of standard error that the guest may send before the first `exec_credit`. */
	uint32_t stderr_credit;
	/* The user to run as: `NAME`, `UID`, or either with `:GROUP`. If it is empty, the daemon's own
	 * user, which is root in a machine. */
	struct sandboxd_slice user;
	/* The source of standard input. The source for a terminal is always the host. */
	uint8_t stdin_from;
	/* Number of lines of the command's terminal; 0: the command has no terminal. */
	uint16_t rows;
	/* Number of columns of the terminal. */
	uint16_t columns;
	/* Maximum number of processes and threads of the command at a time, if the guest has cgroups;
	 * 0: as many as the kernel allows. */
	uint32_t max_processes;
	/* Maximum number of bytes of memory that the command's processes may use together, if the guest
	 * has cgroups; 0: no limit. */
	uint64_t max_memory;
	/* The arguments after those in `argv`, for which `argv` has no room. */
	struct sandboxd_list more_argv;
	/* The entries after those in `env`, for which `env` has no room. */
	struct sandboxd_list more_env;
	/* True if the command may run at the same time as other commands whose `beside` is true; false
	 * if it may only run alone. */
	bool beside;
	/* True if standard error is the same pipe as standard output, so that the output of both
	 * arrives in order, as standard output. */
	bool joined;
};

/* Output of the command. */
struct sandboxd_exec_output {
	/* The stream that the command wrote to. */
	uint8_t stream;
	/* The bytes, at least one. */
	struct sandboxd_slice data;
};

/* The command has ended, and all of its output has been sent. */
struct sandboxd_exec_response {
	/* The way in which the command ended. */
	uint8_t ending;
	/* The exit code or the number of the signal, depending on `ending`. */
	uint8_t status;
	/* The peak memory use of the command and all processes that it started, in bytes; 0 if it is
	 * not known. */
	uint64_t memory;
};

/* The command could not be started. */
struct sandboxd_exec_failed {
	/* The step that failed. */
	uint8_t stage;
	/* The `errno` of the failure, as Linux numbers it. */
	uint32_t error_number;
	/* For the stage `interpreter`, the first bytes of the path of the missing interpreter, which
	 * the host cannot know; otherwise empty. */
	struct sandboxd_slice missing;
};

/* Sends a signal to the command's process group. */
struct sandboxd_exec_signal {
	/* The number of the signal. 0 and numbers that the guest's kernel does not have are ignored. */
	uint8_t signal;
};

/* Allows the guest to send more output of the command. */
struct sandboxd_exec_credit {
	/* The output stream of which the guest may send more. */
	uint8_t stream;
	/* Number of bytes that the guest may send in addition. The total number that it may send is
	 * limited to 4294967295. */
	uint32_t amount;
};

/* Bytes for the standard input of the command. An empty message is the end of file. */
struct sandboxd_exec_stdin {
	/* The bytes. */
	struct sandboxd_slice data;
};

/* Allows the host to send more standard input for the command. */
struct sandboxd_exec_stdin_credit {
	/* Number of bytes that the host may send in addition, at least one. */
	uint32_t amount;
};

/* Changes the size of the command's terminal. */
struct sandboxd_exec_resize {
	/* Number of lines. */
	uint16_t rows;
	/* Number of columns. */
	uint16_t columns;
};

/* The body of any message. */
union sandboxd_body {
	struct sandboxd_hello hello;
	struct sandboxd_ready ready;
	struct sandboxd_resume resume;
	struct sandboxd_ping ping;
	struct sandboxd_pong pong;
	struct sandboxd_status status;
	struct sandboxd_goodbye goodbye;
	struct sandboxd_error error;
	struct sandboxd_exec_request exec_request;
	struct sandboxd_exec_output exec_output;
	struct sandboxd_exec_response exec_response;
	struct sandboxd_exec_failed exec_failed;
	struct sandboxd_exec_signal exec_signal;
	struct sandboxd_exec_credit exec_credit;
	struct sandboxd_exec_stdin exec_stdin;
	struct sandboxd_exec_stdin_credit exec_stdin_credit;
	struct sandboxd_exec_resize exec_resize;
};

static inline uint64_t sandboxd_get(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

static inline uint8_t *sandboxd_put(uint8_t *at, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
	return at + size;
}

/* Copies `size` bytes to `at`, and returns the end of the copy. Does not copy if `data` is `at`, so
 * that a program can read a tail directly into its frame. */
static inline uint8_t *sandboxd_put_bytes(uint8_t *at, const uint8_t *data, uint32_t size)
{
	if (size > 0 && data != at)
		memmove(at, data, (size_t)size);
	return at + size;
}

static inline void sandboxd_put_header(uint8_t *out, const uint8_t *end, uint16_t type, uint32_t id)
{
	size_t body = (size_t)(end - out) - (size_t)SANDBOXD_HEADER_SIZE;

	sandboxd_put(out, 4, body);
	sandboxd_put(out + 4, 2, type);
	sandboxd_put(out + 6, 2, 0);
	sandboxd_put(out + 8, 4, id);
}

static inline bool sandboxd_fail(struct sandboxd_fault_at *at, enum sandboxd_fault fault, size_t offset,
	uint8_t field)
{
	at->fault = fault;
	at->offset = (uint32_t)offset;
	at->field = field;
	return false;
}

/* The state of decoding a body. The offset `at` never exceeds `size`. */
struct sandboxd_cursor {
	const uint8_t *body;
	size_t size;
	size_t at;
	struct sandboxd_fault_at *fault;
};

static inline bool sandboxd_refuse(const struct sandboxd_cursor *cursor, enum sandboxd_fault fault, size_t at,
	uint8_t field)
{
	return sandboxd_fail(cursor->fault, fault, SANDBOXD_HEADER_SIZE + at, field);
}

static inline bool sandboxd_take(struct sandboxd_cursor *cursor, uint8_t field, unsigned size,
	uint64_t *value)
{
	if (cursor->size - cursor->at < size)
		return sandboxd_refuse(cursor, SANDBOXD_FAULT_TRUNCATED, cursor->at, field);
	*value = sandboxd_get(cursor->body + cursor->at, size);
	cursor->at += size;
	return true;
}

#define SANDBOXD_DEFINE_TAKE(name, type, size) \
	static inline bool sandboxd_take_##name(struct sandboxd_cursor *cursor, uint8_t field, type *out) \
	{ \
		uint64_t value; \
		if (!sandboxd_take(cursor, field, size, &value)) \
			return false; \
		*out = (type)value; \
		return true; \
	}
SANDBOXD_DEFINE_TAKE(u8, uint8_t, 1)
SANDBOXD_DEFINE_TAKE(u16, uint16_t, 2)
SANDBOXD_DEFINE_TAKE(u32, uint32_t, 4)
SANDBOXD_DEFINE_TAKE(u64, uint64_t, 8)
SANDBOXD_DEFINE_TAKE(i8, int8_t, 1)
SANDBOXD_DEFINE_TAKE(i16, int16_t, 2)
SANDBOXD_DEFINE_TAKE(i32, int32_t, 4)
SANDBOXD_DEFINE_TAKE(i64, int64_t, 8)
SANDBOXD_DEFINE_TAKE(length, uint32_t, 4)
#undef SANDBOXD_DEFINE_TAKE

/* Reports an unknown value if `known` is false. The value is the last `size` bytes that were read.
 * Returns `known`. */
static inline bool sandboxd_known(const struct sandboxd_cursor *cursor, uint8_t field, unsigned size,
	bool known)
{
	if (!known)
		sandboxd_refuse(cursor, SANDBOXD_FAULT_UNKNOWN_VALUE, cursor->at - size, field);
	return known;
}

static inline bool sandboxd_take_constant(struct sandboxd_cursor *cursor, uint8_t field, unsigned size,
	uint64_t expected)
{
	uint64_t value;

	return sandboxd_take(cursor, field, size, &value) &&
		sandboxd_known(cursor, field, size, value == expected);
}

static inline bool sandboxd_no_nul(const struct sandboxd_cursor *cursor, uint8_t field,
	const struct sandboxd_slice *slice)
{
	for (uint32_t i = 0; i < slice->size; i++)
		if (slice->data[i] == 0)
			return sandboxd_refuse(cursor, SANDBOXD_FAULT_EMBEDDED_NUL,
				(size_t)(slice->data - cursor->body) + (size_t)i, field);
	return true;
}

static inline bool sandboxd_take_bytes(struct sandboxd_cursor *cursor, uint8_t field, uint32_t max,
	bool nul, struct sandboxd_slice *out)
{
	size_t prefix = cursor->at;

	if (!sandboxd_take_length(cursor, field, &out->size))
		return false;
	if (out->size > max)
		return sandboxd_refuse(cursor, SANDBOXD_FAULT_TOO_LONG, prefix, field);
	if (out->size > cursor->size - cursor->at)
		return sandboxd_refuse(cursor, SANDBOXD_FAULT_TRUNCATED, cursor->at, field);
	out->data = cursor->body + cursor->at;
	cursor->at += (size_t)out->size;
	return nul || sandboxd_no_nul(cursor, field, out);
}

static inline bool sandboxd_take_count(struct sandboxd_cursor *cursor, uint8_t field, uint32_t max_items,
	struct sandboxd_list *out)
{
	size_t prefix = cursor->at;

	if (!sandboxd_take_length(cursor, field, &out->count))
		return false;
	if (out->count > max_items)
		return sandboxd_refuse(cursor, SANDBOXD_FAULT_TOO_MANY, prefix, field);
	out->items = cursor->body + cursor->at;
	return true;
}

static inline bool sandboxd_take_list(struct sandboxd_cursor *cursor, uint8_t field, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul, struct sandboxd_list *out)
{
	if (!sandboxd_take_count(cursor, field, max_items, out))
		return false;
	size_t start = cursor->at;
	for (uint32_t i = 0; i < out->count; i++) {
		struct sandboxd_slice item;
		size_t before = cursor->at;

		if (!sandboxd_take_bytes(cursor, field, max_item, nul, &item))
			return false;
		if (cursor->at - start > max_total)
			return sandboxd_refuse(cursor, SANDBOXD_FAULT_TOTAL_TOO_LONG, before, field);
	}
	out->size = (uint32_t)(cursor->at - start);
	return true;
}

/* Returns the item at `*at` of a decoded list, and advances `*at` to the next item. */
static inline struct sandboxd_slice sandboxd_next(const uint8_t **at)
{
	struct sandboxd_slice item = { *at + 4, (uint32_t)sandboxd_get(*at, 4) };

	*at += 4 + item.size;
	return item;
}

static inline bool sandboxd_take_tail(struct sandboxd_cursor *cursor, uint8_t field, uint32_t max,
	struct sandboxd_slice *out)
{
	size_t left = cursor->size - cursor->at;

	if (left > max)
		return sandboxd_refuse(cursor, SANDBOXD_FAULT_TOO_LONG, cursor->at, field);
	out->data = cursor->body + cursor->at;
	out->size = (uint32_t)left;
	cursor->at = cursor->size;
	return true;
}

static inline bool sandboxd_end(const struct sandboxd_cursor *cursor)
{
	if (cursor->at != cursor->size)
		sandboxd_refuse(cursor, SANDBOXD_FAULT_TRAILING_BYTES, cursor->at, 0);
	return cursor->at == cursor->size;
}

static inline bool sandboxd_take_bool(struct sandboxd_cursor *cursor, uint8_t field, bool *out)
{
	uint8_t byte;

	if (!sandboxd_take_u8(cursor, field, &byte))
		return false;
	*out = byte != 0;
	return sandboxd_known(cursor, field, 1, byte <= 1);
}

static inline bool sandboxd_known_stream(uint8_t value, uint32_t version)
{
	(void)version;
	return value == SANDBOXD_STREAM_STDOUT ||
		value == SANDBOXD_STREAM_STDERR;
}

static inline bool sandboxd_known_ending(uint8_t value, uint32_t version)
{
	return value == SANDBOXD_ENDING_EXITED ||
		value == SANDBOXD_ENDING_SIGNALLED ||
		(version >= 2 && value == SANDBOXD_ENDING_OUT_OF_MEMORY);
}

static inline bool sandboxd_known_stdin_kind(uint8_t value, uint32_t version)
{
	(void)version;
	return value == SANDBOXD_STDIN_KIND_NULL ||
		value == SANDBOXD_STDIN_KIND_HOST;
}

/* A rule for the header of a message. It applies to all versions from `since` on, up to
 * the next rule for the same type. */
struct sandboxd_rule {
	uint16_t type;
	uint8_t sender;
	uint8_t id; /* 0: must be zero, 1: must not be zero, 2: any */
	uint32_t since;
	uint32_t max_body;
};

static const struct sandboxd_rule sandboxd_rules[] = {
	{ SANDBOXD_TYPE_HELLO, SANDBOXD_HOST, 0, 1, 32 },
	{ SANDBOXD_TYPE_READY, SANDBOXD_GUEST, 0, 1, 32 },
	{ SANDBOXD_TYPE_RESUME, SANDBOXD_HOST, 0, 1, 76 },
	{ SANDBOXD_TYPE_PING, SANDBOXD_HOST, 0, 1, 8 },
	{ SANDBOXD_TYPE_PONG, SANDBOXD_GUEST, 0, 1, 8 },
	{ SANDBOXD_TYPE_STATUS_REQUEST, SANDBOXD_HOST, 0, 1, 0 },
	{ SANDBOXD_TYPE_STATUS, SANDBOXD_GUEST, 0, 1, 69 },
	{ SANDBOXD_TYPE_SHUTDOWN, SANDBOXD_HOST, 0, 1, 0 },
	{ SANDBOXD_TYPE_GOODBYE, SANDBOXD_GUEST, 0, 1, 1 },
	{ SANDBOXD_TYPE_ERROR, SANDBOXD_GUEST, 2, 1, 9 },
	{ SANDBOXD_TYPE_KEEP, SANDBOXD_HOST, 0, 2, 0 },
	{ SANDBOXD_TYPE_EXEC_REQUEST, SANDBOXD_HOST, 1, 1, 2105517 },
	{ SANDBOXD_TYPE_EXEC_REQUEST, SANDBOXD_HOST, 1, 2, 6299829 },
	{ SANDBOXD_TYPE_EXEC_REQUEST, SANDBOXD_HOST, 1, 4, 6299831 },
	{ SANDBOXD_TYPE_EXEC_OUTPUT, SANDBOXD_GUEST, 1, 1, 65537 },
	{ SANDBOXD_TYPE_EXEC_RESPONSE, SANDBOXD_GUEST, 1, 1, 2 },
	{ SANDBOXD_TYPE_EXEC_RESPONSE, SANDBOXD_GUEST, 1, 2, 2 },
	{ SANDBOXD_TYPE_EXEC_RESPONSE, SANDBOXD_GUEST, 1, 3, 10 },
	{ SANDBOXD_TYPE_EXEC_FAILED, SANDBOXD_GUEST, 1, 1, 5 },
	{ SANDBOXD_TYPE_EXEC_FAILED, SANDBOXD_GUEST, 1, 2, 105 },
	{ SANDBOXD_TYPE_EXEC_SIGNAL, SANDBOXD_HOST, 1, 1, 1 },
	{ SANDBOXD_TYPE_EXEC_KILL, SANDBOXD_HOST, 1, 1, 0 },
	{ SANDBOXD_TYPE_EXEC_TERMINATE, SANDBOXD_HOST, 1, 1, 0 },
	{ SANDBOXD_TYPE_EXEC_CREDIT, SANDBOXD_HOST, 1, 1, 5 },
	{ SANDBOXD_TYPE_EXEC_STDIN, SANDBOXD_HOST, 1, 1, 65536 },
	{ SANDBOXD_TYPE_EXEC_STDIN_CREDIT, SANDBOXD_GUEST, 1, 1, 4 },
	{ SANDBOXD_TYPE_EXEC_STDIN_CLOSED, SANDBOXD_GUEST, 1, 1, 0 },
	{ SANDBOXD_TYPE_EXEC_RESIZE, SANDBOXD_HOST, 1, 1, 4 },
	{ 0, 0, 0, 0, 0 },
};

/* Returns the newest rule for a type that applies to `version`, or NULL if there is none. */
static inline const struct sandboxd_rule *sandboxd_find_rule(uint32_t version, uint16_t type)
{
	const struct sandboxd_rule *found = NULL;

	for (const struct sandboxd_rule *rule = sandboxd_rules; rule->type; rule++)
		if (rule->type == type && rule->since <= version)
			found = rule;
	return found;
}

/* Reads the header of a frame from `sender`, and checks everything that needs no body.
 * `version`, here and below, is the version that both sides agreed on. */
static inline bool sandboxd_decode_header(const uint8_t *frame, enum sandboxd_end sender, uint32_t version,
	struct sandboxd_header *header, struct sandboxd_fault_at *fault)
{
	header->body_length = (uint32_t)sandboxd_get(frame, 4);
	header->type = (uint16_t)sandboxd_get(frame + 4, 2);
	header->flags = (uint16_t)sandboxd_get(frame + 6, 2);
	header->id = (uint32_t)sandboxd_get(frame + 8, 4);
	const struct sandboxd_rule *rule = sandboxd_find_rule(version, header->type);
	if (!rule)
		return sandboxd_fail(fault, SANDBOXD_FAULT_UNKNOWN_TYPE, 4, 0);
	if (!(rule->sender & sender))
		return sandboxd_fail(fault, SANDBOXD_FAULT_BAD_DIRECTION, 4, 0);
	if (header->flags)
		return sandboxd_fail(fault, SANDBOXD_FAULT_RESERVED_FLAGS, 6, 0);
	if ((rule->id == 1 && header->id == 0) || (rule->id == 0 && header->id != 0))
		return sandboxd_fail(fault, SANDBOXD_FAULT_BAD_ID, 8, 0);
	if (header->body_length > rule->max_body)
		return sandboxd_fail(fault, SANDBOXD_FAULT_BODY_TOO_LONG, 0, 0);
	return true;
}

static inline bool sandboxd_decode_hello(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_hello *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_constant(&cursor, 1, 8, 0xa6d766f7263696dULL) &&
		sandboxd_take_u32(&cursor, 2, &message->version) &&
		sandboxd_take_u64(&cursor, 3, &message->digest) &&
		sandboxd_take_u32(&cursor, 4, &message->max_body) &&
		sandboxd_take_u64(&cursor, 5, &message->nonce) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_ready(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_ready *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_constant(&cursor, 1, 8, 0xa6d766f7263696dULL) &&
		sandboxd_take_u32(&cursor, 2, &message->version) &&
		sandboxd_take_u64(&cursor, 3, &message->digest) &&
		sandboxd_take_u32(&cursor, 4, &message->max_body) &&
		sandboxd_take_u64(&cursor, 5, &message->nonce) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_resume(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_resume *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_u64(&cursor, 1, &message->realtime_ns) &&
		sandboxd_take_bytes(&cursor, 2, 64, true, &message->entropy) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_ping(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_ping *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_u64(&cursor, 1, &message->token) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_pong(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_pong *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_u64(&cursor, 1, &message->token) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_status_request(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_status(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_status *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_u64(&cursor, 1, &message->started_ns) &&
		sandboxd_take_u64(&cursor, 2, &message->opened_ns) &&
		sandboxd_take_u64(&cursor, 3, &message->now_ns) &&
		sandboxd_take_u64(&cursor, 4, &message->frames_seen) &&
		sandboxd_take_u64(&cursor, 5, &message->frames_refused) &&
		sandboxd_take_u64(&cursor, 6, &message->execs) &&
		sandboxd_take_u64(&cursor, 7, &message->bytes_dropped) &&
		sandboxd_take_u32(&cursor, 8, &message->descriptors) &&
		sandboxd_take_u8(&cursor, 9, &message->zombies) &&
		sandboxd_take_u64(&cursor, 10, &message->memory) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_shutdown(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_goodbye(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_goodbye *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_u8(&cursor, 1, &message->reason) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_error(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_error *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_u16(&cursor, 1, &message->code) &&
		sandboxd_take_u16(&cursor, 2, &message->refused_type) &&
		sandboxd_take_u32(&cursor, 3, &message->offset) &&
		sandboxd_take_u8(&cursor, 4, &message->field) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_keep(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_exec_request(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_exec_request *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	return sandboxd_take_bytes(&cursor, 1, 4096, false, &message->command) &&
		sandboxd_take_bytes(&cursor, 2, 4096, false, &message->cwd) &&
		sandboxd_take_list(&cursor, 3, 16384, 131071, 1048576,
			false, &message->argv) &&
		sandboxd_take_list(&cursor, 4, 16384, 131071, 1048576,
			false, &message->env) &&
		sandboxd_take_u32(&cursor, 5, &message->stdout_credit) &&
		sandboxd_take_u32(&cursor, 6, &message->stderr_credit) &&
		sandboxd_take_bytes(&cursor, 7, 128, false, &message->user) &&
		sandboxd_take_u8(&cursor, 8, &message->stdin_from) &&
		sandboxd_known(&cursor, 8, 1, sandboxd_known_stdin_kind(message->stdin_from, version)) &&
		sandboxd_take_u16(&cursor, 9, &message->rows) &&
		sandboxd_take_u16(&cursor, 10, &message->columns) &&
		sandboxd_take_u32(&cursor, 11, &message->max_processes) &&
		sandboxd_take_u64(&cursor, 12, &message->max_memory) &&
		(version < 2 ? ((void)(message->more_argv = sandboxd_no_list()), true) :
			(sandboxd_take_list(&cursor, 13, 262144, 131071, 2097152,
			false, &message->more_argv))) &&
		(version < 2 ? ((void)(message->more_env = sandboxd_no_list()), true) :
			(sandboxd_take_list(&cursor, 14, 262144, 131071, 2097152,
			false, &message->more_env))) &&
		(version < 4 ? ((void)(message->beside = false), true) :
			(sandboxd_take_bool(&cursor, 15, &message->beside))) &&
		(version < 4 ? ((void)(message->joined = false), true) :
			(sandboxd_take_bool(&cursor, 16, &message->joined))) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_exec_output(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_exec_output *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	return sandboxd_take_u8(&cursor, 1, &message->stream) &&
		sandboxd_known(&cursor, 1, 1, sandboxd_known_stream(message->stream, version)) &&
		sandboxd_take_tail(&cursor, 2, 65536, &message->data);
}

static inline bool sandboxd_decode_exec_response(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_exec_response *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	return sandboxd_take_u8(&cursor, 1, &message->ending) &&
		sandboxd_known(&cursor, 1, 1, sandboxd_known_ending(message->ending, version)) &&
		sandboxd_take_u8(&cursor, 2, &message->status) &&
		(version < 3 ? ((void)(message->memory = (uint64_t)0), true) :
			(sandboxd_take_u64(&cursor, 3, &message->memory))) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_exec_failed(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_exec_failed *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	return sandboxd_take_u8(&cursor, 1, &message->stage) &&
		sandboxd_take_u32(&cursor, 2, &message->error_number) &&
		(version < 2 ? ((void)(message->missing = sandboxd_no_slice()), true) :
			(sandboxd_take_bytes(&cursor, 3, 96, true, &message->missing))) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_exec_signal(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_exec_signal *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_u8(&cursor, 1, &message->signal) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_exec_kill(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_exec_terminate(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_exec_credit(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_exec_credit *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	return sandboxd_take_u8(&cursor, 1, &message->stream) &&
		sandboxd_known(&cursor, 1, 1, sandboxd_known_stream(message->stream, version)) &&
		sandboxd_take_u32(&cursor, 2, &message->amount) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_exec_stdin(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_exec_stdin *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_tail(&cursor, 1, 65536, &message->data);
}

static inline bool sandboxd_decode_exec_stdin_credit(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_exec_stdin_credit *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_u32(&cursor, 1, &message->amount) &&
		sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_exec_stdin_closed(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_end(&cursor);
}

static inline bool sandboxd_decode_exec_resize(const uint8_t *body, size_t size,
	uint32_t version, struct sandboxd_exec_resize *message, struct sandboxd_fault_at *fault)
{
	struct sandboxd_cursor cursor = { body, size, 0, fault };

	(void)version;
	return sandboxd_take_u16(&cursor, 1, &message->rows) &&
		sandboxd_take_u16(&cursor, 2, &message->columns) &&
		sandboxd_end(&cursor);
}

/* Decodes the body of a frame whose header sandboxd_decode_header has accepted. */
static inline bool sandboxd_decode_body(const struct sandboxd_header *header, const uint8_t *body,
	uint32_t version, union sandboxd_body *out, struct sandboxd_fault_at *fault)
{
	(void)version;
	(void)out;
	switch (header->type) {
	case SANDBOXD_TYPE_HELLO:
		return sandboxd_decode_hello(body, (size_t)header->body_length, version, &out->hello, fault);
	case SANDBOXD_TYPE_READY:
		return sandboxd_decode_ready(body, (size_t)header->body_length, version, &out->ready, fault);
	case SANDBOXD_TYPE_RESUME:
		return sandboxd_decode_resume(body, (size_t)header->body_length, version, &out->resume, fault);
	case SANDBOXD_TYPE_PING:
		return sandboxd_decode_ping(body, (size_t)header->body_length, version, &out->ping, fault);
	case SANDBOXD_TYPE_PONG:
		return sandboxd_decode_pong(body, (size_t)header->body_length, version, &out->pong, fault);
	case SANDBOXD_TYPE_STATUS_REQUEST:
		return sandboxd_decode_status_request(body, (size_t)header->body_length, version, fault);
	case SANDBOXD_TYPE_STATUS:
		return sandboxd_decode_status(body, (size_t)header->body_length, version, &out->status, fault);
	case SANDBOXD_TYPE_SHUTDOWN:
		return sandboxd_decode_shutdown(body, (size_t)header->body_length, version, fault);
	case SANDBOXD_TYPE_GOODBYE:
		return sandboxd_decode_goodbye(body, (size_t)header->body_length, version, &out->goodbye, fault);
	case SANDBOXD_TYPE_ERROR:
		return sandboxd_decode_error(body, (size_t)header->body_length, version, &out->error, fault);
	case SANDBOXD_TYPE_KEEP:
		return sandboxd_decode_keep(body, (size_t)header->body_length, version, fault);
	case SANDBOXD_TYPE_EXEC_REQUEST:
		return sandboxd_decode_exec_request(body, (size_t)header->body_length, version, &out->exec_request, fault);
	case SANDBOXD_TYPE_EXEC_OUTPUT:
		return sandboxd_decode_exec_output(body, (size_t)header->body_length, version, &out->exec_output, fault);
	case SANDBOXD_TYPE_EXEC_RESPONSE:
		return sandboxd_decode_exec_response(body, (size_t)header->body_length, version, &out->exec_response, fault);
	case SANDBOXD_TYPE_EXEC_FAILED:
		return sandboxd_decode_exec_failed(body, (size_t)header->body_length, version, &out->exec_failed, fault);
	case SANDBOXD_TYPE_EXEC_SIGNAL:
		return sandboxd_decode_exec_signal(body, (size_t)header->body_length, version, &out->exec_signal, fault);
	case SANDBOXD_TYPE_EXEC_KILL:
		return sandboxd_decode_exec_kill(body, (size_t)header->body_length, version, fault);
	case SANDBOXD_TYPE_EXEC_TERMINATE:
		return sandboxd_decode_exec_terminate(body, (size_t)header->body_length, version, fault);
	case SANDBOXD_TYPE_EXEC_CREDIT:
		return sandboxd_decode_exec_credit(body, (size_t)header->body_length, version, &out->exec_credit, fault);
	case SANDBOXD_TYPE_EXEC_STDIN:
		return sandboxd_decode_exec_stdin(body, (size_t)header->body_length, version, &out->exec_stdin, fault);
	case SANDBOXD_TYPE_EXEC_STDIN_CREDIT:
		return sandboxd_decode_exec_stdin_credit(body, (size_t)header->body_length, version, &out->exec_stdin_credit, fault);
	case SANDBOXD_TYPE_EXEC_STDIN_CLOSED:
		return sandboxd_decode_exec_stdin_closed(body, (size_t)header->body_length, version, fault);
	case SANDBOXD_TYPE_EXEC_RESIZE:
		return sandboxd_decode_exec_resize(body, (size_t)header->body_length, version, &out->exec_resize, fault);
	default:
		(void)body;
		return sandboxd_fail(fault, SANDBOXD_FAULT_UNKNOWN_TYPE, 4, 0);
	}
}

/* Returns the fault of bytes that must not contain NUL, or FAULT_NONE. */
static inline enum sandboxd_fault sandboxd_check_bytes(const struct sandboxd_slice *bytes, uint32_t max)
{
	struct sandboxd_fault_at at = { SANDBOXD_FAULT_NONE, 0, 0 };
	const struct sandboxd_cursor cursor = { bytes->data, (size_t)bytes->size, 0, &at };

	if (bytes->size > max)
		return SANDBOXD_FAULT_TOO_LONG;
	sandboxd_no_nul(&cursor, 0, bytes);
	return at.fault;
}

/* Checks a list, in which a length precedes each item. Returns its fault, or FAULT_NONE. */
static inline enum sandboxd_fault sandboxd_check_list(const struct sandboxd_list *list, uint32_t max_items,
	uint32_t max_item, uint32_t max_total, bool nul)
{
	struct sandboxd_fault_at at = { SANDBOXD_FAULT_NONE, 0, 0 };
	struct sandboxd_cursor cursor = { list->items, (size_t)list->size, 0, &at };
	struct sandboxd_slice item;

	if (list->count > max_items)
		return SANDBOXD_FAULT_TOO_MANY;
	for (uint32_t i = 0; i < list->count; i++) {
		if (!sandboxd_take_bytes(&cursor, 0, max_item, nul, &item))
			return at.fault;
		if (cursor.at > max_total)
			return SANDBOXD_FAULT_TOTAL_TOO_LONG;
	}
	sandboxd_end(&cursor);
	return at.fault;
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_hello(uint32_t version,
	const struct sandboxd_hello *message)
{
	(void)version;
	(void)message;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_hello finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_hello(uint8_t *out, size_t room, uint32_t version,
	const struct sandboxd_hello *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_hello(version, message))
		return 0;
	size += 32;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 8, (uint64_t)0xa6d766f7263696dULL);
	at = sandboxd_put(at, 4, (uint64_t)message->version);
	at = sandboxd_put(at, 8, (uint64_t)message->digest);
	at = sandboxd_put(at, 4, (uint64_t)message->max_body);
	at = sandboxd_put(at, 8, (uint64_t)message->nonce);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_HELLO, 0);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_ready(uint32_t version,
	const struct sandboxd_ready *message)
{
	(void)version;
	(void)message;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_ready finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_ready(uint8_t *out, size_t room, uint32_t version,
	const struct sandboxd_ready *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_ready(version, message))
		return 0;
	size += 32;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 8, (uint64_t)0xa6d766f7263696dULL);
	at = sandboxd_put(at, 4, (uint64_t)message->version);
	at = sandboxd_put(at, 8, (uint64_t)message->digest);
	at = sandboxd_put(at, 4, (uint64_t)message->max_body);
	at = sandboxd_put(at, 8, (uint64_t)message->nonce);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_READY, 0);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_resume(uint32_t version,
	const struct sandboxd_resume *message)
{
	(void)version;
	if (message->entropy.size > 64)
		return SANDBOXD_FAULT_TOO_LONG;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_resume finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_resume(uint8_t *out, size_t room, uint32_t version,
	const struct sandboxd_resume *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_resume(version, message))
		return 0;
	size += 12 + message->entropy.size;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 8, (uint64_t)message->realtime_ns);
	at = sandboxd_put(at, 4, message->entropy.size);
	at = sandboxd_put_bytes(at, message->entropy.data, message->entropy.size);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_RESUME, 0);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_ping(uint32_t version,
	const struct sandboxd_ping *message)
{
	(void)version;
	(void)message;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_ping finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_ping(uint8_t *out, size_t room, uint32_t version,
	const struct sandboxd_ping *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_ping(version, message))
		return 0;
	size += 8;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 8, (uint64_t)message->token);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_PING, 0);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_pong(uint32_t version,
	const struct sandboxd_pong *message)
{
	(void)version;
	(void)message;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_pong finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_pong(uint8_t *out, size_t room, uint32_t version,
	const struct sandboxd_pong *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_pong(version, message))
		return 0;
	size += 8;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 8, (uint64_t)message->token);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_PONG, 0);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_status_request(uint32_t version)
{
	(void)version;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_status_request finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_status_request(uint8_t *out, size_t room,
	uint32_t version)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_status_request(version))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	sandboxd_put_header(out, at, SANDBOXD_TYPE_STATUS_REQUEST, 0);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_status(uint32_t version,
	const struct sandboxd_status *message)
{
	(void)version;
	(void)message;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_status finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_status(uint8_t *out, size_t room, uint32_t version,
	const struct sandboxd_status *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_status(version, message))
		return 0;
	size += 69;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 8, (uint64_t)message->started_ns);
	at = sandboxd_put(at, 8, (uint64_t)message->opened_ns);
	at = sandboxd_put(at, 8, (uint64_t)message->now_ns);
	at = sandboxd_put(at, 8, (uint64_t)message->frames_seen);
	at = sandboxd_put(at, 8, (uint64_t)message->frames_refused);
	at = sandboxd_put(at, 8, (uint64_t)message->execs);
	at = sandboxd_put(at, 8, (uint64_t)message->bytes_dropped);
	at = sandboxd_put(at, 4, (uint64_t)message->descriptors);
	at = sandboxd_put(at, 1, (uint64_t)message->zombies);
	at = sandboxd_put(at, 8, (uint64_t)message->memory);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_STATUS, 0);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_shutdown(uint32_t version)
{
	(void)version;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_shutdown finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_shutdown(uint8_t *out, size_t room, uint32_t version)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_shutdown(version))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	sandboxd_put_header(out, at, SANDBOXD_TYPE_SHUTDOWN, 0);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_goodbye(uint32_t version,
	const struct sandboxd_goodbye *message)
{
	(void)version;
	(void)message;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_goodbye finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_goodbye(uint8_t *out, size_t room, uint32_t version,
	const struct sandboxd_goodbye *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_goodbye(version, message))
		return 0;
	size += 1;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 1, (uint64_t)message->reason);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_GOODBYE, 0);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_error(uint32_t version, uint32_t id,
	const struct sandboxd_error *message)
{
	(void)version;
	(void)id;
	(void)message;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_error finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_error(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct sandboxd_error *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_error(version, id, message))
		return 0;
	size += 9;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 2, (uint64_t)message->code);
	at = sandboxd_put(at, 2, (uint64_t)message->refused_type);
	at = sandboxd_put(at, 4, (uint64_t)message->offset);
	at = sandboxd_put(at, 1, (uint64_t)message->field);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_ERROR, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_keep(uint32_t version)
{
	if (version < 2)
		return SANDBOXD_FAULT_UNKNOWN_TYPE;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_keep finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_keep(uint8_t *out, size_t room, uint32_t version)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_keep(version))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	sandboxd_put_header(out, at, SANDBOXD_TYPE_KEEP, 0);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_request(uint32_t version, uint32_t id,
	const struct sandboxd_exec_request *message)
{
	enum sandboxd_fault fault;

	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	fault = sandboxd_check_bytes(&message->command, 4096);
	if (fault)
		return fault;
	fault = sandboxd_check_bytes(&message->cwd, 4096);
	if (fault)
		return fault;
	fault = sandboxd_check_list(&message->argv, 16384, 131071, 1048576, false);
	if (fault)
		return fault;
	fault = sandboxd_check_list(&message->env, 16384, 131071, 1048576, false);
	if (fault)
		return fault;
	fault = sandboxd_check_bytes(&message->user, 128);
	if (fault)
		return fault;
	if (!sandboxd_known_stdin_kind(message->stdin_from, version))
		return SANDBOXD_FAULT_UNKNOWN_VALUE;
	if (version < 2 && (message->more_argv.count != 0 || message->more_argv.size != 0))
		return SANDBOXD_FAULT_TRAILING_BYTES;
	fault = version >= 2 ? sandboxd_check_list(&message->more_argv, 262144, 131071, 2097152, false) : SANDBOXD_FAULT_NONE;
	if (fault)
		return fault;
	if (version < 2 && (message->more_env.count != 0 || message->more_env.size != 0))
		return SANDBOXD_FAULT_TRAILING_BYTES;
	fault = version >= 2 ? sandboxd_check_list(&message->more_env, 262144, 131071, 2097152, false) : SANDBOXD_FAULT_NONE;
	if (fault)
		return fault;
	if (version < 4 && message->beside)
		return SANDBOXD_FAULT_TRAILING_BYTES;
	if (version < 4 && message->joined)
		return SANDBOXD_FAULT_TRAILING_BYTES;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_request finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_request(uint8_t *out, size_t room,
	uint32_t version, uint32_t id, const struct sandboxd_exec_request *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_request(version, id, message))
		return 0;
	size += 45 + message->command.size + message->cwd.size + message->argv.size + message->env.size + message->user.size;
	if (version >= 2)
		size += 8 + message->more_argv.size + message->more_env.size;
	if (version >= 4)
		size += 2;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 4, message->command.size);
	at = sandboxd_put_bytes(at, message->command.data, message->command.size);
	at = sandboxd_put(at, 4, message->cwd.size);
	at = sandboxd_put_bytes(at, message->cwd.data, message->cwd.size);
	at = sandboxd_put(at, 4, message->argv.count);
	at = sandboxd_put_bytes(at, message->argv.items, message->argv.size);
	at = sandboxd_put(at, 4, message->env.count);
	at = sandboxd_put_bytes(at, message->env.items, message->env.size);
	at = sandboxd_put(at, 4, (uint64_t)message->stdout_credit);
	at = sandboxd_put(at, 4, (uint64_t)message->stderr_credit);
	at = sandboxd_put(at, 4, message->user.size);
	at = sandboxd_put_bytes(at, message->user.data, message->user.size);
	at = sandboxd_put(at, 1, (uint64_t)message->stdin_from);
	at = sandboxd_put(at, 2, (uint64_t)message->rows);
	at = sandboxd_put(at, 2, (uint64_t)message->columns);
	at = sandboxd_put(at, 4, (uint64_t)message->max_processes);
	at = sandboxd_put(at, 8, (uint64_t)message->max_memory);
	if (version >= 2) {
		at = sandboxd_put(at, 4, message->more_argv.count);
		at = sandboxd_put_bytes(at, message->more_argv.items, message->more_argv.size);
		at = sandboxd_put(at, 4, message->more_env.count);
		at = sandboxd_put_bytes(at, message->more_env.items, message->more_env.size);
	}
	if (version >= 4) {
		at = sandboxd_put(at, 1, message->beside ? 1 : 0);
		at = sandboxd_put(at, 1, message->joined ? 1 : 0);
	}
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_REQUEST, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_output(uint32_t version, uint32_t id,
	const struct sandboxd_exec_output *message)
{
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	if (!sandboxd_known_stream(message->stream, version))
		return SANDBOXD_FAULT_UNKNOWN_VALUE;
	if (message->data.size > 65536)
		return SANDBOXD_FAULT_TOO_LONG;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_output finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_output(uint8_t *out, size_t room,
	uint32_t version, uint32_t id, const struct sandboxd_exec_output *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_output(version, id, message))
		return 0;
	size += 1 + message->data.size;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 1, (uint64_t)message->stream);
	at = sandboxd_put_bytes(at, message->data.data, message->data.size);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_OUTPUT, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_response(uint32_t version,
	uint32_t id, const struct sandboxd_exec_response *message)
{
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	if (!sandboxd_known_ending(message->ending, version))
		return SANDBOXD_FAULT_UNKNOWN_VALUE;
	if (version < 3 && message->memory != 0)
		return SANDBOXD_FAULT_TRAILING_BYTES;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_response finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_response(uint8_t *out, size_t room,
	uint32_t version, uint32_t id, const struct sandboxd_exec_response *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_response(version, id, message))
		return 0;
	size += 2;
	if (version >= 3)
		size += 8;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 1, (uint64_t)message->ending);
	at = sandboxd_put(at, 1, (uint64_t)message->status);
	if (version >= 3) {
		at = sandboxd_put(at, 8, (uint64_t)message->memory);
	}
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_RESPONSE, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_failed(uint32_t version, uint32_t id,
	const struct sandboxd_exec_failed *message)
{
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	if (version < 2 && message->missing.size != 0)
		return SANDBOXD_FAULT_TRAILING_BYTES;
	if (version >= 2 && message->missing.size > 96)
		return SANDBOXD_FAULT_TOO_LONG;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_failed finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_failed(uint8_t *out, size_t room,
	uint32_t version, uint32_t id, const struct sandboxd_exec_failed *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_failed(version, id, message))
		return 0;
	size += 5;
	if (version >= 2)
		size += 4 + message->missing.size;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 1, (uint64_t)message->stage);
	at = sandboxd_put(at, 4, (uint64_t)message->error_number);
	if (version >= 2) {
		at = sandboxd_put(at, 4, message->missing.size);
		at = sandboxd_put_bytes(at, message->missing.data, message->missing.size);
	}
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_FAILED, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_signal(uint32_t version, uint32_t id,
	const struct sandboxd_exec_signal *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_signal finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_signal(uint8_t *out, size_t room,
	uint32_t version, uint32_t id, const struct sandboxd_exec_signal *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_signal(version, id, message))
		return 0;
	size += 1;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 1, (uint64_t)message->signal);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_SIGNAL, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_kill(uint32_t version, uint32_t id)
{
	(void)version;
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_kill finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_kill(uint8_t *out, size_t room, uint32_t version,
	uint32_t id)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_kill(version, id))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_KILL, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_terminate(uint32_t version,
	uint32_t id)
{
	(void)version;
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_terminate finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_terminate(uint8_t *out, size_t room,
	uint32_t version, uint32_t id)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_terminate(version, id))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_TERMINATE, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_credit(uint32_t version, uint32_t id,
	const struct sandboxd_exec_credit *message)
{
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	if (!sandboxd_known_stream(message->stream, version))
		return SANDBOXD_FAULT_UNKNOWN_VALUE;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_credit finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_credit(uint8_t *out, size_t room,
	uint32_t version, uint32_t id, const struct sandboxd_exec_credit *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_credit(version, id, message))
		return 0;
	size += 5;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 1, (uint64_t)message->stream);
	at = sandboxd_put(at, 4, (uint64_t)message->amount);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_CREDIT, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_stdin(uint32_t version, uint32_t id,
	const struct sandboxd_exec_stdin *message)
{
	(void)version;
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	if (message->data.size > 65536)
		return SANDBOXD_FAULT_TOO_LONG;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_stdin finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_stdin(uint8_t *out, size_t room, uint32_t version,
	uint32_t id, const struct sandboxd_exec_stdin *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_stdin(version, id, message))
		return 0;
	size += message->data.size;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put_bytes(at, message->data.data, message->data.size);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_STDIN, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_stdin_credit(uint32_t version,
	uint32_t id, const struct sandboxd_exec_stdin_credit *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_stdin_credit finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_stdin_credit(uint8_t *out, size_t room,
	uint32_t version, uint32_t id, const struct sandboxd_exec_stdin_credit *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_stdin_credit(version, id, message))
		return 0;
	size += 4;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 4, (uint64_t)message->amount);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_STDIN_CREDIT, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_stdin_closed(uint32_t version,
	uint32_t id)
{
	(void)version;
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_stdin_closed finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_stdin_closed(uint8_t *out, size_t room,
	uint32_t version, uint32_t id)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_stdin_closed(version, id))
		return 0;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_STDIN_CLOSED, id);
	return (size_t)(at - out);
}

/* Returns SANDBOXD_FAULT_NONE if the message is valid, or else the fault that a decoder would
 * find in its frame. */
static inline enum sandboxd_fault sandboxd_check_exec_resize(uint32_t version, uint32_t id,
	const struct sandboxd_exec_resize *message)
{
	(void)version;
	(void)message;
	if (id == 0)
		return SANDBOXD_FAULT_BAD_ID;
	return SANDBOXD_FAULT_NONE;
}

/* Writes a frame into `out`, a buffer of `room` bytes. Returns the size of the frame, or 0 if
 * sandboxd_check_exec_resize finds a fault or the frame does not fit. */
static inline size_t sandboxd_encode_exec_resize(uint8_t *out, size_t room,
	uint32_t version, uint32_t id, const struct sandboxd_exec_resize *message)
{
	uint32_t size = SANDBOXD_HEADER_SIZE;

	if (sandboxd_check_exec_resize(version, id, message))
		return 0;
	size += 4;
	if (size > room)
		return 0;
	uint8_t *at = out + SANDBOXD_HEADER_SIZE;
	at = sandboxd_put(at, 2, (uint64_t)message->rows);
	at = sandboxd_put(at, 2, (uint64_t)message->columns);
	sandboxd_put_header(out, at, SANDBOXD_TYPE_EXEC_RESIZE, id);
	return (size_t)(at - out);
}

/* Results of the functions that follow conversations, if they do not return a state. */
enum sandboxd_verdict {
	/* The sender may not send this message now. */
	SANDBOXD_OUT_OF_ORDER = 0,
	/* Drop the message: its sender may not know this state yet. */
	SANDBOXD_IGNORED = 255,
};

/* The states of `session`, which begins in the first one. */
enum sandboxd_session_state {
	/* The host has not sent a message yet. The guest drops all bytes before its first `hello`. */
	SANDBOXD_SESSION_STATE_NEW = 1,
	/* The host has sent `hello`, and waits for `ready`. Any other message of the guest belongs to
	 * an older session. */
	SANDBOXD_SESSION_STATE_GREETING = 2,
	/* The guest has answered `hello`. */
	SANDBOXD_SESSION_STATE_READY = 3,
	/* The guest has received a malformed frame, and drops all bytes before the next `hello`. */
	SANDBOXD_SESSION_STATE_SEARCHING = 4,
	/* The host has sent `shutdown`, and sends nothing more. The guest completes its answers. */
	SANDBOXD_SESSION_STATE_CLOSING = 5,
	/* The guest has sent its last frame. */
	SANDBOXD_SESSION_STATE_FINISHED = 6,
};

/* The conditions of `session`, which are bits. */
enum sandboxd_session_condition {
	/* The `ready` has the nonce of the last `hello`. */
	SANDBOXD_SESSION_CONDITION_OWN_NONCE = 1,
	/* No command is running. */
	SANDBOXD_SESSION_CONDITION_FREE = 2,
	/* The code of the `error` is below 64: the frame that it refuses is malformed. */
	SANDBOXD_SESSION_CONDITION_MALFORMED = 4,
};

/* Returns the state of `session` that follows a message of `type` from `sender`; SANDBOXD_IGNORED if
 * its receiver drops the message; or SANDBOXD_OUT_OF_ORDER. `conditions` are those that hold. */
static inline uint8_t sandboxd_follow_session(uint8_t state, enum sandboxd_end sender, uint16_t type,
	uint32_t conditions)
{
	if (sender == SANDBOXD_HOST) {
		switch (type) {
		case SANDBOXD_TYPE_HELLO:
			switch (state) {
			case SANDBOXD_SESSION_STATE_NEW:
			case SANDBOXD_SESSION_STATE_READY:
			case SANDBOXD_SESSION_STATE_SEARCHING:
				return SANDBOXD_SESSION_STATE_GREETING;
			case SANDBOXD_SESSION_STATE_GREETING:
				return state;
			}
			break;
		case SANDBOXD_TYPE_RESUME:
		case SANDBOXD_TYPE_PING:
		case SANDBOXD_TYPE_STATUS_REQUEST:
			switch (state) {
			case SANDBOXD_SESSION_STATE_NEW:
			case SANDBOXD_SESSION_STATE_SEARCHING:
				return SANDBOXD_IGNORED;
			case SANDBOXD_SESSION_STATE_READY:
				return state;
			}
			break;
		case SANDBOXD_TYPE_SHUTDOWN:
			switch (state) {
			case SANDBOXD_SESSION_STATE_NEW:
			case SANDBOXD_SESSION_STATE_SEARCHING:
				return SANDBOXD_IGNORED;
			case SANDBOXD_SESSION_STATE_READY:
				return SANDBOXD_SESSION_STATE_CLOSING;
			}
			break;
		case SANDBOXD_TYPE_KEEP:
			switch (state) {
			case SANDBOXD_SESSION_STATE_NEW:
			case SANDBOXD_SESSION_STATE_SEARCHING:
				return SANDBOXD_IGNORED;
			case SANDBOXD_SESSION_STATE_READY:
				if (conditions & SANDBOXD_SESSION_CONDITION_FREE)
					return state;
				break;
			}
			break;
		case SANDBOXD_TYPE_EXEC_REQUEST:
		case SANDBOXD_TYPE_EXEC_SIGNAL:
		case SANDBOXD_TYPE_EXEC_KILL:
		case SANDBOXD_TYPE_EXEC_TERMINATE:
		case SANDBOXD_TYPE_EXEC_CREDIT:
		case SANDBOXD_TYPE_EXEC_STDIN:
		case SANDBOXD_TYPE_EXEC_RESIZE:
			switch (state) {
			case SANDBOXD_SESSION_STATE_NEW:
			case SANDBOXD_SESSION_STATE_SEARCHING:
				return SANDBOXD_IGNORED;
			}
			break;
		}
	}
	if (sender == SANDBOXD_GUEST) {
		switch (type) {
		case SANDBOXD_TYPE_READY:
			switch (state) {
			case SANDBOXD_SESSION_STATE_NEW:
				return SANDBOXD_IGNORED;
			case SANDBOXD_SESSION_STATE_GREETING:
				if (conditions & SANDBOXD_SESSION_CONDITION_OWN_NONCE)
					return SANDBOXD_SESSION_STATE_READY;
				return SANDBOXD_IGNORED;
			}
			break;
		case SANDBOXD_TYPE_PONG:
		case SANDBOXD_TYPE_STATUS:
			switch (state) {
			case SANDBOXD_SESSION_STATE_NEW:
			case SANDBOXD_SESSION_STATE_GREETING:
				return SANDBOXD_IGNORED;
			case SANDBOXD_SESSION_STATE_READY:
			case SANDBOXD_SESSION_STATE_CLOSING:
				return state;
			}
			break;
		case SANDBOXD_TYPE_GOODBYE:
			switch (state) {
			case SANDBOXD_SESSION_STATE_NEW:
			case SANDBOXD_SESSION_STATE_GREETING:
				return SANDBOXD_IGNORED;
			case SANDBOXD_SESSION_STATE_READY:
			case SANDBOXD_SESSION_STATE_SEARCHING:
			case SANDBOXD_SESSION_STATE_CLOSING:
				return SANDBOXD_SESSION_STATE_FINISHED;
			}
			break;
		case SANDBOXD_TYPE_ERROR:
			switch (state) {
			case SANDBOXD_SESSION_STATE_NEW:
			case SANDBOXD_SESSION_STATE_GREETING:
				return SANDBOXD_IGNORED;
			case SANDBOXD_SESSION_STATE_READY:
			case SANDBOXD_SESSION_STATE_CLOSING:
				if (conditions & SANDBOXD_SESSION_CONDITION_MALFORMED)
					return SANDBOXD_SESSION_STATE_SEARCHING;
				break;
			}
			break;
		case SANDBOXD_TYPE_EXEC_OUTPUT:
		case SANDBOXD_TYPE_EXEC_RESPONSE:
		case SANDBOXD_TYPE_EXEC_FAILED:
		case SANDBOXD_TYPE_EXEC_STDIN_CREDIT:
		case SANDBOXD_TYPE_EXEC_STDIN_CLOSED:
			switch (state) {
			case SANDBOXD_SESSION_STATE_NEW:
			case SANDBOXD_SESSION_STATE_GREETING:
				return SANDBOXD_IGNORED;
			}
			break;
		}
	}
	return SANDBOXD_OUT_OF_ORDER;
}

/* Returns whether `sender` may send messages with ids in a state of `session`. */
static inline bool sandboxd_allows_ids(uint8_t state, enum sandboxd_end sender)
{
	switch (state) {
	case SANDBOXD_SESSION_STATE_READY:
		return sender == SANDBOXD_HOST || sender == SANDBOXD_GUEST;
	case SANDBOXD_SESSION_STATE_SEARCHING:
	case SANDBOXD_SESSION_STATE_CLOSING:
		return sender == SANDBOXD_GUEST;
	}
	return false;
}

/* The states of `command`, which begins in the first one. */
enum sandboxd_command_state {
	/* No request has this id or a higher one. */
	SANDBOXD_COMMAND_STATE_NEW = 1,
	/* The host has requested the command. The guest has not sent a message about it yet. */
	SANDBOXD_COMMAND_STATE_REQUESTED = 2,
	/* The guest has sent output of the command, or a message about its standard input. */
	SANDBOXD_COMMAND_STATE_RUNNING = 3,
	/* The guest has sent its last message about the command. An id below that of a request counts
	 * as ended, too. */
	SANDBOXD_COMMAND_STATE_ENDED = 4,
};

/* The conditions of `command`, which are bits. */
enum sandboxd_command_condition {
	/* The command must not run at the same time as the running commands. The code of the `error` is
	 * `busy`. */
	SANDBOXD_COMMAND_CONDITION_BUSY = 1,
	/* The `stream` is standard output. */
	SANDBOXD_COMMAND_CONDITION_STDOUT = 2,
	/* The `stream` is standard error. */
	SANDBOXD_COMMAND_CONDITION_STDERR = 4,
};

/* Returns the state of `command` that follows a message of `type` from `sender`; SANDBOXD_IGNORED if
 * its receiver drops the message; or SANDBOXD_OUT_OF_ORDER. `conditions` are those that hold. */
static inline uint8_t sandboxd_follow_command(uint8_t state, enum sandboxd_end sender, uint16_t type,
	uint32_t conditions)
{
	if (sender == SANDBOXD_HOST) {
		switch (type) {
		case SANDBOXD_TYPE_EXEC_REQUEST:
			switch (state) {
			case SANDBOXD_COMMAND_STATE_NEW:
				return SANDBOXD_COMMAND_STATE_REQUESTED;
			}
			break;
		case SANDBOXD_TYPE_EXEC_SIGNAL:
		case SANDBOXD_TYPE_EXEC_KILL:
		case SANDBOXD_TYPE_EXEC_TERMINATE:
		case SANDBOXD_TYPE_EXEC_CREDIT:
		case SANDBOXD_TYPE_EXEC_STDIN:
		case SANDBOXD_TYPE_EXEC_RESIZE:
			switch (state) {
			case SANDBOXD_COMMAND_STATE_REQUESTED:
			case SANDBOXD_COMMAND_STATE_RUNNING:
				return state;
			case SANDBOXD_COMMAND_STATE_ENDED:
				return SANDBOXD_IGNORED;
			}
			break;
		}
	}
	if (sender == SANDBOXD_GUEST) {
		switch (type) {
		case SANDBOXD_TYPE_ERROR:
			switch (state) {
			case SANDBOXD_COMMAND_STATE_REQUESTED:
				if (conditions & SANDBOXD_COMMAND_CONDITION_BUSY)
					return SANDBOXD_COMMAND_STATE_ENDED;
				break;
			}
			break;
		case SANDBOXD_TYPE_EXEC_OUTPUT:
		case SANDBOXD_TYPE_EXEC_STDIN_CREDIT:
		case SANDBOXD_TYPE_EXEC_STDIN_CLOSED:
			switch (state) {
			case SANDBOXD_COMMAND_STATE_REQUESTED:
				return SANDBOXD_COMMAND_STATE_RUNNING;
			case SANDBOXD_COMMAND_STATE_RUNNING:
				return state;
			}
			break;
		case SANDBOXD_TYPE_EXEC_RESPONSE:
			switch (state) {
			case SANDBOXD_COMMAND_STATE_REQUESTED:
			case SANDBOXD_COMMAND_STATE_RUNNING:
				return SANDBOXD_COMMAND_STATE_ENDED;
			}
			break;
		case SANDBOXD_TYPE_EXEC_FAILED:
			switch (state) {
			case SANDBOXD_COMMAND_STATE_REQUESTED:
				return SANDBOXD_COMMAND_STATE_ENDED;
			}
			break;
		}
	}
	return SANDBOXD_OUT_OF_ORDER;
}

#endif
