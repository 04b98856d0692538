/* Functions for Python that tell callgrind the beginning and the end of a counted span. */
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
