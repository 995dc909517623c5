/* The KoLeo regulariser. See spread.h. */
#include "distillation/spread.h"

#include "tensor/rows.h"

#include <math.h>
#include <string.h>

cb_spread_workspace cb_spread_workspace_take(cb_arena *arena, size_t rows, size_t width)
{
    cb_spread_workspace work;
    work.unit = cb_arena_take(arena, rows * width, sizeof *work.unit);
    work.gradient = cb_arena_take(arena, rows * width, sizeof *work.gradient);
    work.inverse = cb_arena_take(arena, rows, sizeof *work.inverse);
    work.nearest = cb_arena_take(arena, rows, sizeof *work.nearest);
    return work;
}

typedef struct search {
    const cb_spread_job *job;
    const cb_spread_workspace *work;
    size_t parts;
} search;

/* j(i) of some rows. */
static void find_nearest(void *context, size_t part, size_t worker)
{
    const search *s = context;
    size_t rows = s->job->rows, width = s->job->width;
    cb_range range = cb_part(rows, part, s->parts, 1);
    (void)worker;
    for (size_t i = range.begin; i < range.end; i++) {
        cb_real best = -(cb_real)INFINITY;
        for (size_t j = 0; j < rows; j++) {
            if (j == i) continue;
            cb_real cosine = cb_rows()->dot(s->work->unit + i * width, s->work->unit + j * width, width);
            if (cosine > best) {
                best = cosine;
                s->work->nearest[i] = j;
            }
        }
    }
}

static void search_all(cb_pool *pool, const cb_spread_job *job, const cb_spread_workspace *work)
{
    search s = {job, work, cb_pool_parts(pool, job->rows)};
    for (size_t r = 0; r < job->rows; r++)
        work->inverse[r] = cb_normalise_row(work->unit + r * job->width, job->x + r * job->width, job->width);
    cb_pool_run(pool, s.parts, find_nearest, &s);
}

/* δ_i; from the difference, since 2 - 2 cos loses the digits of close vectors. */
static double distance(const cb_real *a, const cb_real *b, size_t n)
{
    double squares = 0;
    for (size_t d = 0; d < n; d++) squares += ((double)a[d] - (double)b[d]) * ((double)a[d] - (double)b[d]);
    return sqrt(squares);
}

/* dL/du_i = -1/n (u_i - u_j) / δ_i², and the opposite for u_j. Returns the term of row i. */
static double add_term(const cb_spread_job *job, const cb_spread_workspace *work, size_t i)
{
    size_t n = job->width, j = work->nearest[i];
    const cb_real *u_i = work->unit + i * n, *u_j = work->unit + j * n;
    double delta = distance(u_i, u_j, n), scale = job->weight / (double)job->rows;
    if (delta < CB_SPREAD_EPSILON) return -scale * log(CB_SPREAD_EPSILON);
    cb_real factor = (cb_real)(scale / (delta * delta));
    cb_real *du_i = work->gradient + i * n, *du_j = work->gradient + j * n;
    cb_rows()->add_scaled(du_i, u_i, -factor, n);
    cb_rows()->add_scaled(du_i, u_j, factor, n);
    cb_rows()->add_scaled(du_j, u_i, factor, n);
    cb_rows()->add_scaled(du_j, u_j, -factor, n);
    return -scale * log(delta);
}

/* dx = (du - u <u, du>) / |x| */
static void add_gradient(const cb_spread_job *job, const cb_spread_workspace *work, size_t r)
{
    size_t n = job->width;
    const cb_real *u = work->unit + r * n, *du = work->gradient + r * n;
    cb_real along = cb_rows()->dot(u, du, n), inverse = work->inverse[r];
    cb_rows()->add_scaled(job->dx + r * n, du, inverse, n);
    cb_rows()->add_scaled(job->dx + r * n, u, -along * inverse, n);
}

double cb_spread(cb_pool *pool, const cb_spread_job *job, const cb_spread_workspace *work)
{
    double loss = 0;
    if (job->rows < 2) return 0;
    search_all(pool, job, work);
    memset(work->gradient, 0, job->rows * job->width * sizeof *work->gradient);
    for (size_t i = 0; i < job->rows; i++) loss += add_term(job, work, i);
    for (size_t r = 0; job->dx && r < job->rows; r++) add_gradient(job, work, r);
    return loss;
}
