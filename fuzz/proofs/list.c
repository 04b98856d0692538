/* Decodes a list of strings without NUL, and then iterates over it as the daemon does.
 *
 * Functions: sandboxd_take_count sandboxd_take_list sandboxd_take_bytes sandboxd_no_nul sandboxd_next
 * Bound: every body up to 18 bytes (3 items), every position in it, every maximum
 * Assumes: the cursor is not beyond the end of the body
 * Unwind: 16 sandboxd_take_list.0:5 prove.0:5 */
#include "proof.h"

enum { SIZE = 18 };

void prove(void)
{
	uint8_t body[SIZE];
	size_t size = nondet_upto(SIZE);
	struct sandboxd_fault_at fault;
	struct sandboxd_cursor cursor = { body, size, nondet_upto(SIZE), &fault };
	ASSUME(cursor.at <= size);
	size_t before = cursor.at;
	uint32_t max_items = nondet_u32(), max_item = nondet_u32(), max_total = nondet_u32();
	bool nul = nondet_bool();
	struct sandboxd_list list;

	if (!sandboxd_take_list(&cursor, 1, max_items, max_item, max_total, nul, &list)) {
		PROVE(fault.fault >= SANDBOXD_FAULT_TRUNCATED);
		PROVE(fault.fault <= SANDBOXD_FAULT_EMBEDDED_NUL);
		PROVE(fault.offset <= SANDBOXD_HEADER_SIZE + size);
		WITNESS(fault.fault == SANDBOXD_FAULT_EMBEDDED_NUL);
		WITNESS(fault.fault == SANDBOXD_FAULT_TOTAL_TOO_LONG);
		return;
	}
	PROVE(cursor.at <= size);
	PROVE(list.items == body + before + 4);
	PROVE(list.items + list.size == body + cursor.at);
	PROVE(list.count <= max_items && list.size <= max_total);
	WITNESS(list.count == 3);

	const uint8_t *at = list.items;
	for (uint32_t i = 0; i < list.count; i++) {
		struct sandboxd_slice item = sandboxd_next(&at);

		PROVE(item.size <= max_item);
		PROVE(item.data + item.size == at);
		PROVE(at <= list.items + list.size);
		size_t some = nondet_upto(SIZE);
		PROVE(nul || some >= item.size || item.data[some] != 0);
	}
	PROVE(at == list.items + list.size);
}
