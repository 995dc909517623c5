/*
 * The search of the memory bank, and of dense retrieval: the entries nearest to each query, by cosine.
 *
 * What it finds is what an exhaustive search in float32 finds: the largest elements c of the matrix product
 * of unit vectors (cb_gemm, an element of which does not depend on what else is multiplied with it), of equal
 * ones those of the lowest index. Searching coarsely finds the same in about half the time where the CPU
 * multiplies bfloat16: p, the product of the vectors rounded to it, goes ahead, and only what may win is
 * multiplied in float32. For a query u and an entry m, rounded to ũ and m̃,
 *
 *     |c - p| <= |<u, m - m̃>| + |<u - ũ, m̃>| + rounding <= |u| |m - m̃| + |u - ũ| |m̃| + rounding
 *
 * by Cauchy and Schwarz. Both distances are measured, about 0.0017 at any width; so an entry with p more than
 * some 0.0035 below the least cosine that counts so far cannot count. Of real objects a few in ten thousand
 * are not ruled out so.
 */
#ifndef CB_DISTILLATION_NEAREST_H
#define CB_DISTILLATION_NEAREST_H

#include "base/memory.h"
#include "tensor/bf16.h"
#include "tensor/real.h"

typedef struct cb_neighbour {
    cb_real cosine;
    int64_t index;
} cb_neighbour;

/* Nobody yet: less similar than any entry, with index -1. */
void cb_neighbours_forget(cb_neighbour *best, size_t count);

/*
 * Puts a candidate into its place among the best k that were seen so far, which stand in order: "greater
 * cosine, then lower index", which is the same in whatever order entries are seen.
 */
void cb_neighbours_keep(cb_neighbour *best, size_t k, cb_neighbour candidate);

/* Vectors that look for neighbours. A query never finds an entry with its own id, but for CB_NO_ID. */
typedef struct cb_queries {
    size_t rows, width;
    cb_real *unit;   /* [rows, D] */
    cb_bf16 *coarse; /* [rows, D] unit, rounded */
    cb_real *doubt;  /* [rows] by how much rounding a query may move a cosine */
    int64_t *id;     /* [rows] the caller's; NULL: none has one */
} cb_queries;

/*
 * Memory for `most` queries without ids. On failure what was allocated stays for cb_queries_destroy, which
 * takes zeroed ones too.
 */
cribo_status cb_queries_create(const cb_allocator *allocator, cb_queries *queries, size_t most, size_t width);
void cb_queries_destroy(const cb_allocator *allocator, cb_queries *queries);

/* Fills in query number `row` but for its id, from a raw vector. */
void cb_queries_put(cb_queries *queries, size_t row, const cb_real *vector);

/*
 * By how much rounding a vector may move its cosines, from the square of the distance by which it moved the
 * vector.
 */
cb_real cb_coarse_doubt(cb_real square);

/* Neighbours in memory that are searched at a time; the first has this index. */
typedef struct cb_entries {
    size_t rows;
    const cb_real *vector;  /* [rows, D] raw */
    const cb_real *inverse; /* [rows] their inverse lengths; NULL: 1 */
    const int64_t *id;      /* [rows]; NULL: none has one */
    size_t index;
} cb_entries;

/* What one worker needs, for at most `max_entries` at a time. */
typedef struct cb_search {
    size_t max_entries;
    size_t neighbours; /* k */
    cb_real *cosines;  /* [CB_SEARCH_ROWS, max_entries] */

    /* The entries in question, and the queries that ask. */
    uint8_t *asked;      /* [max_entries] 1: by some query */
    uint32_t *column;    /* [max_entries] which they are, in order */
    int64_t *id;         /* [max_entries] theirs */
    cb_real *copies;     /* [max_entries, D] they, normalised */
    const cb_real *unit; /* the same, or entries that stand so already */
    size_t columns;
    uint32_t *row; /* [CB_SEARCH_ROWS] which queries ask */
    size_t rows;

    /* The coarse search. */
    cb_bf16 *coarse; /* [max_entries, D] entries, rounded */
    cb_real *asking; /* [group, D] the queries that ask */
    cb_real *exact;  /* [group, max_entries] their cosines */
    size_t impatience;
} cb_search;

#define CB_SEARCH_ROWS \
    512 /* queries multiplied at a time: their cosines with a block of entries stay in the cache */

/* On failure what was allocated stays for cb_search_destroy, which takes a zeroed search too. */
cribo_status cb_search_create(
    const cb_allocator *allocator, cb_search *search, size_t max_entries, size_t width, size_t neighbours);
void cb_search_destroy(const cb_allocator *allocator, cb_search *search);

/*
 * Brings best [rows of queries, k] up to date with all entries; `coarsely` changes the time it takes, never
 * the result.
 */
void cb_search_entries(cb_search *search, const cb_queries *queries, const cb_entries *entries, bool coarsely,
    cb_neighbour *best);

#endif
