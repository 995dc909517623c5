/* The handle's allocator, plans, and arenas. See memory.h. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define CB_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CB_ASAN 1
#endif
#endif

#ifdef CB_ASAN
#include <sanitizer/asan_interface.h>
#define RED_ZONE_BYTES CB_ALIGNMENT /* between arena blocks: an overrun hits poison, not its neighbour */
#define POISON(pointer, bytes) ASAN_POISON_MEMORY_REGION(pointer, bytes)
#define UNPOISON(pointer, bytes) ASAN_UNPOISON_MEMORY_REGION(pointer, bytes)
#else
#define RED_ZONE_BYTES 0
#define POISON(pointer, bytes) ((void)(pointer), (void)(bytes))
#define UNPOISON(pointer, bytes) ((void)(pointer), (void)(bytes))
#endif

bool cb_multiply(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

#define PLAN_HEAD CB_ALIGNMENT        /* before a block stands its size */
#define PLAN_MAPPED ((size_t)1 << 20) /* larger blocks are mapped */

static void *map(size_t bytes)
{
    int protection = PROT_READ | PROT_WRITE, kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *block = mmap(NULL, bytes, protection, kind, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

static void *plan_allocate(void *user, size_t bytes)
{
    cb_memory_plan *plan = user;
    size_t whole = bytes + PLAN_HEAD;
    void *block = whole > PLAN_MAPPED ? map(whole) : calloc(1, whole);
    if (!block) return NULL;
    *(size_t *)block = bytes;
    plan->bytes += bytes;
    plan->peak = cb_max(plan->peak, plan->bytes);
    return (unsigned char *)block + PLAN_HEAD;
}

static void plan_release(void *user, void *memory)
{
    cb_memory_plan *plan = user;
    void *block = (unsigned char *)memory - PLAN_HEAD;
    size_t bytes = *(size_t *)block;
    plan->bytes -= bytes;
    if (bytes + PLAN_HEAD > PLAN_MAPPED)
        munmap(block, bytes + PLAN_HEAD);
    else
        free(block);
}

cb_allocator cb_plan_allocator(cb_memory_plan *plan)
{
    *plan = (cb_memory_plan){0};
    return (cb_allocator){plan_allocate, plan_release, plan};
}

bool cb_is_plan(const cb_allocator *allocator)
{
    return allocator->allocate == plan_allocate;
}

/* All object pointers have the same representation here, but C has no lvalue for any pointer type. */
static void set_pointer(void *out, void *memory)
{
    memcpy(out, &memory, sizeof memory);
}

/* The default allocator clears with calloc, whose fresh pages are zero without a write. */
static void *take_block(const cb_allocator *allocator, size_t bytes, bool cleared)
{
    if (allocator->allocate) return allocator->allocate(allocator->user, bytes);
    return cleared ? calloc(1, bytes) : malloc(bytes);
}

static cribo_status allocate(
    const cb_allocator *allocator, void *out, size_t count, size_t size, bool cleared, const char *what)
{
    size_t bytes;
    set_pointer(out, NULL);
    if (!cb_multiply(count, size, &bytes) || bytes > PTRDIFF_MAX - 2 * CB_ALIGNMENT)
        return cb_fail(CRIBO_OUT_OF_MEMORY, "%s: %zu elements of %zu bytes are more than an address can hold",
            what, count, size);

    /* The address of the allocator's block is stored one pointer before the aligned block. */
    size_t padded = bytes + 2 * CB_ALIGNMENT;
    void *block = take_block(allocator, padded, cleared);
    if (!block) return cb_fail(CRIBO_OUT_OF_MEMORY, "%s: no memory for %zu bytes", what, bytes);

    uintptr_t address =
        ((uintptr_t)block + sizeof(void *) + CB_ALIGNMENT - 1) & ~(uintptr_t)(CB_ALIGNMENT - 1);
    ((void **)address)[-1] = block;
    if (cleared && allocator->allocate && !cb_is_plan(allocator)) memset((void *)address, 0, bytes);
    set_pointer(out, (void *)address);
    return CRIBO_OK;
}

cribo_status cb_allocate(
    const cb_allocator *allocator, void *out, size_t count, size_t size, const char *what)
{
    return allocate(allocator, out, count, size, true, what);
}

cribo_status cb_allocate_uncleared(
    const cb_allocator *allocator, void *out, size_t count, size_t size, const char *what)
{
    return allocate(allocator, out, count, size, false, what);
}

void cb_release(const cb_allocator *allocator, void *memory)
{
    if (!memory) return;
    void *block = ((void **)memory)[-1];
    if (allocator->release)
        allocator->release(allocator->user, block);
    else
        free(block);
}

cb_arena cb_arena_measure(void)
{
    return (cb_arena){0};
}

cribo_status cb_arena_create(const cb_allocator *allocator, cb_arena *arena, size_t bytes, const char *what)
{
    void *base;
    *arena = cb_arena_measure();
    CB_TRY(cb_allocate(allocator, &base, bytes, 1, what));
    arena->base = base;
    arena->capacity = bytes;
    POISON(base, bytes);
    return CRIBO_OK;
}

void cb_arena_destroy(const cb_allocator *allocator, cb_arena *arena)
{
    if (arena->base) UNPOISON(arena->base, arena->capacity);
    cb_release(allocator, arena->base);
    *arena = cb_arena_measure();
}

void *cb_arena_take(cb_arena *arena, size_t count, size_t size)
{
    size_t bytes = 0, end = 0;
    bool fits = cb_multiply(count, size, &bytes) && bytes <= SIZE_MAX / 2 - arena->used;
    if (!fits) { /* only while measuring absurd sizes: saturate, so that the creation of the arena fails */
        assert(!arena->base);
        arena->peak = SIZE_MAX / 2;
        return NULL;
    }
    bytes = (bytes + CB_ALIGNMENT - 1) & ~(size_t)(CB_ALIGNMENT - 1);
    end = arena->used + bytes + RED_ZONE_BYTES;
    unsigned char *block = arena->base ? arena->base + arena->used : NULL;
    arena->used = end;
    if (end > arena->peak) arena->peak = end;
    if (!block) return NULL;
    assert(end <= arena->capacity);
    UNPOISON(block, count * size);
#ifndef NDEBUG
    memset(block, 0xff, count * size); /* all ones is a NaN: reads before writes become visible */
#endif
    return block;
}

void cb_arena_return(cb_arena *arena, size_t mark)
{
    assert(mark <= arena->used);
    if (arena->base) POISON(arena->base + mark, arena->used - mark);
    arena->used = mark;
}
