/* The k nearest entries of a patch memory by cosine, exactly (search/parallel.h). */
#ifndef CB_EVALUATION_PATCH_SEARCH_H
#define CB_EVALUATION_PATCH_SEARCH_H

#include "evaluation/patch_memory.h"
#include "search/parallel.h"

#define CB_PATCH_SEARCH_GROUP 1024 /* queries of one search, for which the memory is read once */

typedef struct cb_patch_search {
    cb_parallel_search search;
    cb_queries queries; /* at most CB_PATCH_SEARCH_GROUP */
} cb_patch_search;

/* On failure the memory allocated so far stays for cb_patch_search_destroy, which takes a zeroed one too. */
cribo_status cb_patch_search_create(
    const cb_runtime *runtime, cb_patch_search *search, size_t width, size_t k);
void cb_patch_search_destroy(const cb_runtime *runtime, cb_patch_search *search);

/*
 * The neighbours [queries, k], in order (index -1: none), of at most CB_PATCH_SEARCH_GROUP features of any
 * length; valid until the next search.
 */
const cb_neighbour *cb_patch_search_run(
    cb_patch_search *search, const cb_patch_memory *memory, size_t queries, const cb_real *features);

#endif
