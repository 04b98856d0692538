/* The kernel's filter of system calls: those of the table are allowed, no others. */
#ifndef FILTER_H
#define FILTER_H

#include "layers.h"

layer_lay filter_install;

/* Executes a program, which the filter allows the launcher alone; returns if it fails. */
void filter_execute(char **program);

#endif
