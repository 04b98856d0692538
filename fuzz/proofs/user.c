/* Splits lines of passwd and group at colons and commas, and formats the path of a home.
 *
 * Functions: split parse_id is_member numbered home_of
 * Bound: every line up to 6 bytes, every number up to 11 characters, every name up to 2, every UID
 * Unwind: 13 */
#include "proof.h"

#include <user.c>

enum { SIZE = 6, ID_SIZE = 11 };

void prove_split(void)
{
	char text[SIZE + 1], *fields[4];

	text[SIZE] = 0;
	if (!split(text, fields, 4))
		return;
	for (int i = 0; i < 4; i++) {
		PROVE(fields[i] >= text && fields[i] <= text + SIZE);
		PROVE(i == 0 || fields[i] > fields[i - 1]);
	}
	WITNESS(fields[3] == text + SIZE);
}

void prove_id(void)
{
	char text[ID_SIZE + 1];
	uint32_t id;

	text[ID_SIZE] = 0;
	if (!parse_id(text, &id))
		return;
	PROVE(text[0] != 0 && id < UINT32_MAX);
	PROVE(text[1] || id == (uint32_t)(text[0] - '0'));
	WITNESS(id == UINT32_MAX - 1);
}

void prove_members(void)
{
	char text[SIZE + 1], name[3];

	text[SIZE] = 0;
	name[2] = 0;
	bool found = is_member(text, name);
	PROVE(!found || text[0]);
	WITNESS(found && name[0] && name[1] && text[0] == ',');
}

void prove_home(void)
{
	uint32_t uid = nondet_u32();
	const char *path = home_of(uid);

	PROVE(path[0] == '/' && path[5] == '/' && path[6] >= '0' && path[6] <= '9');
	PROVE(path[6] != '0' || path[7] == 0);
	WITNESS(uid == UINT32_MAX - 1 && path[15] == '4' && path[16] == 0);
}
