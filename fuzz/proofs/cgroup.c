/* Numbers written out, and the table of cgroups that commands have left behind.
 *
 * Functions: decimal limit_processes sweep remove_numbered cgroup_replace is_idle
 * Bound: every number of 32 bits; every state of a table of 64 whose first 3 are of one digit each
 * Assumes: longer numbers are cut by the same step: 20 digits are more than any of 64 bits has
 * Unwind: 23
 * Wraps: conversion */
#include "proof.h"

#include <cgroup.c>

#include "system.h"

int openat(int folder, const char *name, int flags, ...)
{
	PROVE(__CPROVER_r_ok(name, 1));
	return nondet_int();
}

int mkdirat(int folder, const char *name, mode_t mode)
{
	PROVE(__CPROVER_r_ok(name, 1));
	return nondet_int();
}

int unlinkat(int folder, const char *name, int flags)
{
	PROVE(name[0] >= '0' && name[0] <= '9' && name[1] == 0);
	errno = nondet_int();
	return nondet_int();
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t offset)
{
	PROVE(__CPROVER_r_ok(from, size));
	WITNESS(size == 10);
	return nondet_part(size);
}

static void prove_table(void)
{
	left_count = nondet_u32();
	number = nondet_byte() % 9;
	current = nondet_int();
	for (int i = 0; i < 3; i++)
		left[i] = nondet_byte() % 10;
	ASSUME(left_count <= 3);
	unsigned before = left_count;
	bool replaced = cgroup_replace();
	PROVE(left_count <= before + replaced);
	WITNESS(replaced && left_count == 4);
}

void prove(void)
{
	current = nondet_int();
	pids_max = nondet_int();
	switch (nondet_int()) {
	case 0:
		limit_processes(nondet_u32());
		break;
	case 1:
		is_idle();
		break;
	default:
		prove_table();
		break;
	}
}
