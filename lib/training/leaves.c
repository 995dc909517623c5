/* The leaves of a batch. See leaves.h. */
#include "training/leaves.h"

#include "tensor/rounding.h"

#include <string.h>

cribo_status cb_leaves_create(
    const cb_allocator *allocator, cb_leaves *leaves, size_t count, const cb_sum_array arrays[CB_LEAF_ARRAYS])
{
    *leaves = (cb_leaves){.count = count, .rounded = leaves->rounded};
    memcpy(leaves->arrays, arrays, sizeof leaves->arrays);
    for (size_t a = 0; a < CB_LEAF_ARRAYS; a++) leaves->total += arrays[a].count;
    for (size_t l = 0; (size_t)1 << l < count; l++)
        CB_TRY(CB_ALLOCATE(allocator, &leaves->level[l], leaves->total, "gradients of the shards"));
    return CRIBO_OK;
}

void cb_leaves_free(const cb_allocator *allocator, cb_leaves *leaves)
{
    for (size_t l = 0; l < CB_MAX_LEAF_LEVELS; l++) cb_release(allocator, leaves->level[l]);
    *leaves = (cb_leaves){0};
}

typedef enum sweep_kind { CLEAR, STORE, ADD } sweep_kind;

/* One sweep over an array: clears it, stores it, or adds the stored array to it. */
typedef struct sweep {
    sweep_kind kind;
    bool rounded;
    cb_sum_array array;
    cb_real *stored;
    size_t parts;
} sweep;

static void sweep_part(void *context, size_t part, size_t worker)
{
    const sweep *s = context;
    cb_range some = cb_part(s->array.count, part, s->parts, CB_ALIGNMENT / sizeof(cb_real));
    cb_real *values = s->array.values + some.begin;
    size_t n = some.end - some.begin, from = some.begin;
    (void)worker;
    if (s->kind == ADD && s->rounded) {
        cb_round_to_bf16(values, n);
        cb_round_to_bf16(s->stored + from, n);
    }
    if (s->kind == ADD)
        for (size_t i = 0; i < n; i++) values[i] = s->stored[from + i] + values[i];
    if (s->kind == STORE) memcpy(s->stored + from, values, n * sizeof *values);
    if (s->kind != ADD) memset(values, 0, n * sizeof *values);
}

static void sweep_array(cb_pool *pool, sweep s)
{
    s.parts = cb_pool_parts(pool, s.array.count);
    cb_pool_run(pool, s.parts, sweep_part, &s);
}

/* Of the first array the numbers before `open`. */
static void sweep_all(const cb_leaves *leaves, cb_pool *pool, sweep_kind kind, cb_real *stored)
{
    for (size_t a = 0; a < CB_LEAF_ARRAYS; a++) {
        cb_sum_array array = leaves->arrays[a];
        if (a == 0) array.count = leaves->open;
        sweep_array(pool, (sweep){kind, leaves->rounded && a == 0, array, stored, 0});
        if (stored) stored += leaves->arrays[a].count;
    }
}

void cb_leaves_begin(cb_leaves *leaves, cb_pool *pool)
{
    leaves->ended = 0;
    leaves->open = leaves->arrays[0].count;
    sweep_all(leaves, pool, CLEAR, NULL);
}

void cb_leaves_complete(cb_leaves *leaves, cb_pool *pool, size_t from)
{
    if (from >= leaves->open) return;
    cb_sum_array some = {leaves->arrays[0].values + from, leaves->open - from};
    for (size_t l = 0; (size_t)1 << l < leaves->count; l++)
        sweep_array(pool, (sweep){ADD, leaves->rounded, some, leaves->level[l] + from, 0});
    leaves->open = from;
}

/* Like the carry of a binary counter: leaf i completes one subtree for each trailing 1 bit of i. */
void cb_leaves_end(cb_leaves *leaves, cb_pool *pool)
{
    size_t leaf = leaves->ended++, l = 0;
    for (; leaf >> l & 1; l++) sweep_all(leaves, pool, ADD, leaves->level[l]);
    if (leaves->ended < leaves->count) sweep_all(leaves, pool, STORE, leaves->level[l]);
}
