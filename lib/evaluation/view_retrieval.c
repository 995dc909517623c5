/* See view_retrieval.h. */
#include "evaluation/view_retrieval.h"

#include "search/object_queue.h"
#include "search/parallel.h"

#include <math.h>

#define GROUP 1024 /* queries of one search */
#define BLOCK 1024 /* entries that they are compared with at a time */
#define STRIPE 256 /* queries of one task */

/* A cell of a dense map. */
typedef struct cell {
    size_t row, column;
} cell;

/* The cells of view 1 whose places view 2 shows, and the search for them. */
typedef struct finder {
    const cb_view_retrieval *views;
    size_t patches;        /* rows * columns */
    uint32_t *query;       /* [asked] cell of view 1, over all images */
    uint32_t *counterpart; /* [asked] cell of view 2, over all images */
    cb_real *inverse;      /* [images * patches] inverse lengths of view 2's features */
    size_t asked;
    cb_queries queries;
    cb_parallel_search search;
} finder;

/* The cell of view 2 in which the centre of a cell of view 1 lies; false if view 2 does not show it. */
static bool find_counterpart(const cb_view_retrieval *views, size_t image, cell from, cell *to)
{
    const cribo_crop *one = &views->crops[0][image], *two = &views->crops[1][image];
    size_t source = one->flipped ? views->columns - 1 - from.column : from.column;
    double x = one->x + ((double)source + 0.5) * one->width / (double)views->columns;
    double y = one->y + ((double)from.row + 0.5) * one->height / (double)views->rows;
    double column = floor((x - two->x) * (double)views->columns / two->width);
    double row = floor((y - two->y) * (double)views->rows / two->height);
    if (!(column >= 0 && column < (double)views->columns && row >= 0 && row < (double)views->rows))
        return false;
    *to = (cell){(size_t)row, two->flipped ? views->columns - 1 - (size_t)column : (size_t)column};
    return true;
}

static void list_queries(finder *f)
{
    const cb_view_retrieval *views = f->views;
    for (size_t i = 0; i < views->images * f->patches; i++) {
        size_t image = i / f->patches, patch = i % f->patches;
        cell to;
        if (!find_counterpart(views, image, (cell){patch / views->columns, patch % views->columns}, &to))
            continue;
        f->query[f->asked] = (uint32_t)i;
        f->counterpart[f->asked++] = (uint32_t)(image * f->patches + to.row * views->columns + to.column);
    }
}

static void measure_entries(finder *f)
{
    size_t width = f->views->width;
    for (size_t i = 0; i < f->views->images * f->patches; i++)
        f->inverse[i] = cb_inverse_length(f->views->features[1] + i * width, width);
}

static cb_entries entries_of(const void *store, size_t block)
{
    const finder *f = store;
    size_t first = block * BLOCK;
    return (cb_entries){.rows = cb_min(BLOCK, f->views->images * f->patches - first),
        .vector = f->views->features[1] + first * f->views->width,
        .inverse = f->inverse + first,
        .index = first};
}

static size_t apart(size_t a, size_t b)
{
    return a < b ? b - a : a - b;
}

static bool is_right(const finder *f, size_t found, size_t wanted)
{
    size_t columns = f->views->columns, reach = f->views->reach;
    if (found / f->patches != wanted / f->patches) return false;
    cell a = {found % f->patches / columns, found % columns},
         b = {wanted % f->patches / columns, wanted % columns};
    return apart(a.row, b.row) <= reach && apart(a.column, b.column) <= reach;
}

/* How many of the queries from `first` on, at most GROUP, find their counterpart. */
static size_t search_group(finder *f, size_t first)
{
    size_t found = 0, entries = f->views->images * f->patches;
    f->queries.rows = cb_min(GROUP, f->asked - first);
    for (size_t q = 0; q < f->queries.rows; q++)
        cb_queries_put(&f->queries, q, f->views->features[0] + f->query[first + q] * f->views->width);
    const cb_search_job job = {&f->queries, (entries + BLOCK - 1) / BLOCK, entries_of, f, STRIPE};
    cb_parallel_search_run(&f->search, &job);
    const cb_neighbour *best = f->search.workers[0].best[0];
    for (size_t q = 0; q < f->queries.rows; q++)
        found += best[q].index >= 0 && is_right(f, (size_t)best[q].index, f->counterpart[first + q]);
    return found;
}

static cribo_status create(const cb_runtime *runtime, finder *f)
{
    const cb_allocator *allocator = &runtime->allocator;
    size_t cells = f->views->images * f->patches;
    CB_TRY(CB_ALLOCATE(allocator, &f->query, cells, "view retrieval"));
    CB_TRY(CB_ALLOCATE(allocator, &f->counterpart, cells, "view retrieval"));
    CB_TRY(CB_ALLOCATE(allocator, &f->inverse, cells, "view retrieval"));
    CB_TRY(cb_queries_create(allocator, &f->queries, GROUP, f->views->width));
    return cb_parallel_search_create(runtime, &f->search,
        &(cb_search_sizes){.searches = 1,
            .max_queries = GROUP,
            .max_entries = BLOCK,
            .width = f->views->width,
            .neighbours = 1});
}

static void destroy(const cb_runtime *runtime, finder *f)
{
    cb_parallel_search_destroy(runtime, &f->search);
    cb_queries_destroy(&runtime->allocator, &f->queries);
    cb_release(&runtime->allocator, f->inverse);
    cb_release(&runtime->allocator, f->counterpart);
    cb_release(&runtime->allocator, f->query);
}

cribo_status cb_view_retrieval_run(const cb_runtime *runtime, cb_view_retrieval *retrieval)
{
    finder f = {.views = retrieval, .patches = retrieval->rows * retrieval->columns};
    cribo_status status = create(runtime, &f);
    if (status == CRIBO_OK) {
        list_queries(&f);
        measure_entries(&f);
        retrieval->asked = f.asked;
        retrieval->found = 0;
        for (size_t first = 0; first < f.asked; first += GROUP) retrieval->found += search_group(&f, first);
    }
    destroy(runtime, &f);
    return status;
}
