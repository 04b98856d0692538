/* Gives a machine that starts or resumes the time, fresh entropy, and ids that no other clone
 * has. */
#ifndef RESUME_H
#define RESUME_H

#include "protocol.h"

/* Must be called once, before `resume`. */
void resume_init(void);

/* Sets the clock and adds entropy. If `renewed` is true, replaces the boot id and the machine id,
 * too. */
void resume(const struct sandboxd_resume *given, bool renewed);

#endif
