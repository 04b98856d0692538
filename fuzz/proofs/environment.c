/* The strings of an exec_request, terminated in place, and the arrays that point to them; the user's
 * name, home and shell, put in the place of the defaults.
 *
 * Functions: environment_of terminate collect value_of add_defaults environment_become replace
 * Bound: up to 2 arguments and 2 variables, and a command, a folder and a user, each of up to 2
 *	bytes; every text of a user up to 4 bytes, in an environment of up to 3
 * Assumes: what request.c proves: behind each string is a byte that has been decoded; 2 items in the
 *	place of 16384, a line limit of 5, which lines.c keeps to, in the place of 1024; whether a
 *	variable is a default's is any answer; copying is replaced by what has room
 * Unwind: 10
 * Loops: prove_request.0:56 */
#include "proof.h"

#include <user.h>
#define USER_LINE_MAX 5
#define SANDBOXD_EXEC_REQUEST_ARGV_MAX_ITEMS 2
#define SANDBOXD_EXEC_REQUEST_ENV_MAX_ITEMS 2

static int compare(const char *text)
{
	PROVE(__CPROVER_r_ok(text, 1));
	return nondet_int();
}
#define strncmp(text, entry, size) compare(text)

static void copy(const char *to, const char *from, size_t size, const char *row, size_t limit)
{
	PROVE(__CPROVER_r_ok(from, size));
	PROVE(to >= row && size <= limit - (size_t)(to - row));
}
#define memcpy(to, from, size) copy(to, from, size, texts[which], sizeof texts[which])

#include <environment.c>

enum { ITEM = 2, SIZE = 7 * ITEM + 4 * 9 + 4 };

static uint8_t frame[SIZE], was[SIZE];
static size_t end = SANDBOXD_HEADER_SIZE - 8;

static struct sandboxd_slice put(void)
{
	uint32_t size = (uint32_t)nondet_upto(ITEM);

	frame[end] = (uint8_t)size;
	frame[end + 1] = frame[end + 2] = frame[end + 3] = 0;
	end += 4 + size;
	return (struct sandboxd_slice){ frame + end - size, size };
}

static struct sandboxd_list put_list(struct sandboxd_slice items[static 2])
{
	struct sandboxd_list list = { .count = (uint32_t)nondet_upto(2) };

	end += 4;
	list.items = frame + end;
	for (uint32_t i = 0; i < list.count; i++)
		items[i] = put();
	list.size = (uint32_t)(frame + end - list.items);
	return list;
}

/* The same bytes, and then its end. */
static void is(const char *text, struct sandboxd_slice slice)
{
	const uint8_t *bytes = (const uint8_t *)text;

	PROVE(bytes == slice.data && bytes[slice.size] == 0);
	for (uint32_t i = 0; i < slice.size; i++)
		PROVE(bytes[i] == was[slice.data - frame + i]);
}

static void are(char **texts, struct sandboxd_list list, struct sandboxd_slice items[static 2])
{
	for (uint32_t i = 0; i < list.count; i++)
		is(texts[i], items[i]);
}

void prove_request(void)
{
	struct sandboxd_slice arguments[2], variables[2];
	struct sandboxd_exec_request request;

	__CPROVER_havoc_object(frame);
	request.command = put();
	request.cwd = put();
	request.argv = put_list(arguments);
	request.env = put_list(variables);
	request.user = put();
	ASSUME(end < SIZE);
	for (size_t i = 0; i < SIZE; i++)
		was[i] = frame[i];

	struct environment environment = environment_of(&request, frame);
	is(environment.command, request.command);
	is(environment.cwd, request.cwd);
	is(environment.user, request.user);
	are(environment.argv, request.argv, arguments);
	are(environment.envp, request.env, variables);
	PROVE(environment.argv[request.argv.count] == NULL);
	size_t count = 0;
	while (environment.envp[count])
		count++;
	PROVE(count <= 2 + DEFAULTS && count >= request.env.count);
	WITNESS(count == 2 + DEFAULTS && arguments[1].size == ITEM);
}

void prove_become(void)
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
