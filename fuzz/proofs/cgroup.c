/* Proves that cgroup.c converts numbers to text correctly, and maintains the table of the slots'
 * cgroups.
 *
 * Functions: decimal limit_processes limit_memory write_file sweep remove_numbered cgroup_replace
 *	is_idle read_file tells had_oom_kill cgroup_out_of_memory cgroup_memory keeps_memory freeze
 *	is_frozen has_slot visit cgroup_of
 * Bound: the proof covers every number of 64 bits, every number of cgroups in the table, every
 *	content of the files, and every name of up to 21 bytes
 * Assumes: each cgroup in the table has the name 0; the daemon has 2 slots instead of 64; a
 *	file of events has 24 bytes instead of 256; numbers of bytes have at most 19 digits
 * Unwind: 23 sweep.0:65
 * Wraps: conversion */
#include "proof.h"

#include <cgroup.h>
#define CGROUP_EVENTS_SIZE 24

#undef SANDBOXD_MAX_COMMANDS
#define SANDBOXD_MAX_COMMANDS 2

#include <cgroup.c>

static struct cgroup cgroup;

int mkdirat(int folder, const char *name, mode_t mode)
{
	PROVE(__CPROVER_r_ok(name, 1));
	return nondet_int();
}

int unlinkat(int folder, const char *name, int flags)
{
	PROVE(name[0] == '0' && name[1] == 0);
	errno = nondet_int();
	return nondet_int();
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t offset)
{
	PROVE(__CPROVER_r_ok(from, size));
	WITNESS(size == 10);
	return nondet_part(size);
}

ssize_t pread(int fd, void *into, size_t size, off_t offset)
{
	ssize_t n = nondet_part(size);

	PROVE(__CPROVER_w_ok(into, size));
	__CPROVER_havoc_slice(into, size);
	ASSUME(n < DIGITS || ((char *)into)[DIGITS - 1] == '\n');
	return n;
}

void prove_memory(void)
{
	cgroup.peak = nondet_int();
	WITNESS(cgroup_memory(&cgroup) == 1234567890123456789);
	keeps_memory(&cgroup);
}

void prove_limits(void)
{
	cgroup.pids_max = nondet_int();
	limit_processes(&cgroup, nondet_u32());
	limit_memory(&cgroup, nondet_u64());
}

void prove_number(void)
{
	char text[DIGITS + 1];
	const char *at = decimal(text, nondet_u64());

	PROVE(at >= text && at < text + DIGITS && text[DIGITS] == 0);
	WITNESS(at == text);
}

void prove_events(void)
{
	cgroup.folder = nondet_int();
	is_idle(&cgroup);
	is_frozen(nondet_int());
	WITNESS(had_oom_kill(&cgroup));
	cgroup_out_of_memory(&cgroup);
}

void prove_table(void)
{
	cgroup.folder = nondet_int();
	left_count = (unsigned)nondet_upto(LEFT_MAX);
	unsigned before = left_count;
	bool replaced = cgroup_replace(&cgroup);
	PROVE(cgroup_of(1) == cgroups + 1);
	PROVE(left_count <= LEFT_MAX && left_count <= before + replaced);
	WITNESS(replaced && before == LEFT_MAX && left_count == LEFT_MAX);
}

void prove_name(void)
{
	char name[DIGITS + 2];

	for (uint32_t slot = 0; slot < SANDBOXD_MAX_COMMANDS; slot++)
		cgroups[slot].number = nondet_u64();
	freezes = nondet_bool();
	name[DIGITS + 1] = 0;
	WITNESS(!visit(name, nondet_bool() ? freeze : is_frozen));
}
