/* The k nearest entries of a patch memory. See patch_search.h. */
#include "evaluation/patch_search.h"

#define STRIPE 256 /* queries that are compared with a block at a time */

cribo_status cb_patch_search_create(
    const cb_runtime *runtime, cb_patch_search *search, size_t width, size_t k)
{
    *search = (cb_patch_search){0};
    CB_TRY(cb_queries_create(&runtime->allocator, &search->queries, CB_PATCH_SEARCH_GROUP, width));
    return cb_parallel_search_create(runtime, &search->search,
        &(cb_search_sizes){.searches = 1,
            .max_queries = CB_PATCH_SEARCH_GROUP,
            .max_entries = CB_PATCH_BLOCK,
            .width = width,
            .neighbours = k});
}

void cb_patch_search_destroy(const cb_runtime *runtime, cb_patch_search *search)
{
    cb_parallel_search_destroy(runtime, &search->search);
    cb_queries_destroy(&runtime->allocator, &search->queries);
}

static cb_entries entries_of(const void *store, size_t block)
{
    const cb_patch_memory *memory = store;
    return (cb_entries){.rows = cb_patch_memory_rows(memory, block),
        .vector = memory->blocks[block].unit,
        .index = block * CB_PATCH_BLOCK};
}

const cb_neighbour *cb_patch_search_run(
    cb_patch_search *search, const cb_patch_memory *memory, size_t queries, const cb_real *features)
{
    search->queries.rows = queries;
    for (size_t q = 0; q < queries; q++)
        cb_queries_put(&search->queries, q, features + q * search->queries.width);
    const cb_search_job job = {&search->queries, cb_patch_memory_blocks(memory), entries_of, memory, STRIPE};
    cb_parallel_search_run(&search->search, &job);
    return search->search.workers[0].best[0];
}
