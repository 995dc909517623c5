/*
 * Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011). Every number is a function of (seed, purpose, stream, index, position), never of a
 * thread or of earlier draws.
 */
#ifndef CB_BASE_RANDOM_H
#define CB_BASE_RANDOM_H

#include "base/status.h"

/* The purpose of a number: part of the key, so that no two uses share numbers. */
typedef enum cb_purpose {
    CB_PURPOSE_CALLER = 0, /* cribo_random_uniform */
    CB_PURPOSE_PARAMETERS = 1,
    CB_PURPOSE_SEED_TOKENS = 2, /* the initial tokens of the clusters */
    CB_PURPOSE_DROP_PATH = 3,
    CB_PURPOSE_PATCH_SAMPLE = 4, /* which patches a bounded memory keeps */
    CB_PURPOSE_K_MEANS = 5,
    CB_PURPOSE_MASKS = 6,          /* the patches that are masked */
    CB_PURPOSE_LOCAL_DROP_PATH = 7 /* of local crops */
} cb_purpose;

/* A sequence of numbers. `stream` and `index` identify it: a step and an image, a parameter, ... */
typedef struct cb_random {
    uint32_t key[2];
    uint32_t counter[4]; /* position, index, stream low, stream high */
    uint32_t block[4];
    uint32_t unread; /* of `block` */
} cb_random;

/*
 * The first words of the sequence (seed, purpose, stream, index); the low 32 bits of an index are in the
 * counter, the high bits in the key.
 */
cb_random cb_random_begin(uint64_t seed, cb_purpose purpose, uint64_t stream, uint64_t index);

uint32_t cb_random_next(cb_random *random);

/* In [0, 1), 53 bits. */
double cb_random_uniform(cb_random *random);

/* 0 ... bound - 1, each equally likely; bound > 0. */
uint32_t cb_random_below(cb_random *random, uint32_t bound);

/* Mean 0, deviation 1 (Box-Muller). */
double cb_random_normal(cb_random *random);

/* The Philox 4x32-10 bijection itself. */
void cb_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
