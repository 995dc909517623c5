/* The k nearest entries of a patch memory. See patch_search.h. */
#include "evaluation/patch_search.h"

#include "tensor/gemm.h"

#define STRIPE 256 /* queries that meet a block at a time */

cribo_status cb_patch_search_create(
    const cb_runtime *runtime, cb_patch_search *search, size_t width, size_t k)
{
    const cb_allocator *allocator = &runtime->allocator;
    size_t threads = cb_pool_threads(runtime->pool);
    *search = (cb_patch_search){.pool = runtime->pool, .k = k, .coarsely = cb_gemm_bf16_is_faster()};
    CB_TRY(cb_queries_create(allocator, &search->queries, CB_PATCH_SEARCH_GROUP, width));
    CB_TRY(cb_allocate(allocator, &search->workers, threads, sizeof *search->workers, "search: workers"));
    for (size_t w = 0; w < threads; w++) {
        cb_patch_search_worker *worker = &search->workers[w];
        CB_TRY(cb_search_create(allocator, &worker->search, CB_PATCH_BLOCK, width, k));
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
        cb_search_destroy(allocator, &search->workers[w].search);
    }
    cb_release(allocator, search->workers);
    cb_queries_destroy(allocator, &search->queries);
}

static size_t stripes(const cb_patch_search *search)
{
    return (search->queries.rows + STRIPE - 1) / STRIPE;
}

static cb_queries stripe_of(const cb_queries *all, size_t begin)
{
    return (cb_queries){.rows = cb_least(all->rows - begin, STRIPE),
        .width = all->width,
        .unit = all->unit + begin * all->width,
        .coarse = all->coarse + begin * all->width,
        .doubt = all->doubt + begin};
}

/*
 * Task: one block of the memory with one stripe of the queries; a block's tasks follow each other, and it
 * comes from memory once.
 */
static void search_block(void *context, size_t task, size_t worker)
{
    const cb_patch_search *n = context;
    cb_patch_search_worker *own = &n->workers[worker];
    size_t block = task / stripes(n), begin = task % stripes(n) * STRIPE;
    cb_queries queries = stripe_of(&n->queries, begin);
    cb_entries entries = {.rows = cb_patch_memory_rows(n->memory, block),
        .vector = n->memory->blocks[block].unit,
        .index = block * CB_PATCH_BLOCK};
    cb_search_entries(&own->search, &queries, &entries, n->coarsely, own->best + begin * n->k);
}

/* Task: some queries' best of all workers, into those of worker 0. */
static void gather(void *context, size_t task, size_t worker)
{
    const cb_patch_search *n = context;
    size_t begin = task * STRIPE, end = cb_least(n->queries.rows, begin + STRIPE);
    (void)worker;
    for (size_t w = 1; w < cb_pool_threads(n->pool); w++)
        for (size_t i = begin * n->k; i < end * n->k; i++)
            cb_neighbours_keep(n->workers[0].best + i / n->k * n->k, n->k, n->workers[w].best[i]);
}

const cb_neighbour *cb_patch_search_run(
    cb_patch_search *search, const cb_patch_memory *memory, size_t queries, const cb_real *features)
{
    search->memory = memory;
    search->queries.rows = queries;
    for (size_t q = 0; q < queries; q++)
        cb_queries_put(&search->queries, q, features + q * search->queries.width);
    for (size_t w = 0; w < cb_pool_threads(search->pool); w++)
        cb_neighbours_forget(search->workers[w].best, queries * search->k);
    cb_pool_run(search->pool, cb_patch_memory_blocks(memory) * stripes(search), search_block, search);
    cb_pool_run(search->pool, stripes(search), gather, search);
    return search->workers[0].best;
}
