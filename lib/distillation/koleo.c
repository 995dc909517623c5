/* The KoLeo regulariser. See koleo.h. */
#include "distillation/koleo.h"

#include "tensor/rows.h"

#include <math.h>
#include <string.h>

cb_koleo_workspace cb_koleo_workspace_take(cb_arena *arena, size_t rows)
{
    cb_koleo_workspace work;
    work.inverse = cb_arena_take(arena, rows, sizeof *work.inverse);
    work.nearest = cb_arena_take(arena, rows, sizeof *work.nearest);
    return work;
}

typedef struct sweep {
    const cb_koleo_job *job;
    const cb_koleo_workspace *work;
    size_t parts;
} sweep;

/* j(i); a vector that is not finite has some neighbour, and its loss is not finite. */
static size_t nearest_of(const cb_koleo_job *job, size_t i)
{
    size_t n = job->width, nearest = i == 0;
    cb_real best = -(cb_real)INFINITY;
    for (size_t j = 0; j < job->rows; j++) {
        if (j == i) continue;
        cb_real cosine = cb_rows()->dot(job->x + i * n, job->x + j * n, n);
        if (cosine > best) {
            best = cosine;
            nearest = j;
        }
    }
    return nearest;
}

static void find_nearest(void *context, size_t part, size_t worker)
{
    const sweep *s = context;
    cb_range range = cb_part(s->job->rows, part, s->parts, 1);
    (void)worker;
    for (size_t i = range.begin; i < range.end; i++) s->work->nearest[i] = nearest_of(s->job, i);
}

/* ‖a - b‖ from the difference: √(2 - 2 cos) has no digits for close vectors. */
static double distance(const cb_real *a, const cb_real *b, size_t n)
{
    double squares = 0;
    for (size_t d = 0; d < n; d++) squares += ((double)a[d] - (double)b[d]) * ((double)a[d] - (double)b[d]);
    return sqrt(squares);
}

/* The term of row i: du_i -= w/n (u_i - u_j) / δ_i², and the opposite for u_j. */
static double add_term(const cb_koleo_job *job, size_t i, size_t j)
{
    size_t n = job->width;
    const cb_real *u_i = job->x + i * n, *u_j = job->x + j * n;
    double delta = distance(u_i, u_j, n), scale = job->weight / (double)job->rows;
    if (delta < CB_KOLEO_EPSILON) return -scale * log(CB_KOLEO_EPSILON);
    cb_real factor = (cb_real)(scale / (delta * delta));
    cb_real *du_i = job->dx + i * n, *du_j = job->dx + j * n;
    cb_rows()->add_scaled(du_i, u_i, -factor, n);
    cb_rows()->add_scaled(du_i, u_j, factor, n);
    cb_rows()->add_scaled(du_j, u_i, factor, n);
    cb_rows()->add_scaled(du_j, u_j, -factor, n);
    return -scale * log(delta);
}

/* dx = (du - u ⟨u, du⟩) / ‖x‖; 0 where cb_normalise_row bounds the length of x from below. */
static void finish_gradient(const cb_koleo_job *job, size_t r, cb_real inverse)
{
    size_t n = job->width;
    const cb_real *u = job->x + r * n;
    cb_real *dx = job->dx + r * n;
    if (inverse >= (cb_real)1e12) inverse = 0;
    cb_rows()->add_scaled(dx, u, -cb_rows()->dot(u, dx, n), n);
    cb_rows()->scale(dx, dx, inverse, n);
}

double cb_koleo(cb_pool *pool, const cb_koleo_job *job, const cb_koleo_workspace *work)
{
    sweep s = {job, work, cb_pool_parts(pool, job->rows)};
    size_t n = job->width;
    double loss = 0;
    memset(job->dx, 0, job->rows * n * sizeof *job->dx);
    if (job->rows < 2) return 0;
    for (size_t r = 0; r < job->rows; r++)
        work->inverse[r] = cb_normalise_row(job->x + r * n, job->x + r * n, n);
    cb_pool_run(pool, s.parts, find_nearest, &s);
    for (size_t i = 0; i < job->rows; i++) loss += add_term(job, i, work->nearest[i]);
    for (size_t r = 0; r < job->rows; r++) finish_gradient(job, r, work->inverse[r]);
    return loss;
}
