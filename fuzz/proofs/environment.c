/* Terminates the strings of an exec_request in place, fills the arrays that point to them, and replaces
 * the default name, home and shell by those of the user.
 *
 * Functions: environment_of terminate collect value_of add_defaults environment_become replace
 * Bound: a list of up to 3 strings of up to 2 bytes; a request with up to one string in each list, a
 *	command, a folder and a user, each of up to 1 byte; texts of a user of up to 4 bytes, in an
 *	environment of up to 3 entries
 * Assumes: the length precedes each string, as request.c proves; lists have 1 item instead of 16384
 *	and 262144, lines 5 bytes instead of 1024; comparing a variable with a default returns any
 *	result; copying is replaced by a check of the room
 * Unwind: 11 prove_list.0:27 */
#include "proof.h"

#include <user.h>
#define USER_LINE_MAX 5
#define SANDBOXD_EXEC_REQUEST_ARGV_MAX_ITEMS 1
#define SANDBOXD_EXEC_REQUEST_ENV_MAX_ITEMS 1
#define SANDBOXD_EXEC_REQUEST_MORE_ARGV_MAX_ITEMS 1
#define SANDBOXD_EXEC_REQUEST_MORE_ENV_MAX_ITEMS 1

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

/* Moves bytes to the front one by one, because the solver is too slow with CBMC's memmove. */
static void move(uint8_t *to, const uint8_t *from, size_t size)
{
	PROVE(to < from && __CPROVER_r_ok(from, size));
	for (size_t i = 0; i < size; i++)
		to[i] = from[i];
}
#undef memmove
#define memmove(to, from, size) move(to, from, size)

#include <environment.c>

enum { ITEM = 2, ITEMS = 3, SIZE = 7 + 4 * 11 + 4 };

/* The model of `compare` may say that any string begins with any key. So `frame` has room for the
 * longest key behind each string. */
static uint8_t frame[SIZE + 16], was[SIZE];
static size_t end = SANDBOXD_HEADER_SIZE - 8;

static struct sandboxd_slice put(size_t most)
{
	uint32_t size = (uint32_t)nondet_upto(most);

	frame[end] = (uint8_t)size;
	frame[end + 1] = frame[end + 2] = frame[end + 3] = 0;
	end += 4 + size;
	return (struct sandboxd_slice){ frame + end - size, size };
}

static struct sandboxd_list put_list(struct sandboxd_slice *items, size_t most)
{
	struct sandboxd_list list = { .count = (uint32_t)nondet_upto(most) };

	end += 4;
	list.items = frame + end;
	for (uint32_t i = 0; i < list.count; i++)
		items[i] = put(most > 1 ? ITEM : 1);
	list.size = (uint32_t)(frame + end - list.items);
	return list;
}

/* Proves that a string was moved by one byte to the front, and ends with a NUL. */
static void is(const char *text, struct sandboxd_slice slice)
{
	const uint8_t *bytes = (const uint8_t *)text;

	PROVE(bytes == slice.data - 1 && bytes[slice.size] == 0);
}

static void are(char **texts, struct sandboxd_list list, const struct sandboxd_slice *items)
{
	for (uint32_t i = 0; i < list.count; i++)
		is(texts[i], items[i]);
}

void prove_list(void)
{
	struct sandboxd_slice items[ITEMS];
	char *texts[ITEMS + 1];

	__CPROVER_havoc_object(frame);
	struct sandboxd_list list = put_list(items, ITEMS);
	for (size_t i = 0; i < 8 + ITEMS * (4 + ITEM); i++)
		was[i] = frame[i];

	PROVE(collect(texts, frame, list) == list.count);
	are(texts, list, items);
	for (uint32_t i = 0; i < list.count; i++)
		for (uint32_t at = 0; at < items[i].size; at++)
			PROVE(((uint8_t *)texts[i])[at] == was[items[i].data - frame + at]);
	PROVE(texts[list.count] == NULL);
	WITNESS(list.count == ITEMS && items[0].size == ITEM && items[1].size == 0);
}

void prove_request(void)
{
	struct sandboxd_slice argument, variable, one_more, another;
	struct sandboxd_exec_request request;

	__CPROVER_havoc_object(frame);
	request.command = put(1);
	request.cwd = put(1);
	request.argv = put_list(&argument, 1);
	request.env = put_list(&variable, 1);
	request.user = put(1);
	request.more_argv = put_list(&one_more, 1);
	request.more_env = put_list(&another, 1);
	ASSUME(end <= SIZE);
	struct environment environment = environment_of(&request, frame);
	is(environment.command, request.command);
	is(environment.cwd, request.cwd);
	is(environment.user, request.user);
	are(environment.argv, request.argv, &argument);
	are(environment.argv + request.argv.count, request.more_argv, &one_more);
	are(environment.envp, request.env, &variable);
	are(environment.envp + request.env.count, request.more_env, &another);
	PROVE(environment.argv[request.argv.count + request.more_argv.count] == NULL);
	size_t count = 0;
	while (environment.envp[count])
		count++;
	PROVE(count <= 2 + DEFAULTS && count >= request.env.count + request.more_env.count);
	WITNESS(count == 2 + DEFAULTS && another.size == 1 && end == SIZE);
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
