/* See broken.h. Open addressing, at most half full. */
#include "pictures/broken.h"

#include <stdlib.h>

static struct broken_slot *find(const struct broken *broken, uint64_t picture)
{
    size_t i = (size_t)(picture * UINT64_C(0x9E3779B97F4A7C15)) % broken->capacity;
    while (broken->slots[i].since && broken->slots[i].picture != picture) i = (i + 1) % broken->capacity;
    return &broken->slots[i];
}

static bool grow(struct broken *broken)
{
    struct broken larger = {.capacity = broken->capacity ? 2 * broken->capacity : 64, .count = broken->count};
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots) return false;
    for (size_t i = 0; i < broken->capacity; i++)
        if (broken->slots[i].since) *find(&larger, broken->slots[i].picture) = broken->slots[i];
    free(broken->slots);
    *broken = larger;
    return true;
}

uint64_t broken_since(const struct broken *broken, uint64_t picture)
{
    return broken->capacity > 0 ? find(broken, picture)->since : 0;
}

bool broken_has(const struct broken *broken, uint64_t picture)
{
    return broken_since(broken, picture) > 0;
}

bool broken_add(struct broken *broken, uint64_t picture, uint64_t batch, bool *first)
{
    *first = false;
    if (2 * (broken->count + 1) > broken->capacity && !grow(broken)) return false;
    struct broken_slot *slot = find(broken, picture);
    *first = slot->since == 0;
    broken->count += *first;
    slot->picture = picture;
    if (*first || batch + 1 < slot->since) slot->since = batch + 1;
    return true;
}

static int by_number(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

size_t broken_before(const struct broken *broken, uint64_t end, uint32_t *pictures)
{
    size_t count = 0;
    for (size_t i = 0; i < broken->capacity; i++) {
        if (broken->slots[i].since == 0 || broken->slots[i].since > end) continue;
        if (pictures) pictures[count] = (uint32_t)broken->slots[i].picture;
        count++;
    }
    if (pictures && count) qsort(pictures, count, sizeof *pictures, by_number);
    return count;
}

void broken_free(struct broken *broken)
{
    free(broken->slots);
    *broken = (struct broken){0};
}
