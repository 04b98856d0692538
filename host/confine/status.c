#include "status.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int descriptor = -1;
/* The lines of the launcher's report that are not written yet. There is room for one line about
 * each layer of the confinement. */
static char text[LAYERS * 2 * DETAIL_SIZE];
static size_t used;
static bool held[LAYERS];

void status_open(int fd)
{
	descriptor = fd;
}

/* Writes the lines of the launcher's report that status_layer has collected. */
static void write_kept(void)
{
	if (descriptor >= 0)
		(void)!write(descriptor, text, used);
	used = 0;
}

void status_end(void)
{
	write_kept();
	if (descriptor >= 0 && shutdown(descriptor, SHUT_WR) == 0)
		descriptor = -1;
}

void status_pid(pid_t pid)
{
	if (descriptor >= 0)
		dprintf(descriptor, "pid %d\n", (int)pid);
}

void status_layer(enum layer layer, bool holds, const char *detail)
{
	held[layer] = holds;
	used += (size_t)snprintf(text + used, sizeof text - used, "%s %s%s%s\n", layer_names[layer],
				 holds ? "ok" : "no", *detail ? " " : "", detail);
}

bool status_holds(enum layer layer)
{
	return held[layer];
}

_Noreturn void status_fail(const char *step, const char *object, const char *reason)
{
	bool on_stderr = descriptor < 0;

	write_kept();
	dprintf(on_stderr ? STDERR_FILENO : descriptor, "%s %s%s: %s\n",
		on_stderr ? "confine:" : "failed", step, object, reason);
	_exit(EXIT_FAILED);
}
