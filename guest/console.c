#include "console.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void say(const char *text)
{
	(void)!write(STDERR_FILENO, text, strlen(text));
}

void console_say(const char *step, const char *object, const char *reason)
{
	say(console_name);
	say(step);
	say(object);
	say(": ");
	say(reason);
}

void console_expect(bool done, const char *step, const char *object)
{
	int error = errno;
	const char digits[] = { (char)('0' + error / 100), (char)('0' + error / 10 % 10),
				(char)('0' + error % 10), '\n', 0 };

	if (done)
		return;
	console_say(step, object, "errno ");
	say(digits + (error < 10 ? 2 : error < 100));
}
