/* Gram anchoring. See gram.h. */
#include "distillation/gram.h"

#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <string.h>

/* The scratch of one view. */
typedef struct view_scratch {
    cb_real *u, *a;         /* [N, D] unit vectors of student and anchor */
    cb_real *inverse;       /* [N] 1 / ‖x‖ of the student */
    cb_real *error, *other; /* [N, N] similarities of the student, less the anchor's; the anchor's */
} view_scratch;

static size_t scratch_numbers(size_t patches, size_t width)
{
    size_t line = CB_ALIGNMENT / sizeof(cb_real), all = 2 * patches * (width + patches) + patches;
    return (all + line - 1) / line * line;
}

cb_gram_workspace cb_gram_workspace_take(
    cb_arena *arena, size_t workers, size_t views, size_t patches, size_t width)
{
    cb_gram_workspace work = {.worker_numbers = scratch_numbers(patches, width)};
    work.loss = cb_arena_take(arena, views, sizeof *work.loss);
    work.numbers = cb_arena_take(arena, workers, work.worker_numbers * sizeof *work.numbers);
    return work;
}

static view_scratch scratch_of(const cb_gram_workspace *work, size_t worker, size_t patches, size_t width)
{
    cb_real *at = work->numbers + worker * work->worker_numbers;
    view_scratch s = {.u = at, .a = at + patches * width};
    s.error = s.a + patches * width;
    s.other = s.error + patches * patches;
    s.inverse = s.other + patches * patches;
    return s;
}

/* Similarities [N, N] of unit vectors [N, D]. */
static void multiply(const cb_real *u, size_t patches, size_t width, cb_real *to)
{
    const cb_gemm_job job = {.form = CB_NT,
        .m = patches,
        .n = patches,
        .k = width,
        .a = cb_gemm_real(u, width),
        .b = cb_gemm_real(u, width),
        .c = {to, patches, false}};
    cb_gemm(NULL, &job);
}

/* Computes the errors of a view's similarities; returns their sum of squares. */
static double compare(const view_scratch *s, size_t patches, size_t width)
{
    double squares = 0;
    multiply(s->u, patches, width, s->error);
    multiply(s->a, patches, width, s->other);
    for (size_t i = 0; i < patches; i++) {
        cb_real *row = s->error + i * patches;
        cb_rows()->add_scaled(row, s->other + i * patches, -1, patches);
        squares += cb_rows()->sum_squares(row, patches);
    }
    return squares;
}

/*
 * dx = factor (E u − u ⟨u, E u⟩) / ‖x‖; no gradient where cb_normalise_row bounds the length of x from
 * below.
 */
static void backpropagate(const view_scratch *s, size_t patches, size_t width, cb_real factor, cb_real *dx)
{
    const cb_gemm_job job = {.form = CB_NN,
        .m = patches,
        .n = width,
        .k = patches,
        .a = cb_gemm_real(s->error, patches),
        .b = cb_gemm_real(s->u, width),
        .c = {dx, width, false}};
    cb_gemm(NULL, &job);
    for (size_t i = 0; i < patches; i++) {
        const cb_real *u = s->u + i * width;
        cb_real *row = dx + i * width, inverse = s->inverse[i] < (cb_real)1e12 ? s->inverse[i] : 0;
        cb_rows()->add_scaled(row, u, -cb_rows()->dot(u, row, width), width);
        cb_rows()->scale(row, row, factor * inverse, width);
    }
}

typedef struct views_job {
    const cb_gram_job *job;
    const cb_gram_workspace *work;
} views_job;

static void compute_view(void *context, size_t view, size_t worker)
{
    const views_job *v = context;
    const cb_gram_job *job = v->job;
    size_t n = job->patches, d = job->width, first = view * job->tokens * d, dense = first + job->dense * d;
    view_scratch s = scratch_of(v->work, worker, n, d);
    for (size_t i = 0; i < n; i++) {
        s.inverse[i] = cb_normalise_row(s.u + i * d, job->x + dense + i * d, d);
        cb_normalise_row(s.a + i * d, job->anchor + dense + i * d, d);
    }
    double scale = job->weight / ((double)n * (double)n);
    v->work->loss[view] = scale * compare(&s, n, d);
    memset(job->dx + first, 0, job->tokens * d * sizeof *job->dx);
    backpropagate(&s, n, d, (cb_real)(4 * scale), job->dx + dense);
}

double cb_gram(cb_pool *pool, const cb_gram_job *job, const cb_gram_workspace *work)
{
    views_job v = {job, work};
    double loss = 0;
    cb_pool_run(pool, job->views, compute_view, &v);
    for (size_t view = 0; view < job->views; view++) loss += work->loss[view];
    return loss;
}
