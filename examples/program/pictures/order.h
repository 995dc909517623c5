/*
 * A pseudo-random permutation of `count` numbers that is computed place by place and not stored: a Feistel
 * network over the smallest sufficient power of two, applied again while the result is too large (cycle
 * walking; Black and Rogaway 2002).
 */
#ifndef ORDER_H
#define ORDER_H

#include <stdint.h>

enum { ORDER_ROUNDS = 24 };

struct order {
    uint64_t count, keys[ORDER_ROUNDS];
    unsigned left_bits, right_bits;
};

/* The permutation of `count` numbers, at least 1, for (seed, stream). */
struct order order_make(uint64_t seed, uint64_t stream, uint64_t count);

/* The number at `place`, both 0 ... count - 1; each number occurs once. */
uint64_t order_at(const struct order *order, uint64_t place);

#endif
