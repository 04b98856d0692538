/* Decodes cases from standard input, and writes the logs. A case is the number of its bytes, the
 * number of cuts, the cuts and the bytes. A cut is an offset at which another read begins. Each
 * case is decoded as bytes of a host, and then as bytes of a guest. Each time, the output is the
 * number of accepted and refused frames, the size of the log, and the log. */
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
