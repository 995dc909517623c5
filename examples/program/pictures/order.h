/*
 * A pseudo-random order of `count` things that is computed place by place and never stored: a Feistel network
 * over the smallest power of two that holds them all, walked on while it leads outside (cycle walking; Black
 * and Rogaway 2002).
 */
#ifndef ORDER_H
#define ORDER_H

#include <stdint.h>

enum { ORDER_ROUNDS = 24 };

struct order {
    uint64_t count, keys[ORDER_ROUNDS];
    unsigned left_bits, right_bits;
};

/* The order of `count` things, at least 1, that belongs to (seed, stream). */
struct order order_make(uint64_t seed, uint64_t stream, uint64_t count);

/* Which thing stands at `place`, both 0 ... count - 1; each stands at one place. */
uint64_t order_at(const struct order *order, uint64_t place);

#endif
