/* Proves that the encoder of each message of the guest writes no bytes beyond the given room, and
 * that the host can decode these bytes.
 *
 * Functions: sandboxd_encode_ready sandboxd_encode_pong sandboxd_encode_status
 *	sandboxd_encode_goodbye sandboxd_encode_error sandboxd_encode_exec_response
 *	sandboxd_encode_exec_failed sandboxd_encode_exec_stdin_credit
 *	sandboxd_encode_exec_stdin_closed sandboxd_encode_exec_output sandboxd_check_ready
 *	sandboxd_check_pong sandboxd_check_status sandboxd_check_goodbye sandboxd_check_error
 *	sandboxd_check_exec_response sandboxd_check_exec_failed sandboxd_check_exec_stdin_credit
 *	sandboxd_check_exec_stdin_closed sandboxd_check_exec_output sandboxd_put
 *	sandboxd_put_header sandboxd_put_bytes
 * Bound: the proof covers every message in the first version of the protocol, exec_response in
 *	every version, every id, and every room up to the length of the longest frame; the data of
 *	exec_output, which are not copied, have up to 65536 bytes
 * Unwind: 29
 * Wraps: conversion */
#include "proof.h"

static uint8_t out[SANDBOXD_HEADER_SIZE + SANDBOXD_EXEC_OUTPUT_MAX_BODY];
static const uint8_t *const in = out + SANDBOXD_HEADER_SIZE;
static struct sandboxd_fault_at fault;
static uint32_t version = 1;
static uint32_t id;
static size_t room;

/* Proves that a frame fits into the room, and that its header is valid. */
static void look(size_t size, size_t limit)
{
	struct sandboxd_header header;

	PROVE(size <= room);
	PROVE(limit == SANDBOXD_EXEC_OUTPUT_MAX_BODY ||
	      limit <= SANDBOXD_MAX_TAILLESS_BODY_FROM_GUEST);
	PROVE(sandboxd_decode_header(out, SANDBOXD_GUEST, version, &header, &fault));
	PROVE(header.body_length == size - SANDBOXD_HEADER_SIZE);
	/* Every message can reach its maximum length, except exec_failed in the first version. */
	WITNESS(size == SANDBOXD_HEADER_SIZE + limit || limit == SANDBOXD_EXEC_FAILED_MAX_BODY);
}

/* Encodes a message of the kind `kind`, such as `pong`, and proves that a host can decode the result.
 * If encoding fails, because the message is invalid or the room is too small, proves that the encoder
 * needs no output, so it can be NULL. */
#define ENCODE(KIND, kind, ...)                                                                    \
	do {                                                                                       \
		id = nondet_u32();                                                                 \
		room = nondet_upto(SANDBOXD_HEADER_SIZE + SANDBOXD_##KIND##_MAX_BODY);             \
		size_t size = sandboxd_encode_##kind(out, room, __VA_ARGS__, &body.kind);          \
                                                                                                   \
		if (size == 0) {                                                                   \
			PROVE(!sandboxd_encode_##kind(NULL, room, __VA_ARGS__, &body.kind));       \
			WITNESS(room == SANDBOXD_HEADER_SIZE);                                     \
			return;                                                                    \
		}                                                                                  \
		look(size, SANDBOXD_##KIND##_MAX_BODY);                                            \
		PROVE(sandboxd_decode_##kind(in, size - SANDBOXD_HEADER_SIZE, version, &body.kind, \
					     &fault));                                             \
	} while (0)

/* Defines the proof for a kind of message, such as `pong`: each message that is encoded can be
 * decoded by a host. */
#define PROVE_ENCODING(KIND, kind, ...)          \
	void prove_##kind(void)                  \
	{                                        \
		union sandboxd_body body;        \
                                                 \
		ENCODE(KIND, kind, __VA_ARGS__); \
	}

PROVE_ENCODING(READY, ready, 1)
PROVE_ENCODING(PONG, pong, 1)
PROVE_ENCODING(STATUS, status, 1)
PROVE_ENCODING(GOODBYE, goodbye, 1)
PROVE_ENCODING(ERROR, error, 1, id)
PROVE_ENCODING(EXEC_FAILED, exec_failed, 1, id)
PROVE_ENCODING(EXEC_STDIN_CREDIT, exec_stdin_credit, 1, id)

void prove_exec_response(void)
{
	union sandboxd_body body;

	version += (uint32_t)nondet_upto(SANDBOXD_VERSION - 1);
	ENCODE(EXEC_RESPONSE, exec_response, version, id);
}

void prove_exec_output(void)
{
	union sandboxd_body body;

	body.exec_output.data.data = in + SANDBOXD_EXEC_OUTPUT_DATA_PREFIX;
	ENCODE(EXEC_OUTPUT, exec_output, 1, id);
}

void prove_exec_stdin_closed(void)
{
	id = nondet_u32();
	room = nondet_upto(SANDBOXD_HEADER_SIZE);
	size_t size = sandboxd_encode_exec_stdin_closed(out, room, 1, id);

	if (size == 0) {
		PROVE(!sandboxd_encode_exec_stdin_closed(NULL, room, 1, id));
		return;
	}
	look(size, SANDBOXD_EXEC_STDIN_CLOSED_MAX_BODY);
}
