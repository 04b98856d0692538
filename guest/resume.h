/* What a machine cannot know by itself when it begins or goes on: the time, fresh entropy, and who it
 * is now that others may have begun as it did. */
#ifndef RESUME_H
#define RESUME_H

#include "protocol.h"

/* Called once, before the first. */
void resume_init(void);

/* `renewed` says whether it gets other ids. */
void resume(const struct sandboxd_resume *given, bool renewed);

#endif
