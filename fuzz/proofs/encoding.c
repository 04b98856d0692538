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

/* Encodes any message, has the host decode what comes of it, and returns the frame's size, 0 for none;
 * `limit` is what the caller must have room for. */
static size_t encode(uint32_t id, union sandboxd_body *body, size_t *limit)
{
	const uint8_t *in = out + SANDBOXD_HEADER_SIZE;
	struct sandboxd_fault_at fault;
	size_t size;

	switch (nondet_int()) {
	case 0:
		*limit = SANDBOXD_READY_MAX_BODY;
		size = sandboxd_encode_ready(out, 1, &body->ready);
		PROVE(!size || sandboxd_decode_ready(in, size - SANDBOXD_HEADER_SIZE, 1,
						     &body->ready, &fault));
		return size;
	case 1:
		*limit = SANDBOXD_PONG_MAX_BODY;
		size = sandboxd_encode_pong(out, 1, &body->pong);
		PROVE(!size || sandboxd_decode_pong(in, size - SANDBOXD_HEADER_SIZE, 1, &body->pong,
						    &fault));
		return size;
	case 2:
		*limit = SANDBOXD_STATUS_MAX_BODY;
		size = sandboxd_encode_status(out, 1, &body->status);
		PROVE(!size || sandboxd_decode_status(in, size - SANDBOXD_HEADER_SIZE, 1,
						      &body->status, &fault));
		return size;
	case 3:
		*limit = SANDBOXD_GOODBYE_MAX_BODY;
		size = sandboxd_encode_goodbye(out, 1, &body->goodbye);
		PROVE(!size || sandboxd_decode_goodbye(in, size - SANDBOXD_HEADER_SIZE, 1,
						       &body->goodbye, &fault));
		return size;
	case 4:
		*limit = SANDBOXD_ERROR_MAX_BODY;
		size = sandboxd_encode_error(out, 1, id, &body->error);
		PROVE(!size || sandboxd_decode_error(in, size - SANDBOXD_HEADER_SIZE, 1,
						     &body->error, &fault));
		return size;
	case 5:
		*limit = SANDBOXD_EXEC_RESPONSE_MAX_BODY;
		size = sandboxd_encode_exec_response(out, 1, id, &body->exec_response);
		PROVE(!size || sandboxd_decode_exec_response(in, size - SANDBOXD_HEADER_SIZE, 1,
							     &body->exec_response, &fault));
		return size;
	case 6:
		*limit = SANDBOXD_EXEC_FAILED_MAX_BODY;
		size = sandboxd_encode_exec_failed(out, 1, id, &body->exec_failed);
		PROVE(!size || sandboxd_decode_exec_failed(in, size - SANDBOXD_HEADER_SIZE, 1,
							   &body->exec_failed, &fault));
		return size;
	case 7:
		*limit = SANDBOXD_EXEC_STDIN_CREDIT_MAX_BODY;
		size = sandboxd_encode_exec_stdin_credit(out, 1, id, &body->exec_stdin_credit);
		PROVE(!size || sandboxd_decode_exec_stdin_credit(in, size - SANDBOXD_HEADER_SIZE, 1,
								 &body->exec_stdin_credit, &fault));
		return size;
	case 8:
		*limit = SANDBOXD_EXEC_STDIN_CLOSED_MAX_BODY;
		size = sandboxd_encode_exec_stdin_closed(out, 1, id);
		PROVE(!size || size == SANDBOXD_HEADER_SIZE);
		return size;
	default:
		*limit = SANDBOXD_EXEC_OUTPUT_MAX_BODY;
		body->exec_output.data.data = in + 1;
		size = sandboxd_encode_exec_output(out, 1, id, &body->exec_output);
		PROVE(!size || sandboxd_decode_exec_output(in, size - SANDBOXD_HEADER_SIZE, 1,
							   &body->exec_output, &fault));
		return size;
	}
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
