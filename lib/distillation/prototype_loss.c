/* The self-distillation loss streamed over the prototypes. See prototype_loss.h. */
#include "distillation/prototype_loss.h"

#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define LOGIT_COUNT ((size_t)1 << 24) /* 64 MiB in float: most logits of four images of the published runs */
#define KEPT_CHUNKS 16                /* of as many chunks: one is some share of a last-level cache */
#define LEAST_CHUNK 1024              /* narrower products lose speed to packing */
#define BLOCK 1024 /* columns a row's sweeps take at a time: they stay in the first-level cache */

/*
 * The current chunk of prototypes, and the data of all tasks. Rows 0 ... rows - 1 are the student's, followed
 * by the teacher's.
 */
typedef struct stream {
    const cb_prototype_job *job;
    const cb_prototype_workspace *work;
    size_t first, count; /* the chunk */
    cb_real *logits;     /* [rows + teacher_rows, count] of its logits */
    size_t parts;
    bool scaled; /* the chunk's logits are divided by the temperature already */
} stream;

/*
 * The requested number of logits, but at least one column of all rows, and at most all logits. The number
 * never decreases with the rows, so a plan for the maximum rows covers every job.
 */
static size_t planned_logits(size_t rows, size_t prototypes, size_t wanted)
{
    size_t all, columns;
    if (!cb_multiply(rows, prototypes, &all) || !cb_multiply(rows, LEAST_CHUNK, &columns)) return SIZE_MAX;
    if (wanted == 0) wanted = columns > LOGIT_COUNT ? columns : LOGIT_COUNT;
    return cb_min(wanted > rows ? wanted : rows, all);
}

cb_prototype_workspace cb_prototype_workspace_take(
    cb_arena *arena, size_t rows, size_t teacher_rows, size_t prototypes, size_t logit_count)
{
    size_t all = rows + teacher_rows;
    cb_prototype_workspace work = {.logit_count = planned_logits(all, prototypes, logit_count)};
    work.logits = cb_arena_take(arena, work.logit_count, sizeof *work.logits);
    work.maximum = cb_arena_take(arena, all, sizeof *work.maximum);
    work.sum = cb_arena_take(arena, all, sizeof *work.sum);
    work.cross = cb_arena_take(arena, rows * CB_TERMS, sizeof *work.cross);
    work.self = cb_arena_take(arena, teacher_rows, sizeof *work.self);
    work.arg_max = cb_arena_take(arena, teacher_rows, sizeof *work.arg_max);
    work.serves = cb_arena_take(arena, teacher_rows, sizeof *work.serves);
    return work;
}

static void clear_rows(const cb_prototype_job *job, const cb_prototype_workspace *work)
{
    for (size_t i = 0; i < job->rows + job->teacher_rows; i++) {
        work->maximum[i] = -(cb_real)INFINITY;
        work->sum[i] = 0;
    }
    for (size_t r = 0; r < job->rows * CB_TERMS; r++) work->cross[r] = 0;
    for (size_t t = 0; t < job->teacher_rows; t++) {
        work->self[t] = 0;
        work->arg_max[t] = 0;
        work->serves[t] = 0;
    }
    for (size_t r = 0; r < job->rows; r++)
        if (job->targets[r].row[0] != CB_NO_ROW) work->serves[job->targets[r].row[0]] = 1;
}

static void over_items(cb_pool *pool, stream *s, size_t items, cb_task *part)
{
    s->parts = cb_pool_parts(pool, items);
    cb_pool_run(pool, s->parts, part, s);
}

static cb_real *logits_of(const stream *s, size_t i)
{
    return s->logits + i * s->count;
}

static bool is_sign(const stream *s, size_t t)
{
    return s->job->signs && s->work->serves[t];
}

static void project_rows(cb_pool *pool, const stream *s, const cb_prototypes *prototypes, const cb_real *x,
    size_t rows, cb_real *logits)
{
    size_t width = prototypes->width;
    const cb_real *direction = prototypes->direction + s->first * width;
    cb_gemm(pool, &(cb_gemm_job){CB_NT, rows, s->count, width, cb_gemm_real(x, width),
                      cb_gemm_real(direction, width), {logits, s->count, false}, prototypes->bf16});
}

/* The products of the chunk; the following sweeps divide them by the temperature. */
static void project_chunk(cb_pool *pool, stream *s)
{
    const cb_prototype_job *job = s->job;
    project_rows(pool, s, job->student, job->x, job->rows, logits_of(s, 0));
    project_rows(pool, s, job->teacher, job->teacher_x, job->teacher_rows, logits_of(s, job->rows));
}

/* Divides columns p ... p + n - 1 of row i by the temperature, unless done already, and returns them. */
static cb_real *scaled_logits(const stream *s, size_t i, size_t p, size_t n)
{
    const cb_prototype_job *job = s->job;
    cb_real *x_p = logits_of(s, i) + p;
    if (s->scaled) return x_p;
    if (i < job->rows)
        cb_rows()->scale_logits(
            x_p, job->student->scale + s->first + p, NULL, 1 / job->student_temperature, n);
    else
        cb_rows()->scale_logits(x_p, job->teacher->scale + s->first + p, job->centre + s->first + p,
            1 / job->teacher_temperature, n);
    return x_p;
}

/* First pass over one row: its maximum, its sum, and the place of the maximum. */
static void measure_row(const stream *s, size_t i)
{
    size_t rows = s->job->rows;
    bool sign = i >= rows && is_sign(s, i - rows);
    for (size_t p = 0; p < s->count; p += BLOCK) {
        size_t n = cb_min(BLOCK, s->count - p);
        const cb_real *x_p = scaled_logits(s, i, p, n);
        if (sign) {
            cb_real highest;
            size_t place = cb_rows()->arg_max(x_p, n, &highest);
            if (highest > s->work->maximum[i]) s->work->arg_max[i - rows] = (uint32_t)(s->first + p + place);
        }
        cb_rows()->running_sum_exp(x_p, n, s->work->maximum + i, s->work->sum + i);
    }
}

static void measure_part(void *context, size_t part, size_t worker)
{
    const stream *s = context;
    cb_range rows = cb_part(s->job->rows + s->job->teacher_rows, part, s->parts, 1);
    (void)worker;
    for (size_t i = rows.begin; i < rows.end; i++) measure_row(s, i);
}

static void shift(cb_real *y, const cb_real *x, cb_real by, size_t n)
{
    for (size_t p = 0; p < n; p++) y[p] = x[p] - by;
}

/* As above, but y stays finite where exp y is 0: 0 times infinity is NaN. */
static void shift_bounded(cb_real *y, const cb_real *x, cb_real by, size_t n)
{
    for (size_t p = 0; p < n; p++) y[p] = x[p] - by < -1000 ? -1000 : x[p] - by;
}

/* A teacher row's logits t become exp(t - max t): p without the sum, which is in the weights. */
static void exponentiate_teacher_row(const stream *s, size_t t)
{
    size_t i = s->job->rows + t;
    cb_real maximum = s->work->maximum[i];
    cb_real shifted[BLOCK];
    for (size_t p = 0; p < s->count; p += BLOCK) {
        size_t n = cb_min(BLOCK, s->count - p);
        cb_real *t_p = scaled_logits(s, i, p, n);
        if (!is_sign(s, t)) {
            cb_rows()->exp_shifted(t_p, t_p, maximum, n);
            continue;
        }
        shift_bounded(shifted, t_p, maximum, n);
        cb_rows()->exp_shifted(t_p, shifted, 0, n);
        s->work->self[t] += (double)cb_rows()->dot(t_p, shifted, n);
    }
}

static void teacher_part(void *context, size_t part, size_t worker)
{
    const stream *s = context;
    cb_range rows = cb_part(s->job->teacher_rows, part, s->parts, 1);
    (void)worker;
    for (size_t t = rows.begin; t < rows.end; t++) exponentiate_teacher_row(s, t);
}

/*
 * A student row's logits s become ((w_0 + w_1) softmax(s) - w_0 p_0 - w_1 p_1) / τ_s; its cross terms grow.
 */
static void mix_student_row(const stream *s, size_t r)
{
    const cb_prototype_job *job = s->job;
    const cb_row_targets *targets = job->targets + r;
    const cb_real *teacher[CB_TERMS] = {NULL, NULL};
    cb_real factor[CB_TERMS] = {0, 0}, weight = 0;
    for (size_t j = 0; j < CB_TERMS; j++) {
        if (targets->row[j] == CB_NO_ROW) continue;
        size_t i = job->rows + targets->row[j];
        teacher[j] = logits_of(s, i);
        factor[j] = targets->weight[j] / (s->work->sum[i] * job->student_temperature);
        weight += targets->weight[j];
    }
    if (!teacher[0] && !teacher[1]) {
        memset(logits_of(s, r), 0, s->count * sizeof(cb_real));
        return;
    }
    weight /= s->work->sum[r] * job->student_temperature;
    for (size_t p = 0; p < s->count; p += BLOCK) {
        size_t n = cb_min(BLOCK, s->count - p);
        cb_real *s_p = scaled_logits(s, r, p, n);
        shift(s_p, s_p, s->work->maximum[r], n);
        for (size_t j = 0; j < CB_TERMS; j++)
            if (teacher[j])
                s->work->cross[r * CB_TERMS + j] += (double)cb_rows()->dot(teacher[j] + p, s_p, n);
        cb_rows()->exp_shifted(s_p, s_p, 0, n);
        cb_rows()->scale(s_p, s_p, weight, n);
        for (size_t j = 0; j < CB_TERMS; j++)
            if (teacher[j]) cb_rows()->add_scaled(s_p, teacher[j] + p, -factor[j], n);
    }
}

static void student_part(void *context, size_t part, size_t worker)
{
    const stream *s = context;
    cb_range rows = cb_part(s->job->rows, part, s->parts, 1);
    (void)worker;
    for (size_t r = rows.begin; r < rows.end; r++) mix_student_row(s, r);
}

/* Rows are added in order, so the work is cut by prototypes. */
static void mean_part(void *context, size_t part, size_t worker)
{
    const stream *s = context;
    const cb_prototype_job *job = s->job;
    cb_range range = cb_part(s->count, part, s->parts, CB_ALIGNMENT / sizeof(cb_real));
    (void)worker;
    for (size_t t = 0; t < job->teacher_rows; t++)
        if (s->work->serves[t])
            cb_rows()->add_scaled(job->signs->mean + s->first + range.begin,
                logits_of(s, job->rows + t) + range.begin, 1 / s->work->sum[job->rows + t],
                range.end - range.begin);
}

/* Second pass over one chunk: the loss, and the gradients. */
static void learn_chunk(cb_pool *pool, stream *s)
{
    const cb_prototype_job *job = s->job;
    over_items(pool, s, job->teacher_rows, teacher_part);
    if (job->signs) over_items(pool, s, s->count, mean_part);
    over_items(pool, s, job->rows, student_part);
    cb_prototypes_backproject(
        pool, job->student, s->first, s->count, logits_of(s, 0), job->x, job->rows, job->dx, job->du);
}

/* H(p, s) = log Σ exp(s - max s) - Σ p (s - max s). */
static void sum_losses(cb_prototype_job *job, const cb_prototype_workspace *work)
{
    for (size_t r = 0; r < job->rows; r++)
        for (size_t j = 0; j < CB_TERMS; j++) {
            uint32_t t = job->targets[r].row[j];
            if (t == CB_NO_ROW) continue;
            double cross_entropy =
                log((double)work->sum[r]) - work->cross[r * CB_TERMS + j] / (double)work->sum[job->rows + t];
            job->loss[j] += (double)job->targets[r].weight[j] * cross_entropy;
        }
}

static void gather_signs(const cb_prototype_job *job, const cb_prototype_workspace *work)
{
    for (size_t t = 0; t < job->teacher_rows; t++) {
        if (!work->serves[t]) continue;
        double sum = (double)work->sum[job->rows + t];
        job->signs->entropy += log(sum) - work->self[t] / sum;
        job->signs->used[work->arg_max[t]] = 1;
        job->signs->rows++;
    }
}

/* The chunks of the prototypes, and the number of chunks whose logits are stored. */
typedef struct cutting {
    size_t width, chunks, kept;
} cutting;

/* As wide as the workspace allows, in whole cache lines; in several chunks where those are wide enough. */
static cutting cut(const cb_prototype_workspace *work, size_t rows, size_t prototypes)
{
    const size_t line = CB_ALIGNMENT / sizeof(cb_real);
    size_t room = cb_min(work->logit_count / rows, prototypes); /* columns */
    size_t parts = room / LEAST_CHUNK < KEPT_CHUNKS ? room / LEAST_CHUNK : KEPT_CHUNKS;
    assert(room > 0);
    if (parts == 0) parts = 1;
    size_t width = room / parts;
    if (room == prototypes)
        width = cb_min((room + parts * line - 1) / (parts * line) * line, prototypes);
    else if (width > line)
        width -= width % line;
    size_t chunks = (prototypes + width - 1) / width;
    return (cutting){width, chunks, room == prototypes ? chunks : parts};
}

static void go_to_chunk(stream *s, const cutting *c, size_t chunk)
{
    size_t rows = s->job->rows + s->job->teacher_rows;
    s->first = chunk * c->width;
    s->count = cb_min(c->width, s->job->student->count - s->first);
    s->logits = s->work->logits + chunk % c->kept * c->width * rows;
}

void cb_prototype_loss(cb_pool *pool, cb_prototype_job *job, const cb_prototype_workspace *work)
{
    memset(job->dx, 0, job->rows * job->student->width * sizeof *job->dx);
    memset(job->loss, 0, sizeof job->loss);
    if (job->rows == 0 || job->teacher_rows == 0) return;

    clear_rows(job, work);
    size_t rows = job->rows + job->teacher_rows;
    cutting c = cut(work, rows, job->student->count);
    stream s = {.job = job, .work = work};
    for (size_t chunk = 0; chunk < c.chunks; chunk++) {
        go_to_chunk(&s, &c, chunk);
        project_chunk(pool, &s);
        over_items(pool, &s, rows, measure_part);
    }
    for (size_t chunk = c.chunks; chunk-- > 0;) { /* backwards: the last ones' logits are still there */
        go_to_chunk(&s, &c, chunk);
        s.scaled = chunk + c.kept >= c.chunks;
        if (!s.scaled) project_chunk(pool, &s);
        learn_chunk(pool, &s);
    }
    sum_losses(job, work);
    if (job->signs) gather_signs(job, work);
}
