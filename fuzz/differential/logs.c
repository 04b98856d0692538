/* Reads cases from its input, each the size of the bytes, the number of cuts, the cuts and the bytes;
 * writes how many frames it has taken or refused, the size of their log, and that: for the bytes as a
 * host's, and as a guest's. */
#include <stdlib.h>

#include "../decoder/replay.c"

static void answer(size_t count, const struct log *log)
{
	const uint32_t sizes[] = { (uint32_t)count, (uint32_t)log->size };

	fwrite(sizes, sizeof sizes, 1, stdout);
	fwrite(log->data, 1, log->size, stdout);
	fflush(stdout);
}

int main(void)
{
	uint32_t sizes[2];

	while (fread(sizes, sizeof sizes, 1, stdin) == 1) {
		size_t size = sizes[0], count = sizes[1], all = size + count * sizeof(uint32_t);
		uint32_t *cuts = malloc(all);
		const uint8_t *data = (const uint8_t *)(cuts + count);

		assert(cuts && fread(cuts, 1, all, stdin) == all);
		answer(replay_host(data, size, cuts, count, &whole), &whole);
		answer(replay_guest(data, size, &whole), &whole);
		free(cuts);
	}
	return 0;
}
