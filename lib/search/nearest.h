/*
 * The exact search for the entries nearest to each query, by cosine, in one thread.
 *
 * The result is that of an exhaustive search in float32: the largest elements c of the matrix product of unit
 * vectors (cb_gemm, whose elements do not depend on the other rows of the product); of equal elements those
 * with the lowest index. The coarse search gives the same result in about half the time where the CPU
 * multiplies bfloat16. It first computes p, the product of the vectors rounded to bfloat16, and then
 * multiplies in float32 only the entries that p does not exclude. For a query u and an entry m, rounded to
 * ũ and m̃,
 *
 *     |c - p| <= |<u, m - m̃>| + |<u - ũ, m̃>| + rounding <= |u| |m - m̃| + |u - ũ| |m̃| + rounding
 *
 * by Cauchy and Schwarz. Both distances are measured, about 0.0017 at any width; so an entry whose p is more
 * than about 0.0035 below the lowest of the best k cosines so far cannot be among the nearest. Of real
 * objects a few in ten thousand are not excluded.
 */
#ifndef CB_SEARCH_NEAREST_H
#define CB_SEARCH_NEAREST_H

#include "base/memory.h"
#include "tensor/bf16.h"
#include "tensor/real.h"

typedef struct cb_neighbour {
    cb_real cosine;
    int64_t index;
} cb_neighbour;

/* Empties a list of neighbours: cosine -infinity, index -1. */
void cb_neighbours_forget(cb_neighbour *best, size_t count);

/*
 * Inserts a candidate into the ordered list of the best k so far. The order is "greater cosine, then lower
 * index", so the list does not depend on the order in which entries are compared.
 */
void cb_neighbours_keep(cb_neighbour *best, size_t k, cb_neighbour candidate);

/* Query vectors. A query never finds an entry with its own id, unless that is CB_NO_ID. */
typedef struct cb_queries {
    size_t rows, width;
    cb_real *unit;   /* [rows, D] */
    cb_bf16 *coarse; /* [rows, D] unit, rounded */
    cb_real *doubt;  /* [rows] bound on the change of a cosine by the rounding of the query */
    int64_t *id;     /* [rows] the caller's; NULL: none has one */
} cb_queries;

/*
 * Memory for `most` queries without ids. On failure the memory allocated so far stays for cb_queries_destroy,
 * which takes zeroed queries too.
 */
cribo_status cb_queries_create(const cb_allocator *allocator, cb_queries *queries, size_t most, size_t width);
void cb_queries_destroy(const cb_allocator *allocator, cb_queries *queries);

/* Sets query number `row`, except its id, from a raw vector. */
void cb_queries_put(cb_queries *queries, size_t row, const cb_real *vector);

/* Bound on the change of a vector's cosines by its rounding, from the square of |vector - rounded vector|. */
cb_real cb_coarse_doubt(cb_real square);

/* A block of entries; the first has number `index`. */
typedef struct cb_entries {
    size_t rows;
    const cb_real *vector;  /* [rows, D] raw */
    const cb_real *inverse; /* [rows] their inverse lengths; NULL: 1 */
    const int64_t *id;      /* [rows]; NULL: none has one */
    size_t index;
} cb_entries;

/* The workspace of one worker, for blocks of at most `max_entries`. */
typedef struct cb_search {
    size_t max_entries;
    size_t neighbours; /* k */
    cb_real *cosines;  /* [CB_SEARCH_ROWS, max_entries] */

    /* The candidate entries, and the queries that they are candidates of. */
    uint8_t *candidate;  /* [max_entries] 1: a candidate of some query */
    uint32_t *column;    /* [max_entries] the candidates, in order */
    int64_t *id;         /* [max_entries] their ids */
    cb_real *copies;     /* [max_entries, D] their unit vectors */
    const cb_real *unit; /* the same, or the entries themselves where they are unit vectors */
    size_t columns;
    uint32_t *row; /* [CB_SEARCH_ROWS] the queries that have candidates */
    size_t rows;

    /* The coarse search. */
    cb_bf16 *coarse;     /* [max_entries, D] rounded entries */
    cb_real *selected;   /* [group, D] the queries that have candidates */
    cb_real *exact;      /* [group, max_entries] their cosines */
    size_t exact_blocks; /* to search exactly before the coarse search is tried again */
} cb_search;

/* Queries multiplied at a time: their cosines with a block of entries stay in the cache. */
#define CB_SEARCH_ROWS 512

/* On failure the memory allocated so far stays for cb_search_destroy, which takes a zeroed search too. */
cribo_status cb_search_create(
    const cb_allocator *allocator, cb_search *search, size_t max_entries, size_t width, size_t neighbours);
void cb_search_destroy(const cb_allocator *allocator, cb_search *search);

/*
 * Updates best [rows of queries, k] with a block of entries. `coarsely` changes the time, never the result.
 */
void cb_search_entries(cb_search *search, const cb_queries *queries, const cb_entries *entries, bool coarsely,
    cb_neighbour *best);

#endif
