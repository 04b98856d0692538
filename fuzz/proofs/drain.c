/* The table of pipes that outlived their command.
 *
 * Functions: drain_add drain_poll drain_run is_over
 * Bound: every state of a table of 4
 * Assumes: that size in the place of 512
 * Unwind: 6 */
#include "proof.h"

#include <drain.h>
#define DRAIN_MAX 4

#include <drain.c>

#include "system.h"

void prove(void)
{
	struct pollfd fds[DRAIN_MAX];

	count = nondet_u32();
	ASSUME(count <= DRAIN_MAX);
	unsigned before = count;
	PROVE(drain_poll(fds) == before);
	drain_run(fds);
	PROVE(count <= before);
	WITNESS(count == DRAIN_MAX);
	unsigned kept = count;
	int fd = nondet_int(), newest = kept ? pipes[kept - 1] : fd;
	drain_add(fd);
	PROVE(count <= DRAIN_MAX && count >= kept && count > 0);
	PROVE(pipes[count - 1] == fd);
	PROVE(count < 2 || pipes[count - 2] == newest);
}
