/* Installs the seccomp filter, which allows only the system calls of allowed_calls.h. */
#ifndef FILTER_H
#define FILTER_H

/* Executes a program. The array `program` holds its path and its arguments. The filter allows
 * execve only from this function. Returns on failure only. */
void filter_execute(char **program);

#endif
