/* Decodes the body of each message except exec_request, which request.c proves.
 *
 * Functions: sandboxd_decode_body sandboxd_decode_hello sandboxd_decode_ready
 *	sandboxd_decode_resume sandboxd_decode_ping sandboxd_decode_pong
 *	sandboxd_decode_status_request sandboxd_decode_status sandboxd_decode_shutdown
 *	sandboxd_decode_goodbye sandboxd_decode_error sandboxd_decode_keep sandboxd_decode_exec_output
 *	sandboxd_decode_exec_response sandboxd_decode_exec_failed sandboxd_decode_exec_signal
 *	sandboxd_decode_exec_kill sandboxd_decode_exec_terminate sandboxd_decode_exec_credit
 *	sandboxd_decode_exec_stdin sandboxd_decode_exec_stdin_credit
 *	sandboxd_decode_exec_stdin_closed sandboxd_decode_exec_resize sandboxd_known_stream
 *	sandboxd_known_ending
 * Bound: every body up to 107 bytes (the longest without a tail has 105), every version
 * Unwind: 9 */
#include "proof.h"

enum { SIZE = 107 };

void prove(void)
{
	uint8_t body[SIZE];
	struct sandboxd_header header;
	ASSUME(header.body_length <= SIZE && header.type != SANDBOXD_TYPE_EXEC_REQUEST);
	uint32_t size = header.body_length;
	union sandboxd_body out;
	struct sandboxd_fault_at fault;

	if (!sandboxd_decode_body(&header, body, nondet_u32(), &out, &fault)) {
		PROVE(fault.fault != SANDBOXD_FAULT_NONE);
		PROVE(fault.fault != SANDBOXD_FAULT_BODY_TOO_LONG);
		PROVE(fault.offset <= SANDBOXD_HEADER_SIZE + size);
		WITNESS(fault.fault == SANDBOXD_FAULT_TRAILING_BYTES);
		WITNESS(fault.fault == SANDBOXD_FAULT_TRUNCATED);
		return;
	}
	switch (header.type) {
	case SANDBOXD_TYPE_HELLO:
		PROVE(size == SANDBOXD_HELLO_MAX_BODY);
		break;
	case SANDBOXD_TYPE_RESUME:
		PROVE(out.resume.entropy.data == body + 12);
		PROVE(out.resume.entropy.size == size - 12);
		PROVE(out.resume.entropy.size <= SANDBOXD_RESUME_ENTROPY_MAX);
		WITNESS(out.resume.entropy.size == SANDBOXD_RESUME_ENTROPY_MAX);
		break;
	case SANDBOXD_TYPE_EXEC_CREDIT:
		PROVE(size == SANDBOXD_EXEC_CREDIT_MAX_BODY);
		PROVE(out.exec_credit.stream == 1 || out.exec_credit.stream == 2);
		break;
	case SANDBOXD_TYPE_EXEC_STDIN:
		PROVE(out.exec_stdin.data.data == body && out.exec_stdin.data.size == size);
		WITNESS(size == 0);
		break;
	case SANDBOXD_TYPE_EXEC_OUTPUT:
		PROVE(out.exec_output.data.data == body + SANDBOXD_EXEC_OUTPUT_DATA_PREFIX);
		PROVE(out.exec_output.data.size == size - SANDBOXD_EXEC_OUTPUT_DATA_PREFIX);
		break;
	}
}
