/* What Python says to callgrind: where a span begins that is counted, and where it ends. */
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
