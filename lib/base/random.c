/* Philox 4x32-10 and the sequences made of it. See random.h. */
#include "base/random.h"

#include <math.h>

void cb_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = UINT64_C(0xD2511F53) * c0,
                 p1 = UINT64_C(0xCD9E8D57) * c2; /* multipliers of the paper */
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9; /* golden ratio */
        k1 += 0xBB67AE85; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/*
 * The key is (seed, purpose) mixed once through Philox, since together they have more than its 64 bits; the
 * counter holds (position, index, stream) with the index's high half folded into the key by the same mixing.
 */
cb_random cb_random_begin(uint64_t seed, cb_purpose purpose, uint64_t stream, uint64_t index)
{
    uint32_t mixed[4];
    const uint32_t seed_words[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t what[4] = {(uint32_t)purpose, (uint32_t)(index >> 32), 0, 0};
    cb_philox(what, seed_words, mixed);
    return (cb_random){
        .key = {mixed[0], mixed[1]},
        .counter = {0, (uint32_t)index, (uint32_t)stream, (uint32_t)(stream >> 32)},
    };
}

uint32_t cb_random_next(cb_random *random)
{
    if (random->unread == 0) {
        cb_philox(random->counter, random->key, random->block);
        random->counter[0]++;
        random->unread = 4;
    }
    return random->block[4 - random->unread--];
}

double cb_random_uniform(cb_random *random)
{
    uint64_t high = cb_random_next(random) >> 5, low = cb_random_next(random) >> 6;
    return ((double)(high << 26 | low)) * 0x1p-53;
}

uint32_t cb_random_below(cb_random *random, uint32_t bound)
{
    uint32_t reject =
        (uint32_t)(-bound) % bound; /* 2^32 mod bound: the words that would favour small results */
    for (;;) {
        uint64_t product = (uint64_t)cb_random_next(random) * bound;
        if ((uint32_t)product >= reject) return (uint32_t)(product >> 32);
    }
}

double cb_random_normal(cb_random *random)
{
    const double two_pi = 6.283185307179586;
    double radius = sqrt(-2.0 * log(1.0 - cb_random_uniform(random)));
    return radius * cos(two_pi * cb_random_uniform(random));
}

cribo_status cribo_random_uniform(
    uint64_t seed, uint64_t stream, uint64_t index, size_t count, double *values)
{
    CB_REQUIRE(values || count == 0, "values is NULL, but count = %zu", count);
    cb_random random = cb_random_begin(seed, CB_PURPOSE_CALLER, stream, index);
    for (size_t i = 0; i < count; i++) values[i] = cb_random_uniform(&random);
    return CRIBO_OK;
}
