/* What a machine cannot know by itself when it begins or goes on: the time, and fresh entropy. */
#ifndef RESUME_H
#define RESUME_H

#include "protocol.h"

void resume(const struct sandboxd_resume *given);

#endif
