/* How the benchmarks end when something fails. */
#ifndef BENCHMARKS_NEED_H
#define BENCHMARKS_NEED_H

#include "cribo/cribo.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static inline void need(bool fine, const char *what)
{
    if (fine) return;
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static inline void call(cribo_status status)
{
    need(status == CRIBO_OK, cribo_last_error());
}

static inline void *numbers(size_t count, size_t size)
{
    void *memory = malloc(count * size + 1);
    need(memory, "no memory");
    return memory;
}

#endif
