/*
 * The k nearest entries of a patch memory by cosine, exactly (distillation/nearest.h).
 *
 * Blocks of the memory meet stripes of queries, and each worker keeps the best k of what it saw for each
 * query: nothing of size queries x entries is ever made. The order of neighbours is total and a cosine's bits
 * do not depend on who computes it, so the best k of all workers together do not depend on the threads.
 */
#ifndef CB_EVALUATION_PATCH_SEARCH_H
#define CB_EVALUATION_PATCH_SEARCH_H

#include "base/runtime.h"
#include "distillation/nearest.h"
#include "evaluation/patch_memory.h"

#define CB_PATCH_SEARCH_GROUP 1024 /* queries of a search: the memory is read once for so many */

typedef struct cb_patch_search_worker {
    cb_search search;
    cb_neighbour *best; /* [CB_PATCH_SEARCH_GROUP, k] in order, for each query */
} cb_patch_search_worker;

typedef struct cb_patch_search {
    cb_pool *pool;
    size_t k;
    bool coarsely;
    cb_queries queries;              /* at most CB_PATCH_SEARCH_GROUP */
    cb_patch_search_worker *workers; /* [threads] */

    /* The search under way. */
    const cb_patch_memory *memory;
} cb_patch_search;

/* On failure what was allocated stays for cb_patch_search_destroy, which takes a zeroed one too. */
cribo_status cb_patch_search_create(
    const cb_runtime *runtime, cb_patch_search *search, size_t width, size_t k);
void cb_patch_search_destroy(const cb_runtime *runtime, cb_patch_search *search);

/*
 * The neighbours [queries, k], in order (index -1: none), of at most CB_PATCH_SEARCH_GROUP features of any
 * length; they stand until the next search.
 */
const cb_neighbour *cb_patch_search_run(
    cb_patch_search *search, const cb_patch_memory *memory, size_t queries, const cb_real *features);

#endif
