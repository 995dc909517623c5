/*
 * The k nearest entries of a patch memory by cosine, exactly.
 *
 * Blocks of the memory are multiplied with stripes of queries, and each worker keeps the best k of what it saw for each query: nothing
 * of size queries x entries is ever made. "Greater cosine, then lower index" is a total order and a product's bits do not depend on
 * who computes it, so the best k of all workers together do not depend on the threads.
 */
#ifndef CB_EVALUATION_PATCH_SEARCH_H
#define CB_EVALUATION_PATCH_SEARCH_H

#include "base/runtime.h"
#include "evaluation/patch_memory.h"

#define CB_PATCH_SEARCH_GROUP 1024 /* queries of a search: the memory is read once for so many */

typedef struct cb_neighbour {
    cb_real cosine;
    int64_t index; /* INT64_MAX: none */
} cb_neighbour;

typedef struct cb_patch_search_worker {
    cb_real *cosines;   /* [a stripe, CB_PATCH_BLOCK] */
    cb_neighbour *best; /* [CB_PATCH_SEARCH_GROUP, k] in order, for each query */
} cb_patch_search_worker;

typedef struct cb_patch_search {
    cb_pool *pool;
    size_t width, k;
    cb_real *unit;                   /* [CB_PATCH_SEARCH_GROUP, D] the queries */
    cb_patch_search_worker *workers; /* [threads] */

    /* The search under way. */
    const cb_patch_memory *memory;
    size_t queries;
} cb_patch_search;

/* On failure what was allocated stays for cb_patch_search_destroy, which takes a zeroed one too. */
cribo_status cb_patch_search_create(
    const cb_runtime *runtime, cb_patch_search *search, size_t width, size_t k);
void cb_patch_search_destroy(const cb_runtime *runtime, cb_patch_search *search);

/* The neighbours [queries, k], in order, of at most CB_PATCH_SEARCH_GROUP features of any length; they stand until the next search. */
const cb_neighbour *cb_patch_search_run(
    cb_patch_search *search, const cb_patch_memory *memory, size_t queries, const cb_real *features);

#endif
