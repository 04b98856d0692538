/* Proves that any twelve bytes are either decoded as a valid header of a frame, or refused.
 *
 * Functions: sandboxd_decode_header sandboxd_find_rule sandboxd_get sandboxd_fail
 * Bound: the proof covers every header, every version of the protocol, and both senders
 * Unwind: 29 */
#include "proof.h"

void prove(void)
{
	uint8_t frame[SANDBOXD_HEADER_SIZE];
	enum sandboxd_end sender = nondet_bool() ? SANDBOXD_HOST : SANDBOXD_GUEST;
	size_t longest = sender == SANDBOXD_HOST ? SANDBOXD_MAX_BODY_FROM_HOST :
						   SANDBOXD_MAX_BODY_FROM_GUEST;
	struct sandboxd_header header;
	struct sandboxd_fault_at fault;

	if (sandboxd_decode_header(frame, sender, nondet_u32(), &header, &fault)) {
		PROVE(header.body_length <= longest);
		PROVE(header.flags == 0);
		PROVE(header.type != SANDBOXD_TYPE_EXEC_REQUEST || header.id != 0);
		PROVE(header.type != SANDBOXD_TYPE_HELLO || header.id == 0);
		PROVE(header.body_length == (frame[0] | frame[1] << 8 | frame[2] << 16));
		PROVE(frame[3] == 0);
		WITNESS(header.body_length == longest);
	} else {
		PROVE(fault.fault != SANDBOXD_FAULT_NONE);
		PROVE(fault.offset < SANDBOXD_HEADER_SIZE);
		PROVE(fault.field == 0);
		WITNESS(fault.fault == SANDBOXD_FAULT_BODY_TOO_LONG);
	}
}
