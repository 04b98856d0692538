/* Gives a machine that starts or resumes the current time, fresh entropy, and ids that no other
 * clone has. */
#ifndef RESUME_H
#define RESUME_H

#include "protocol.h"

/* Opens the files that `resume` writes to. Must be called once, before `resume`. */
void resume_init(void);

/* Sets the clock, and adds entropy from the host to the pool of the kernel. If `renewed` is true,
 * replaces the boot id and the machine id, too. */
void resume(const struct sandboxd_resume *given, bool renewed);

#endif
