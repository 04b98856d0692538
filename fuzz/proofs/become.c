/* The user's name, home and shell, put in the place of the defaults.
 *
 * Functions: environment_become replace
 * Bound: every text up to 4 bytes, an environment of up to 3
 * Assumes: a line limit of 5 in the place of 1024, which lines.c keeps to; copying is
 *	replaced by what has room
 * Unwind: 10 */
#include "proof.h"

#include <user.h>
#define USER_LINE_MAX 5

static void copy(const char *to, const char *from, size_t size, const char *row, size_t limit)
{
	PROVE(__CPROVER_r_ok(from, size));
	PROVE(to >= row && size <= limit - (size_t)(to - row));
}
#define memcpy(to, from, size) copy(to, from, size, texts[which], sizeof texts[which])

#include <environment.c>

void prove(void)
{
	char name[USER_LINE_MAX], home[USER_LINE_MAX], shell[USER_LINE_MAX];
	char *list[] = { defaults[nondet_bool() ? HOME : SHELL], defaults[LOGNAME], NULL };
	struct environment environment = { .envp = list };
	struct user user = { .name = name, .home = home, .shell = shell };

	name[USER_LINE_MAX - 1] = home[USER_LINE_MAX - 1] = shell[USER_LINE_MAX - 1] = 0;
	environment_become(&environment, &user);
	PROVE(list[2] == NULL);
	PROVE(list[1] != defaults[LOGNAME]);
	PROVE(list[0] != defaults[HOME]);
	WITNESS(list[0] == defaults[SHELL]);
	WITNESS(name[3] != 0);
}
