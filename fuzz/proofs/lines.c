/* Reads passwd and group line by line, both of which a command may have written, and looks up a user and
 * its groups.
 *
 * Functions: next_line next_byte user_find find_groups open_lines
 * Bound: every position in the buffer; every file of up to 8 bytes, read in two pieces; every name of up
 *	to 6 bytes, with and without a group; every number of groups, and up to two lines that may add
 *	groups, each with a number of one digit and a member of one letter
 * Assumes: 6 bytes in a line and 4 groups instead of 1024 and 64; the files are missing while a name is
 *	looked up (user.c proves how lines are split)
 * Unwind: 10 find_groups.0:4 next_line.0:10 is_member.0:3
 * Wraps: conversion */
#include "proof.h"

#include <user.h>
#define USER_LINE_MAX 6
#define USER_GROUPS_MAX 4

#include <user.c>

static bool no_files, of_groups;

int open(const char *path, int flags, ...) { return no_files ? -1 : nondet_int(); }

int fstat(int fd, struct stat *status)
{
	status->st_mode = nondet_u32();
	return nondet_int();
}

ssize_t read(int fd, void *into, size_t size)
{
	static int turn;
	char *bytes = into;
	ssize_t n = (ssize_t)nondet_upto(of_groups ? 6 : 4);

	PROVE(__CPROVER_w_ok(into, size));
	if (turn++ >= 2)
		return 0;
	for (ssize_t i = 0; i < n; i++)
		bytes[i] = (char)nondet_byte();
	if (of_groups) {
		bytes[0] = bytes[1] = bytes[3] = ':';
		bytes[5] = '\n';
		ASSUME(n == 6 && bytes[2] != '\n' && bytes[4] != '\n');
	}
	return nondet_bool() ? -1 : n;
}

void prove_byte(void)
{
	struct lines lines;

	ASSUME(lines.at <= lines.end && lines.end <= sizeof lines.data);
	next_byte(&lines);
	PROVE(lines.at <= lines.end && lines.end <= sizeof lines.data);
}

void prove_line(void)
{
	struct lines lines = { 0 };
	char line[USER_LINE_MAX];
	bool found = next_line(&lines, line);

	PROVE(lines.at <= lines.end && lines.end <= sizeof lines.data);
	if (!found)
		return;
	/* A file may contain a NUL. The daemon uses a line only up to its first NUL. */
	size_t length = 0;
	while (length < USER_LINE_MAX - 1 && line[length]) {
		PROVE(line[length] != '\n');
		length++;
	}
	PROVE(line[length] == 0);
	WITNESS(length == USER_LINE_MAX - 1);
}

void prove_groups(void)
{
	static char name[2] = { 'u', 0 };
	struct user user = { .name = name, .group_count = (int)nondet_upto(USER_GROUPS_MAX - 1) };
	int before = user.group_count;

	of_groups = true;
	find_groups(&user);
	PROVE(user.group_count > before && user.group_count <= USER_GROUPS_MAX);
	WITNESS(user.group_count == before + 2);
}

void prove_user(void)
{
	struct user user;
	char text[USER_LINE_MAX + 1];

	text[USER_LINE_MAX] = 0;
	no_files = true;
	if (!user_find(text, &user))
		return;
	PROVE(user.group_count == 1 && user.groups[0] == user.gid);
	PROVE(strlen(user.name) < USER_LINE_MAX);
	WITNESS(strlen(user.name) == USER_LINE_MAX - 1);
}
