/*
 * Memory: the handle's allocator, and arenas.
 *
 * Three lifetimes: a handle's (parameters, moments, bank: cb_allocate), a pass's (activations, tape, scratch:
 * an arena that is reset in O(1)), and nothing else. An arena without memory *measures*: it returns NULL and
 * counts, so that creation knows the memory of a pass; the passes then allocate nothing.
 */
#ifndef CB_BASE_MEMORY_H
#define CB_BASE_MEMORY_H

#include "base/status.h"

#include <stdbool.h>

#define CB_ALIGNMENT 64 /* a cache line, and the widest vector */

/* The source of memory. Zeroed: malloc and free. */
typedef struct cb_allocator {
    void *(*allocate)(void *user, size_t bytes);
    void (*release)(void *user, void *memory);
    void *user;
} cb_allocator;

/*
 * Counts the memory of a handle that is created only to be counted. Its large blocks are address space
 * without memory while nothing touches them: creation code skips large writes where cb_is_plan.
 */
typedef struct cb_memory_plan {
    size_t bytes; /* in use, as the hooks of an allocator would be asked for them */
    size_t peak;
} cb_memory_plan;

/* The allocator of such a handle; `plan` outlives it. */
cb_allocator cb_plan_allocator(cb_memory_plan *plan);
bool cb_is_plan(const cb_allocator *allocator);

/*
 * count * size bytes, zeroed, aligned to CB_ALIGNMENT. `out` is the address of a pointer of any type, which
 * receives the block (NULL on failure). `what` names the block in the message. A count of 0 gives a valid
 * block. Large blocks of the default allocator are fresh pages, which use no memory until they are touched.
 */
cribo_status cb_allocate(
    const cb_allocator *allocator, void *out, size_t count, size_t size, const char *what);

/* cb_allocate with the size of an element of `*place`: `place` is the address of the pointer. */
#define CB_ALLOCATE(allocator, place, count, what) \
    cb_allocate(allocator, place, count, sizeof **(place), what)

/*
 * cb_allocate without clearing: the content is undefined. For large arrays that are written before they are
 * read: no page of theirs is touched at creation, whatever the allocator.
 */
cribo_status cb_allocate_uncleared(
    const cb_allocator *allocator, void *out, size_t count, size_t size, const char *what);
#define CB_ALLOCATE_UNCLEARED(allocator, place, count, what) \
    cb_allocate_uncleared(allocator, place, count, sizeof **(place), what)

/* Releases a block; NULL is allowed. */
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

typedef struct cb_arena {
    unsigned char *base; /* NULL: the arena measures */
    size_t capacity;
    size_t used;
    size_t peak; /* maximum ever in use */
} cb_arena;

/* An arena that measures. */
cb_arena cb_arena_measure(void);

/* Allocates `arena` with the size that `measured` counted at its peak. */
cribo_status cb_arena_create(const cb_allocator *allocator, cb_arena *arena, size_t bytes, const char *what);
void cb_arena_destroy(const cb_allocator *allocator, cb_arena *arena);

/*
 * A block aligned to CB_ALIGNMENT, not initialised; NULL while measuring. Running out is a bug of the
 * library: plans are exact upper bounds.
 */
void *cb_arena_take(cb_arena *arena, size_t count, size_t size);

/* Returning to a mark releases everything taken since. */
static inline size_t cb_arena_mark(const cb_arena *arena)
{
    return arena->used;
}
void cb_arena_return(cb_arena *arena, size_t mark);

#endif
