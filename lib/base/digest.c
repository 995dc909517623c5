/* A digest of bytes. See digest.h. */
#include "base/digest.h"

#include <string.h>

/*
 * Each step is invertible in the state and in the word, so one word that differs always shows; four lanes
 * keep the multipliers busy. The constants are odd, with bits in no pattern (fractions of the roots of 2, 3,
 * 5, 7).
 */
static const uint64_t factor[4] = {
    0x6a09e667f3bcc909, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1};

static uint64_t mix(uint64_t lane, uint64_t word, uint64_t multiplier)
{
    lane = (lane ^ word) * multiplier;
    return lane ^ (lane >> 29);
}

static uint64_t word_at(const unsigned char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

uint64_t cb_digest(uint64_t digest, const void *data, size_t count)
{
    const unsigned char *bytes = data;
    if (!bytes) return digest;
    uint64_t lane[4] = {digest + count, digest ^ factor[1], digest - factor[2], ~digest};
    for (; count >= 32; count -= 32, bytes += 32)
        for (int i = 0; i < 4; i++) lane[i] = mix(lane[i], word_at(bytes + 8 * i), factor[i]);
    for (size_t i = 0; i < count; i++) lane[i % 4] = mix(lane[i % 4], bytes[i] + 256 * i, factor[i % 4]);
    for (int i = 1; i < 4; i++) lane[0] = mix(lane[0], lane[i], factor[i]);
    return lane[0];
}
