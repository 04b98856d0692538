/* Reads the pipes of finished commands to which other processes still write.
 *
 * Functions: drain_add drain_run drain_clear drain_highest has_room let_go is_over
 * Bound: every state of 4 descriptors; up to 2 ready descriptors in one turn
 * Assumes: descriptors below 4 instead of 65536, 2 events instead of 16; the kernel reports only
 *	descriptors that were added and not deleted, and reuses none before it is closed
 * Idle: epoll_create1
 * Unwind: 6 */
#include "proof.h"

#include <drain.h>
#define DRAIN_FILES 4

#include <drain.c>

int epoll_ctl(int poller, int operation, int fd, struct epoll_event *event)
{
	PROVE(operation == EPOLL_CTL_DEL || __CPROVER_r_ok(event, sizeof *event));
	return operation == EPOLL_CTL_DEL ? 0 : nondet_int();
}

int epoll_wait(int poller, struct epoll_event *events, int size, int timeout)
{
	int ready = nondet_int();

	PROVE(size > 1 && __CPROVER_w_ok(events, (size_t)size * sizeof *events));
	ASSUME(ready >= -1 && ready <= 2);
	for (int i = 0; i < ready; i++) {
		int fd = nondet_int();

		ASSUME(fd >= 0 && fd < DRAIN_FILES && held[fd]);
		ASSUME(i == 0 || fd != events[0].data.fd);
		events[i].data.fd = fd;
	}
	return ready;
}

int getrlimit(int which, struct rlimit *limit)
{
	limit->rlim_cur = nondet_u64();
	return nondet_int();
}

/* Counts the held descriptors, and proves that none is above the highest. */
static unsigned kept(void)
{
	unsigned number = 0;

	for (int fd = 0; fd < DRAIN_FILES; fd++) {
		number += held[fd];
		PROVE(!held[fd] || fd <= highest);
	}
	return number;
}

void prove(void)
{
	highest = (int)nondet_upto(DRAIN_FILES - 1);
	for (int fd = 0; fd <= highest; fd++) {
		held[fd] = nondet_bool();
		count += held[fd];
	}
	unsigned before = count;
	drain_run();
	PROVE(count <= before && count == kept());
	WITNESS(count == DRAIN_FILES);
	int fd = nondet_int();
	ASSUME(fd >= 0 && (fd >= DRAIN_FILES || !held[fd]));
	before = count;
	drain_add(fd);
	PROVE(count == kept() && count <= before + 1 && drain_highest() < DRAIN_FILES);
	WITNESS(count == before + 1 && drain_highest() == fd);
	WITNESS(count == before);
	drain_clear();
	PROVE(count == 0 && kept() == 0);
}
