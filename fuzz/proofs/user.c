/* Users and groups, from files that a command may have written.
 *
 * Functions: next_line next_byte split parse_id is_member find_groups find_group find_passwd
 *	user_find
 * Bound: every line up to 10 bytes, of files of two; every name up to 3
 * Assumes: a line limit of 11, a group limit of 2 and a piece of 3 bytes at a time in the place of
 *	1024, 64 and 4096
 * Unwind: 14 */
#include "proof.h"

#include <user.h>
#define USER_LINE_MAX 11
#define USER_GROUPS_MAX 2
