/* The exact search for neighbours. See nearest.h. */
#include "search/nearest.h"

#include "search/object_queue.h"
#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

/*
 * Queries whose candidates are multiplied together: more queries have more candidates in common, and share
 * the fixed cost of a product.
 */
#define GROUP 64

/* The number of blocks that are searched exactly after a block where the coarse product excluded little. */
#define EXACT_BLOCKS 15

cribo_status cb_search_create(
    const cb_allocator *allocator, cb_search *search, size_t max_entries, size_t width, size_t neighbours)
{
    *search = (cb_search){.max_entries = max_entries, .neighbours = neighbours};
    CB_TRY(
        CB_ALLOCATE(allocator, &search->cosines, CB_SEARCH_ROWS * max_entries, "search: a block of cosines"));
    CB_TRY(CB_ALLOCATE(allocator, &search->candidate, max_entries, "search: candidates"));
    CB_TRY(CB_ALLOCATE(allocator, &search->column, max_entries, "search: candidates"));
    CB_TRY(CB_ALLOCATE(allocator, &search->id, max_entries, "search: candidates"));
    CB_TRY(CB_ALLOCATE(allocator, &search->copies, max_entries * width, "search: a block of entries"));
    CB_TRY(CB_ALLOCATE(allocator, &search->row, CB_SEARCH_ROWS, "search: queries"));
    CB_TRY(
        CB_ALLOCATE(allocator, &search->coarse, max_entries * width, "search: a block of rounded entries"));
    CB_TRY(CB_ALLOCATE(allocator, &search->selected, GROUP * width, "search: queries"));
    CB_TRY(CB_ALLOCATE(allocator, &search->exact, GROUP * max_entries, "search: exact cosines"));
    return CRIBO_OK;
}

void cb_search_destroy(const cb_allocator *allocator, cb_search *search)
{
    cb_release(allocator, search->exact);
    cb_release(allocator, search->selected);
    cb_release(allocator, search->coarse);
    cb_release(allocator, search->row);
    cb_release(allocator, search->copies);
    cb_release(allocator, search->id);
    cb_release(allocator, search->column);
    cb_release(allocator, search->candidate);
    cb_release(allocator, search->cosines);
    *search = (cb_search){0};
}

void cb_neighbours_forget(cb_neighbour *best, size_t count)
{
    for (size_t i = 0; i < count; i++) best[i] = (cb_neighbour){-INFINITY, -1};
}

static bool nearer(cb_neighbour a, cb_neighbour b)
{
    return a.cosine > b.cosine || (a.cosine == b.cosine && a.index < b.index);
}

void cb_neighbours_keep(cb_neighbour *best, size_t k, cb_neighbour candidate)
{
    if (!nearer(candidate, best[k - 1])) return;
    size_t place = k - 1;
    for (; place > 0 && nearer(candidate, best[place - 1]); place--) best[place] = best[place - 1];
    best[place] = candidate;
}

/* ---- the error of a coarse cosine ---- */

/*
 * The part of the bound that does not come from the rounding of the vectors. Each product sums D terms of
 * at most |u| |m|, about 1, in total, with an error of at most 2^-23 of that per addition in any order and
 * rounding mode. Numbers below 2^-126 that count as zero, and the rounding of thresholds, are negligible
 * beside it. The bound is a tenth more than two sums, since lengths are not exactly 1.
 */
static cb_real rounding_of_sums(size_t width)
{
    return (cb_real)(2.2 * 0x1p-23 * ((double)width + 8));
}

/* The factor covers lengths that are not exactly 1, |m̃| > |m|, and the rounding of the sum. */
cb_real cb_coarse_doubt(cb_real square)
{
    return (cb_real)(1.03 * sqrt((double)square));
}

cribo_status cb_queries_create(const cb_allocator *allocator, cb_queries *queries, size_t most, size_t width)
{
    *queries = (cb_queries){.width = width};
    CB_TRY(CB_ALLOCATE(allocator, &queries->unit, most * width, "search: queries"));
    CB_TRY(CB_ALLOCATE(allocator, &queries->coarse, most * width, "search: rounded queries"));
    CB_TRY(CB_ALLOCATE(allocator, &queries->doubt, most, "search: rounded queries"));
    return CRIBO_OK;
}

void cb_queries_destroy(const cb_allocator *allocator, cb_queries *queries)
{
    cb_release(allocator, queries->doubt);
    cb_release(allocator, queries->coarse);
    cb_release(allocator, queries->unit);
    *queries = (cb_queries){0};
}

void cb_queries_put(cb_queries *queries, size_t row, const cb_real *vector)
{
    size_t width = queries->width;
    cb_real inverse = cb_inverse_length(vector, width);
    cb_rows()->scale(queries->unit + row * width, vector, inverse, width);
    queries->doubt[row] =
        cb_coarse_doubt(cb_rows()->round_bf16(queries->coarse + row * width, vector, inverse, width)) +
        rounding_of_sums(width);
}

static int64_t id_of(const cb_entries *entries, size_t e)
{
    return entries->id ? entries->id[e] : CB_NO_ID;
}

static cb_real inverse_of(const cb_entries *entries, size_t e)
{
    return entries->inverse ? entries->inverse[e] : 1;
}

/* Rounds the entries; returns a bound on the change of a cosine. */
static cb_real round_entries(cb_search *s, const cb_entries *entries, size_t width)
{
    cb_real most = 0;
    for (size_t e = 0; e < entries->rows; e++) {
        cb_real square = cb_rows()->round_bf16(
            s->coarse + e * width, entries->vector + e * width, inverse_of(entries, e), width);
        most = square > most ? square : most;
    }
    return cb_coarse_doubt(most);
}

/* ---- exact cosines ---- */

/* Lists the candidates. */
static void list_entries(cb_search *s, const cb_entries *entries)
{
    s->columns = 0;
    for (size_t e = 0; e < entries->rows; e++) {
        if (!s->candidate[e]) continue;
        s->column[s->columns] = (uint32_t)e;
        s->id[s->columns++] = id_of(entries, e);
    }
}

/* Gathers the unit vectors of the listed entries; a whole block of unit vectors is used in place. */
static void fetch_entries(cb_search *s, const cb_entries *entries, size_t width)
{
    list_entries(s, entries);
    s->unit = s->copies;
    if (s->columns == entries->rows && !entries->inverse)
        s->unit = entries->vector;
    else
        for (size_t c = 0; c < s->columns; c++)
            cb_rows()->scale(s->copies + c * width, entries->vector + s->column[c] * width,
                inverse_of(entries, s->column[c]), width);
}

static bool holds_id(const int64_t *ids, size_t n, int64_t id)
{
    int holds = 0;
    for (size_t i = 0; i < n; i++) holds |= ids[i] == id;
    return holds;
}

/* Excludes the entries of a query's own image; row i of cosines belongs to query number row[i]. */
static void exclude_own(cb_real *cosines, size_t n, const int64_t *entry_id, const cb_queries *queries,
    const uint32_t *row, size_t rows)
{
    bool own = false;
    if (!queries->id || !entry_id) return;
    for (size_t i = 0; i < rows; i++, cosines += n) {
        int64_t id = queries->id[row[i]];
        if (i == 0 || id != queries->id[row[i - 1]]) own = id != CB_NO_ID && holds_id(entry_id, n, id);
        for (size_t e = 0; own && e < n; e++)
            if (entry_id[e] == id) cosines[e] = -INFINITY;
    }
}

/* Updates a query's best k by its cosines with the listed entries, most of which are lower. */
static void consider(const cb_search *s, const cb_real *cosines, size_t first_index, cb_neighbour *best)
{
    size_t k = s->neighbours;
    for (size_t i = 0; i < s->columns; i++) {
        i += cb_rows()->first_reaching(cosines + i, s->columns - i, best[k - 1].cosine);
        if (i < s->columns)
            cb_neighbours_keep(best, k, (cb_neighbour){cosines[i], (int64_t)(first_index + s->column[i])});
    }
}

/* Cosines [rows, columns] of the listed queries, whose vectors are in x, and the listed entries. */
static void compare(cb_search *s, const cb_queries *queries, const cb_real *x, size_t first_index,
    cb_real *cosines, cb_neighbour *best)
{
    size_t width = queries->width;
    cb_gemm(NULL, &(cb_gemm_job){CB_NT, s->rows, s->columns, width, cb_gemm_real(x, width),
                      cb_gemm_real(s->unit, width), {cosines, s->columns, false}, false});
    exclude_own(cosines, s->columns, s->id, queries, s->row, s->rows);
    for (size_t i = 0; i < s->rows; i++)
        consider(s, cosines + i * s->columns, first_index, best + s->row[i] * s->neighbours);
}

/* Lists all queries of a stripe. */
static void list_all(cb_search *s, size_t from, size_t rows)
{
    s->rows = rows;
    for (size_t i = 0; i < rows; i++) s->row[i] = (uint32_t)(from + i);
}

static void search_exactly(
    cb_search *s, const cb_queries *queries, const cb_entries *entries, cb_neighbour *best)
{
    memset(s->candidate, 1, entries->rows);
    fetch_entries(s, entries, queries->width);
    for (size_t from = 0; from < queries->rows; from += CB_SEARCH_ROWS) {
        list_all(s, from, cb_min(queries->rows - from, CB_SEARCH_ROWS));
        compare(s, queries, queries->unit + from * queries->width, entries->index, s->cosines, best);
    }
}

/* ---- coarse cosines ---- */

/*
 * Lists the queries from ... to - 1 that have candidates, and marks the candidates: the entries whose p is
 * not lower than the known bound by more than the error. The known bound is the lowest of the best k exact
 * cosines so far, and, where k = 1, the highest p of this row less its error.
 */
static void list_candidates(cb_search *s, const cb_queries *queries, size_t from, size_t to,
    const cb_real *cosines, size_t n, cb_real entries_doubt, const cb_neighbour *best)
{
    s->rows = 0;
    memset(s->candidate, 0, n);
    for (size_t r = from; r < to; r++, cosines += n) {
        cb_real doubt = queries->doubt[r] + entries_doubt, known = best[(r + 1) * s->neighbours - 1].cosine;
        cb_real highest = cb_rows()->largest(cosines, n);
        if (highest == -(cb_real)INFINITY || highest + doubt < known) continue;
        if (s->neighbours == 1 && known < highest - doubt) known = highest - doubt;
        cb_rows()->mark_from(s->candidate, cosines, known - doubt, n);
        s->row[s->rows++] = (uint32_t)r;
    }
}

static void gather_queries(cb_search *s, const cb_queries *queries)
{
    size_t width = queries->width;
    for (size_t i = 0; i < s->rows; i++)
        memcpy(s->selected + i * width, queries->unit + s->row[i] * width, width * sizeof *s->selected);
}

/* Returns how many cosines were computed exactly. */
static size_t search_stripe(cb_search *s, const cb_queries *queries, size_t from, size_t rows,
    const cb_entries *entries, cb_real entries_doubt, cb_neighbour *best)
{
    size_t n = entries->rows, width = queries->width, exact = 0;
    cb_gemm(NULL,
        &(cb_gemm_job){CB_NT, rows, n, width, cb_gemm_stored_bf16(queries->coarse + from * width, width),
            cb_gemm_stored_bf16(s->coarse, width), {s->cosines, n, false}, true});
    list_all(s, from, rows);
    exclude_own(s->cosines, n, entries->id, queries, s->row, rows);
    for (size_t group = 0; group < rows; group += GROUP) {
        size_t end = cb_min(group + GROUP, rows);
        list_candidates(s, queries, from + group, from + end, s->cosines + group * n, n, entries_doubt, best);
        if (s->rows == 0) continue;
        fetch_entries(s, entries, width);
        gather_queries(s, queries);
        compare(s, queries, s->selected, entries->index, s->exact, best);
        exact += s->rows * s->columns;
    }
    return exact;
}

static void search_coarsely(
    cb_search *s, const cb_queries *queries, const cb_entries *entries, cb_neighbour *best)
{
    cb_real doubt = round_entries(s, entries, queries->width);
    size_t exact = 0;
    for (size_t from = 0; from < queries->rows; from += CB_SEARCH_ROWS) {
        size_t rows = cb_min(queries->rows - from, CB_SEARCH_ROWS);
        exact += search_stripe(s, queries, from, rows, entries, doubt, best);
    }
    if (exact > queries->rows * entries->rows / 2) s->exact_blocks = EXACT_BLOCKS;
}

void cb_search_entries(cb_search *search, const cb_queries *queries, const cb_entries *entries, bool coarsely,
    cb_neighbour *best)
{
    if (coarsely && search->exact_blocks == 0) {
        search_coarsely(search, queries, entries, best);
        return;
    }
    if (search->exact_blocks > 0) search->exact_blocks--;
    search_exactly(search, queries, entries, best);
}
