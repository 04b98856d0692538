/* libFuzzer's entry: any cut of the bytes gives the same, and a guest's bytes break nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

enum { SHORT = 300, CUTS = 8 };

static struct log whole, cut;
static uint64_t frames;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_agree(void)
{
	if (whole.size == cut.size && memcmp(whole.data, cut.data, whole.size) == 0)
		return;
	fprintf(stderr, "SUMMARY: another cut gives other events\n");
	abort();
}

/* Numbers from the bytes, so that an input always means the same. */
static uint32_t next(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static uint32_t hash(const uint8_t *data, size_t size)
{
	uint32_t state = 2166136261;

	for (size_t i = 0; i < size; i++)
		state = (state ^ data[i]) * 16777619;
	return state;
}

static size_t cut_some(const uint8_t *data, size_t size, uint32_t cuts[static CUTS])
{
	uint32_t state = hash(data, size);
	size_t at = 0;

	for (size_t i = 0; i < CUTS; i++) {
		at += 1 + next(&state) % (size / 4 + 1);
		if (at >= size)
			return i;
		cuts[i] = (uint32_t)at;
	}
	return CUTS;
}

static void report(void)
{
	fprintf(stderr, "frames: %llu\n", (unsigned long long)frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint32_t every[SHORT];
	uint32_t some[CUTS];

	if (!every[0]) {
		for (uint32_t i = 0; i < SHORT; i++)
			every[i] = i + 1;
		atexit(report);
	}
	replay_host(data, size, NULL, 0, &whole);
	frames += whole.frames;
	replay_host(data, size, some, cut_some(data, size, some), &cut);
	must_agree();
	if (size > 1 && size <= SHORT) {
		replay_host(data, size, every, size - 1, &cut);
		must_agree();
	}
	replay_guest(data, size, &whole);
	frames += whole.frames;
	replay_parts(data, size);
	return 0;
}
