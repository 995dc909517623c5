/* Sinkhorn-Knopp centring. See balance.h. */
#include "distillation/balance.h"

#include "tensor/rows.h"

#include <math.h>

#define LOGIT_COUNT ((size_t)1 << 22) /* logits held at once: 16 MiB in float */
#define LEAST_CHUNK 1024              /* narrower products lose speed to packing */
#define BLOCK 512 /* columns that a sweep takes at a time: they stay in the first-level cache */

/* The chunk of prototypes at hand, and what its tasks share. */
typedef struct sweep {
    const cb_balance_job *job;
    const cb_balance_workspace *work;
    size_t first, count, parts;
} sweep;

static size_t chunk_of(size_t rows, size_t prototypes)
{
    size_t wide = LOGIT_COUNT / (rows ? rows : 1);
    return cb_min(wide > LEAST_CHUNK ? wide : LEAST_CHUNK, prototypes);
}

cb_balance_workspace cb_balance_workspace_take(cb_arena *arena, size_t rows, size_t prototypes)
{
    cb_balance_workspace work = {.chunk = chunk_of(rows, prototypes)};
    work.logits = cb_arena_take(arena, rows * work.chunk, sizeof *work.logits);
    work.row = cb_arena_take(arena, rows, sizeof *work.row);
    work.maximum = cb_arena_take(arena, rows, sizeof *work.maximum);
    work.sum = cb_arena_take(arena, rows, sizeof *work.sum);
    return work;
}

/* y = x + shift - minus; minus NULL: nothing. */
static void shift(cb_real *y, const cb_real *x, cb_real by, const cb_real *minus, size_t n)
{
    if (minus)
        for (size_t p = 0; p < n; p++) y[p] = x[p] + by - minus[p];
    else
        for (size_t p = 0; p < n; p++) y[p] = x[p] + by;
}

/* c_p = -τ log v_p = τ log Σ_r u_r e_rp of n columns of the chunk; rows are added in order. */
static void balance_block(const sweep *s, size_t at, size_t n)
{
    const cb_balance_job *job = s->job;
    cb_real row[BLOCK], highest[BLOCK], sum[BLOCK] = {0};
    for (size_t p = 0; p < n; p++) highest[p] = -(cb_real)INFINITY;
    for (size_t r = 0; r < job->rows; r++) {
        shift(row, s->work->logits + r * s->count + at, s->work->row[r], NULL, n);
        cb_rows()->raise(highest, row, n);
    }
    for (size_t r = 0; r < job->rows; r++) {
        shift(row, s->work->logits + r * s->count + at, s->work->row[r], highest, n);
        cb_rows()->exp_shifted(row, row, 0, n);
        cb_rows()->add_scaled(sum, row, 1, n);
    }
    for (size_t p = 0; p < n; p++)
        job->centre[s->first + at + p] = job->temperature * (highest[p] + (cb_real)log((double)sum[p]));
}

static void balance_columns(void *context, size_t part, size_t worker)
{
    const sweep *s = context;
    cb_range range = cb_part(s->count, part, s->parts, CB_ALIGNMENT / sizeof(cb_real));
    (void)worker;
    for (size_t at = range.begin; at < range.end; at += BLOCK)
        balance_block(s, at, cb_min(BLOCK, range.end - at));
}

/* Adds the chunk to Σ_p v_p e_rp of some rows. */
static void measure_rows(void *context, size_t part, size_t worker)
{
    const sweep *s = context;
    const cb_balance_job *job = s->job;
    cb_range rows = cb_part(job->rows, part, s->parts, 1);
    cb_real shifted[BLOCK], inverse = 1 / job->temperature;
    (void)worker;
    for (size_t r = rows.begin; r < rows.end; r++)
        for (size_t p = 0; p < s->count; p += BLOCK) {
            size_t n = cb_min(BLOCK, s->count - p);
            const cb_real *x_p = s->work->logits + r * s->count + p, *c_p = job->centre + s->first + p;
            for (size_t i = 0; i < n; i++) shifted[i] = x_p[i] - c_p[i] * inverse;
            cb_rows()->running_sum_exp(shifted, n, s->work->maximum + r, s->work->sum + r);
        }
}

static void over(cb_pool *pool, sweep *s, size_t items, cb_task *task)
{
    s->parts = cb_pool_parts(pool, items);
    cb_pool_run(pool, s->parts, task, s);
}

/* The chunk's logits over temperature. */
static void project_chunk(cb_pool *pool, const sweep *s)
{
    const cb_balance_job *job = s->job;
    cb_prototypes_project(pool, job->teacher, s->first, s->count, job->x, job->rows, s->work->logits);
    for (size_t r = 0; r < job->rows; r++) {
        cb_real *row = s->work->logits + r * s->count;
        cb_rows()->scale(row, row, 1 / job->temperature, s->count);
    }
}

/* One iteration: the columns' factors by the rows', and, unless it is the last, the rows' by the columns'. */
static void balance_once(cb_pool *pool, sweep *s, bool first, bool last)
{
    const cb_balance_job *job = s->job;
    const cb_balance_workspace *work = s->work;
    for (size_t r = 0; r < job->rows; r++) {
        work->maximum[r] = -(cb_real)INFINITY;
        work->sum[r] = 0;
    }
    for (s->first = 0; s->first < job->teacher->count; s->first += s->count) {
        s->count = cb_min(work->chunk, job->teacher->count - s->first);
        if (first || work->chunk < job->teacher->count) project_chunk(pool, s); /* a single chunk stays */
        over(pool, s, s->count, balance_columns);
        if (!last) over(pool, s, job->rows, measure_rows);
    }
    for (size_t r = 0; r < job->rows && !last; r++)
        work->row[r] = -(work->maximum[r] + (cb_real)log(work->sum[r]));
}

void cb_balance(cb_pool *pool, const cb_balance_job *job, const cb_balance_workspace *work)
{
    sweep s = {.job = job, .work = work};
    for (size_t r = 0; r < job->rows; r++) work->row[r] = 0;
    for (size_t i = 0; i < job->iterations; i++) balance_once(pool, &s, i == 0, i + 1 == job->iterations);
}
