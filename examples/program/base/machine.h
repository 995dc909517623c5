/* A description of the machine that the program runs on. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stddef.h>

/* "AMD EPYC 9354, 2 processors, 7.6 GiB of memory, Linux 6.1.0 x86_64" */
void machine_describe(char *text, size_t size);

#endif
