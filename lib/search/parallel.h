/*
 * The search for neighbours by all threads of a pool, for the memory bank and for dense retrieval.
 *
 * Entries are stored in blocks. A task compares one block with some queries; each worker keeps, for each
 * query, the best k entries of the blocks that it compared, so no array of size queries x entries is stored.
 * At the end the workers' lists are joined. The order of neighbours is total, and the bits of a cosine do not
 * depend on the thread, so the result does not depend on the number of threads.
 */
#ifndef CB_SEARCH_PARALLEL_H
#define CB_SEARCH_PARALLEL_H

#include "base/runtime.h"
#include "search/nearest.h"

#define CB_MAX_SEARCHES 2 /* that run at the same time */

/* One search: queries, and entries in blocks. */
typedef struct cb_search_job {
    const cb_queries *queries;
    size_t blocks;
    cb_entries (*block)(const void *store, size_t index);
    const void *store;
    size_t stripe; /* queries of one task */
} cb_search_job;

typedef struct cb_search_worker {
    cb_search search;
    cb_neighbour *best[CB_MAX_SEARCHES]; /* [max_queries, k] each */
} cb_search_worker;

typedef struct cb_parallel_search {
    cb_pool *pool;
    size_t searches, neighbours; /* neighbours: k */
    bool coarsely;
    cb_search_worker *workers; /* [threads] */
    const cb_search_job *jobs; /* [searches] of the current run */
} cb_parallel_search;

typedef struct cb_search_sizes {
    size_t searches;                 /* at the same time, 1 ... CB_MAX_SEARCHES */
    size_t max_queries, max_entries; /* of a search, of a block */
    size_t width, neighbours;
} cb_search_sizes;

/*
 * Searches coarsely where the CPU is fast at bfloat16 products. On failure the memory allocated so far stays
 * for cb_parallel_search_destroy, which takes a zeroed one too.
 */
cribo_status cb_parallel_search_create(
    const cb_runtime *runtime, cb_parallel_search *search, const cb_search_sizes *sizes);
void cb_parallel_search_destroy(const cb_runtime *runtime, cb_parallel_search *search);

/*
 * Runs jobs [searches] at the same time. The neighbours of job i, [queries, k] in order (index -1: none), are
 * then in workers[0].best[i], until the next run. Allocates nothing.
 */
void cb_parallel_search_run(cb_parallel_search *search, const cb_search_job *jobs);

#endif
