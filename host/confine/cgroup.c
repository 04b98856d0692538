#include "cgroup.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "namespaces.h"
#include "options.h"

const char *cgroup_join(const struct options *options, char detail[static DETAIL_SIZE])
{
	if (options->cgroup < 0)
		return "no group was given";
	if (write(options->cgroup, "0", 1) < 0)
		return strerror(errno);
	/* Enter a new cgroup namespace only after joining the cgroup, so that this cgroup is the
	 * root of the namespace. */
	if (!namespace_leave(CLONE_NEWCGROUP))
		strcpy(detail, "with a namespace");
	return NULL;
}
