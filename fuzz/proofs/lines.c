/* A file read by lines: passwd and group, which a command may have written.
 *
 * Functions: next_line next_byte
 * Bound: a byte from every place in the buffer; every file of up to 6 bytes, read in two pieces
 * Assumes: a line limit of 5 in the place of 1024
 * Unwind: 8
 * Wraps: conversion */
#include "proof.h"

#include <user.h>
#define USER_LINE_MAX 5

#include <user.c>

static struct lines lines;
static int turn;

ssize_t read(int fd, void *into, size_t size)
{
	ssize_t n = turn++ < 2 ? (ssize_t)nondet_upto(3) : 0;

	PROVE(__CPROVER_w_ok(into, size));
	for (ssize_t i = 0; i < n; i++)
		((uint8_t *)into)[i] = nondet_byte();
	return nondet_bool() ? -1 : n;
}

void prove(void)
{
	char line[USER_LINE_MAX];

	lines.at = nondet_upto(sizeof lines.data);
	lines.end = nondet_upto(sizeof lines.data);
	ASSUME(lines.at <= lines.end);
	next_byte(&lines);
	PROVE(lines.at <= lines.end && lines.end <= sizeof lines.data);

	turn = 0;
	lines.at = lines.end = 0;
	bool found = next_line(&lines, line);
	PROVE(lines.at <= lines.end && lines.end <= sizeof lines.data);
	if (!found)
		return;
	/* A line may hold a NUL; what is used of it ends there. */
	size_t length = 0;
	while (length < USER_LINE_MAX - 1 && line[length]) {
		PROVE(line[length] != '\n');
		length++;
	}
	PROVE(line[length] == 0);
	WITNESS(length == USER_LINE_MAX - 1);
}
