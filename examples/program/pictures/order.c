/* See order.h. */
#include "pictures/order.h"

#include <cribo/base.h>

struct order order_make(uint64_t seed, uint64_t stream, uint64_t count)
{
    struct order order = {.count = count};
    unsigned bits = 0;
    double draws[ORDER_ROUNDS] = {0};
    while (bits < 64 && (count - 1) >> bits) bits++;
    order.left_bits = bits / 2;
    order.right_bits = bits - bits / 2;
    /* Cannot fail with these arguments; a failure would give a poor order, but still a permutation. */
    if (cribo_random_uniform(seed, stream, 0, ORDER_ROUNDS, draws) != CRIBO_OK) return order;
    for (int i = 0; i < ORDER_ROUNDS; i++) order.keys[i] = (uint64_t)(draws[i] * 0x1p53);
    return order;
}

/*
 * The finaliser of SplitMix64 (Steele, Lea and Flood 2014): each bit of x affects each bit of the result.
 */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static uint64_t low_bits(uint64_t x, unsigned bits)
{
    return x & ((UINT64_C(1) << bits) - 1);
}

/*
 * The two halves, which may differ by a bit, change in turn. Each round is invertible, so the function is one
 * to one.
 */
static uint64_t permute(const struct order *order, uint64_t x)
{
    uint64_t left = x >> order->right_bits, right = low_bits(x, order->right_bits);
    for (int i = 0; i < ORDER_ROUNDS; i += 2) {
        left ^= low_bits(mix(right ^ (order->keys[i] << 11)), order->left_bits);
        right ^= low_bits(mix(left ^ (order->keys[i + 1] << 11)), order->right_bits);
    }
    return left << order->right_bits | right;
}

uint64_t order_at(const struct order *order, uint64_t place)
{
    do place = permute(order, place);
    while (place >= order->count);
    return place;
}
