/* What the daemon writes: any message that fits, encoded, then read back by the host's rules.
 *
 * Functions: sandboxd_encode_ready sandboxd_encode_pong sandboxd_encode_status
 *	sandboxd_encode_goodbye sandboxd_encode_error sandboxd_encode_exec_response
 *	sandboxd_encode_exec_failed sandboxd_encode_exec_stdin_credit
 *	sandboxd_encode_exec_stdin_closed sandboxd_encode_exec_output sandboxd_put
 *	sandboxd_put_header sandboxd_put_bytes
 * Bound: every message, every id; exec_output with data that is in place, up to 65536 bytes
 * Assumes: nothing
 * Unwind: 26
 * Wraps: conversion */
#include "proof.h"

static uint8_t out[SANDBOXD_HEADER_SIZE + SANDBOXD_EXEC_OUTPUT_MAX_BODY];

/* Encodes any message and returns the frame's size; `limit` is what the caller must have room for. */
static size_t encode(uint32_t id, union sandboxd_body *body, size_t *limit)
{
	switch (nondet_int()) {
	case 0:
		*limit = SANDBOXD_READY_MAX_BODY;
		return sandboxd_encode_ready(out, 1, &body->ready);
	case 1:
		*limit = SANDBOXD_PONG_MAX_BODY;
		return sandboxd_encode_pong(out, 1, &body->pong);
	case 2:
		*limit = SANDBOXD_STATUS_MAX_BODY;
		return sandboxd_encode_status(out, 1, &body->status);
	case 3:
		*limit = SANDBOXD_GOODBYE_MAX_BODY;
		return sandboxd_encode_goodbye(out, 1, &body->goodbye);
	case 4:
		*limit = SANDBOXD_ERROR_MAX_BODY;
		return sandboxd_encode_error(out, 1, id, &body->error);
	case 5:
		*limit = SANDBOXD_EXEC_RESPONSE_MAX_BODY;
		ASSUME(body->exec_response.ending <= SANDBOXD_ENDING_SIGNALLED);
		return sandboxd_encode_exec_response(out, 1, id, &body->exec_response);
	case 6:
		*limit = SANDBOXD_EXEC_FAILED_MAX_BODY;
		return sandboxd_encode_exec_failed(out, 1, id, &body->exec_failed);
	case 7:
		*limit = SANDBOXD_EXEC_STDIN_CREDIT_MAX_BODY;
		return sandboxd_encode_exec_stdin_credit(out, 1, id, &body->exec_stdin_credit);
	case 8:
		*limit = SANDBOXD_EXEC_STDIN_CLOSED_MAX_BODY;
		return sandboxd_encode_exec_stdin_closed(out, 1, id);
	default:
		*limit = SANDBOXD_EXEC_OUTPUT_MAX_BODY;
		body->exec_output.data.data = out + SANDBOXD_HEADER_SIZE + 1;
		return sandboxd_encode_exec_output(out, 1, id, &body->exec_output);
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

	if (size == 0) {
		PROVE(limit == SANDBOXD_EXEC_OUTPUT_MAX_BODY);
		PROVE(body.exec_output.data.size > SANDBOXD_EXEC_OUTPUT_DATA_MAX);
		return;
	}
	PROVE(size <= SANDBOXD_HEADER_SIZE + limit);
	PROVE(limit == SANDBOXD_EXEC_OUTPUT_MAX_BODY ||
	      limit <= SANDBOXD_MAX_TAILLESS_BODY_FROM_GUEST);
	bool good = sandboxd_decode_header(out, SANDBOXD_GUEST, 1, &header, &fault);
	PROVE(good || (fault.fault == SANDBOXD_FAULT_BAD_ID && id == 0));
	PROVE(header.body_length == size - SANDBOXD_HEADER_SIZE);
	WITNESS(good && size == sizeof out);
}
