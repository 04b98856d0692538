/* What the daemon writes: any message, encoded if it may be, then read back by the host's rules.
 *
 * Functions: sandboxd_encode_ready sandboxd_encode_pong sandboxd_encode_status
 *	sandboxd_encode_goodbye sandboxd_encode_error sandboxd_encode_exec_response
 *	sandboxd_encode_exec_failed sandboxd_encode_exec_stdin_credit
 *	sandboxd_encode_exec_stdin_closed sandboxd_encode_exec_output sandboxd_check_ready
 *	sandboxd_check_pong sandboxd_check_status sandboxd_check_goodbye sandboxd_check_error
 *	sandboxd_check_exec_response sandboxd_check_exec_failed sandboxd_check_exec_stdin_credit
 *	sandboxd_check_exec_stdin_closed sandboxd_check_exec_output sandboxd_put
 *	sandboxd_put_header sandboxd_put_bytes
 * Bound: every message, every id; exec_output with data that is in place, up to 65536 bytes
 * Assumes: nothing
 * Unwind: 26
 * Wraps: conversion */
#include "proof.h"

static uint8_t out[SANDBOXD_HEADER_SIZE + SANDBOXD_EXEC_OUTPUT_MAX_BODY];

/* Encodes a message of a kind, and has the host decode what comes of it. */
#define ENCODE(KIND, kind, ...)                                                           \
	do {                                                                              \
		*limit = SANDBOXD_##KIND##_MAX_BODY;                                      \
		size = sandboxd_encode_##kind(__VA_ARGS__, &body->kind);                  \
		PROVE(!size || sandboxd_decode_##kind(in, size - SANDBOXD_HEADER_SIZE, 1, \
						      &body->kind, &fault));              \
	} while (0)

/* Returns the size of any message's frame, 0 for none; `limit` is what the caller must have room for. */
static size_t encode(uint32_t id, union sandboxd_body *body, size_t *limit)
{
	const uint8_t *in = out + SANDBOXD_HEADER_SIZE;
	struct sandboxd_fault_at fault;
	size_t size;

	switch (nondet_int()) {
	case 0:
		ENCODE(READY, ready, out, 1);
		break;
	case 1:
		ENCODE(PONG, pong, out, 1);
		break;
	case 2:
		ENCODE(STATUS, status, out, 1);
		break;
	case 3:
		ENCODE(GOODBYE, goodbye, out, 1);
		break;
	case 4:
		ENCODE(ERROR, error, out, 1, id);
		break;
	case 5:
		ENCODE(EXEC_RESPONSE, exec_response, out, 1, id);
		break;
	case 6:
		ENCODE(EXEC_FAILED, exec_failed, out, 1, id);
		break;
	case 7:
		ENCODE(EXEC_STDIN_CREDIT, exec_stdin_credit, out, 1, id);
		break;
	case 8:
		*limit = SANDBOXD_EXEC_STDIN_CLOSED_MAX_BODY;
		size = sandboxd_encode_exec_stdin_closed(out, 1, id);
		PROVE(!size || size == SANDBOXD_HEADER_SIZE);
		break;
	default:
		body->exec_output.data.data = in + 1;
		ENCODE(EXEC_OUTPUT, exec_output, out, 1, id);
		break;
	}
	return size;
}

void prove(void)
{
	union sandboxd_body body;
	struct sandboxd_header header;
	struct sandboxd_fault_at fault;
	uint32_t id = nondet_u32();
	size_t limit;
	size_t size = encode(id, &body, &limit);

	if (size == 0)
		return;
	PROVE(size <= SANDBOXD_HEADER_SIZE + limit);
	PROVE(limit == SANDBOXD_EXEC_OUTPUT_MAX_BODY ||
	      limit <= SANDBOXD_MAX_TAILLESS_BODY_FROM_GUEST);
	PROVE(sandboxd_decode_header(out, SANDBOXD_GUEST, 1, &header, &fault));
	PROVE(header.body_length == size - SANDBOXD_HEADER_SIZE);
	WITNESS(size == sizeof out);
}
