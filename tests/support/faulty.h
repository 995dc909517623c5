/*
 * An allocator that counts, and fails on request: at one call, from that call on, or for large blocks. The
 * bits of its blocks are all ones.
 */
#ifndef TESTS_FAULTY_H
#define TESTS_FAULTY_H

#include "cribo/base.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct faulty {
    size_t calls;   /* allocations asked for */
    size_t held;    /* blocks not yet given back */
    size_t bytes;   /* in them, as asked for */
    size_t peak;    /* the most bytes at once */
    size_t fail_at; /* number of the failing call, from 1; 0: none */
    bool for_ever;  /* all later calls fail too */
    size_t most;    /* so that `bytes` never exceeds it; 0: no bound */
    size_t
        largest; /* larger blocks fail; 0: none (sanitizers end a program that asks malloc for absurd ones) */
} faulty;

/* The hooks of a runtime or an allocator; `user` is a faulty. */
void *faulty_allocate(void *user, size_t bytes);
void faulty_release(void *user, void *memory);

/* A runtime with this number of threads, whose allocator is `memory`; NULL: the default one. */
cribo_runtime faulty_runtime(int64_t threads, faulty *memory);

#endif
