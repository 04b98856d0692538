/* Functions by which a Python program tells callgrind where to start and stop counting
 * instructions. */
#include <valgrind/callgrind.h>

void begin(void);
void end(const char *name);

void begin(void)
{
	CALLGRIND_START_INSTRUMENTATION;
	CALLGRIND_ZERO_STATS;
}

void end(const char *name)
{
	CALLGRIND_DUMP_STATS_AT(name);
	CALLGRIND_STOP_INSTRUMENTATION;
}
