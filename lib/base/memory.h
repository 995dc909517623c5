/*
 * Memory: the handle's allocator, and arenas.
 *
 * Three lifetimes: a handle's (parameters, moments, bank: cb_allocate), a pass's (activations, tape, scratch:
 * an arena that is reset in O(1)), and nothing else. An arena without memory *measures*: it hands out NULL,
 * counts, and so tells at creation how much a pass will need; the passes then allocate nothing.
 */
#ifndef CB_BASE_MEMORY_H
#define CB_BASE_MEMORY_H

#include "base/status.h"

#include <stdbool.h>

#define CB_ALIGNMENT 64 /* a cache line, and the widest vector */

/* Who gives memory. Zeroed: malloc and free. */
typedef struct cb_allocator {
    void *(*allocate)(void *user, size_t bytes);
    void (*release)(void *user, void *memory);
    void *user;
} cb_allocator;

/*
 * count * size bytes, zeroed, aligned to CB_ALIGNMENT. `out` is the address of a pointer, of whatever type,
 * that is to point to them (NULL on failure). `what` names the thing in the message. A count of 0 gives a
 * valid block. Large blocks of the default allocator are fresh pages that cost nothing until they are
 * touched.
 */
cribo_status cb_allocate(
    const cb_allocator *allocator, void *out, size_t count, size_t size, const char *what);

/* Gives a block back; NULL is fine. */
void cb_release(const cb_allocator *allocator, void *memory);

/* a * b into *out, false on overflow. */
bool cb_multiply(size_t a, size_t b, size_t *out);

static inline size_t cb_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t cb_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

#define cb_least cb_min /* for sources that are not adapted yet */

typedef struct cb_arena {
    unsigned char *base; /* NULL: the arena measures */
    size_t capacity;
    size_t used;
    size_t peak; /* the most that was ever in use */
} cb_arena;

/* An arena that measures. */
cb_arena cb_arena_measure(void);

/* Gives `arena` memory for what `measured` counted at its peak. */
cribo_status cb_arena_create(const cb_allocator *allocator, cb_arena *arena, size_t bytes, const char *what);
void cb_arena_destroy(const cb_allocator *allocator, cb_arena *arena);

/*
 * A block aligned to CB_ALIGNMENT, not initialised; NULL while measuring. Running out is our own bug: plans
 * are exact upper bounds.
 */
void *cb_arena_take(cb_arena *arena, size_t count, size_t size);

/* What was taken since a mark is given back by returning to it. */
static inline size_t cb_arena_mark(const cb_arena *arena)
{
    return arena->used;
}
void cb_arena_return(cb_arena *arena, size_t mark);

#endif
