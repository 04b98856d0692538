/* A user as the host names it, and the groups of which it is a member.
 *
 * Functions: user_find find_groups open_lines
 * Bound: every name up to 8 bytes, with and without a group; every count of groups, and up to two
 *	lines that may add to them, each with any number of one digit and any member of one letter
 * Assumes: a line limit of 8 and a group limit of 4 in the place of 1024 and 64; while a name is
 *	looked up there is no file (lines.c and user.c have what is read from them)
 * Unwind: 10
 * Loops: find_groups.0:4 next_line.0:8 is_member.0:3
 * Wraps: conversion */
#include "proof.h"

#include <user.h>
#define USER_LINE_MAX 8
#define USER_GROUPS_MAX 4

#include <user.c>

static bool no_files;
static int turn;

int open(const char *path, int flags, ...) { return no_files ? -1 : nondet_int(); }

int fstat(int fd, struct stat *status)
{
	status->st_mode = nondet_u32();
	return nondet_int();
}

ssize_t read(int fd, void *into, size_t size)
{
	char *line = into;

	if (turn++ >= 2 || nondet_bool())
		return 0;
	line[0] = line[1] = line[3] = ':';
	line[2] = (char)nondet_byte();
	line[4] = (char)nondet_byte();
	line[5] = '\n';
	ASSUME(line[2] != '\n' && line[4] != '\n');
	return 6;
}

void prove_groups(void)
{
	static char name[2] = { 'u', 0 };
	struct user user = { .name = name, .group_count = (int)nondet_upto(USER_GROUPS_MAX - 1) };
	int before = user.group_count;

	find_groups(&user);
	PROVE(user.group_count > before && user.group_count <= USER_GROUPS_MAX);
	WITNESS(user.group_count == before + 2);
}

void prove_user(void)
{
	static struct user user;
	char text[9];

	text[8] = 0;
	no_files = true;
	if (!user_find(text, &user))
		return;
	PROVE(user.group_count == 1 && user.groups[0] == user.gid);
	PROVE(strlen(user.name) < USER_LINE_MAX);
	WITNESS(strlen(user.name) == USER_LINE_MAX - 1);
}
