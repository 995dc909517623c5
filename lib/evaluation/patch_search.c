/* The k nearest entries of a patch memory. See patch_search.h. */
#include "evaluation/patch_search.h"

#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

#define STRIPE 256 /* queries multiplied at a time with a block */

cribo_status cb_patch_search_create(
    const cb_runtime *runtime, cb_patch_search *search, size_t width, size_t k)
{
    const cb_allocator *allocator = &runtime->allocator;
    size_t threads = cb_pool_threads(runtime->pool);
    *search = (cb_patch_search){.pool = runtime->pool, .width = width, .k = k};
    CB_TRY(cb_allocate(
        allocator, &search->unit, CB_PATCH_SEARCH_GROUP * width, sizeof *search->unit, "search: queries"));
    CB_TRY(cb_allocate(allocator, &search->workers, threads, sizeof *search->workers, "search: workers"));
    for (size_t w = 0; w < threads; w++) {
        cb_patch_search_worker *worker = &search->workers[w];
        CB_TRY(cb_allocate(allocator, &worker->cosines, STRIPE * CB_PATCH_BLOCK, sizeof *worker->cosines,
            "search: cosines"));
        CB_TRY(cb_allocate(
            allocator, &worker->best, CB_PATCH_SEARCH_GROUP * k, sizeof *worker->best, "search: neighbours"));
    }
    return CRIBO_OK;
}

void cb_patch_search_destroy(const cb_runtime *runtime, cb_patch_search *search)
{
    const cb_allocator *allocator = &runtime->allocator;
    for (size_t w = 0; search->workers && w < cb_pool_threads(search->pool); w++) {
        cb_release(allocator, search->workers[w].best);
        cb_release(allocator, search->workers[w].cosines);
    }
    cb_release(allocator, search->workers);
    cb_release(allocator, search->unit);
}

static bool nearer(cb_neighbour a, cb_neighbour b)
{
    return a.cosine > b.cosine || (a.cosine == b.cosine && a.index < b.index);
}

/* Puts a candidate into its place among the best k. */
static void keep(cb_neighbour *best, size_t k, cb_neighbour candidate)
{
    if (!nearer(candidate, best[k - 1])) return;
    size_t place = k - 1;
    for (; place > 0 && nearer(candidate, best[place - 1]); place--) best[place] = best[place - 1];
    best[place] = candidate;
}

/* Looks through cosines with `n` entries, the first of which has index `first`. */
static void consider(cb_neighbour *best, size_t k, const cb_real *cosines, size_t n, size_t first)
{
    for (size_t i = 0; i < n; i++) {
        i += cb_rows()->first_reaching(cosines + i, n - i, best[k - 1].cosine);
        if (i < n) keep(best, k, (cb_neighbour){cosines[i], (int64_t)(first + i)});
    }
}

static size_t stripes(const cb_patch_search *search)
{
    return (search->queries + STRIPE - 1) / STRIPE;
}

/* Task: one block of the memory with one stripe of the queries; a block's tasks follow each other, and it comes from memory once. */
static void search_block(void *context, size_t task, size_t worker)
{
    const cb_patch_search *n = context;
    const cb_patch_search_worker *own = &n->workers[worker];
    size_t block = task / stripes(n), begin = task % stripes(n) * STRIPE;
    size_t queries = cb_least(n->queries - begin, STRIPE), entries = cb_patch_memory_rows(n->memory, block);
    cb_gemm(NULL, CB_NT, queries, entries, n->width, n->unit + begin * n->width, n->width,
        n->memory->blocks[block].unit, n->width, false, own->cosines, entries);
    for (size_t q = 0; q < queries; q++)
        consider(own->best + (begin + q) * n->k, n->k, own->cosines + q * entries, entries,
            block * CB_PATCH_BLOCK);
}

/* Task: some queries' best of all workers, into those of worker 0. */
static void gather(void *context, size_t task, size_t worker)
{
    const cb_patch_search *n = context;
    size_t begin = task * STRIPE, end = cb_least(n->queries, begin + STRIPE);
    (void)worker;
    for (size_t w = 1; w < cb_pool_threads(n->pool); w++)
        for (size_t i = begin * n->k; i < end * n->k; i++)
            keep(n->workers[0].best + i / n->k * n->k, n->k, n->workers[w].best[i]);
}

static void forget(cb_patch_search *n)
{
    for (size_t w = 0; w < cb_pool_threads(n->pool); w++)
        for (size_t i = 0; i < n->queries * n->k; i++)
            n->workers[w].best[i] = (cb_neighbour){-INFINITY, INT64_MAX};
}

const cb_neighbour *cb_patch_search_run(
    cb_patch_search *search, const cb_patch_memory *memory, size_t queries, const cb_real *features)
{
    search->memory = memory;
    search->queries = queries;
    for (size_t q = 0; q < queries; q++)
        cb_unit_feature(search->unit + q * search->width, features + q * search->width, search->width);
    forget(search);
    cb_pool_run(search->pool, cb_patch_memory_blocks(memory) * stripes(search), search_block, search);
    cb_pool_run(search->pool, stripes(search), gather, search);
    return search->workers[0].best;
}
