/* See k_means.h. */
#include "evaluation/k_means.h"

#include "base/random.h"
#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

#define BLOCK 1024  /* rows that are compared with the centres at a time */
#define COLUMNS 16  /* of the centres that a task adds up */
#define STRETCH 256 /* rows of a task of the start */

typedef struct solver {
    const cb_runtime *runtime;
    const cb_k_means *problem;
    cb_real *products; /* [BLOCK, K] */
    cb_real *half;     /* [K] half the squared length of a centre */
    cb_real *squares;  /* [rows] squared length of a row */
    cb_real *distance; /* [rows] squared distance to the nearest centre */
    double *sums;      /* [K, D] */
    size_t *sizes;     /* [K] rows of a centre */
    size_t begin;      /* of the block under way */
    size_t newest;     /* centre of the start */
} solver;

static cribo_status allocate_solver(solver *s)
{
    const cb_k_means *p = s->problem;
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->products, BLOCK * p->clusters, "k-means"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->half, p->clusters, "k-means"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->squares, p->rows, "k-means"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->distance, p->rows, "k-means"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->sums, p->clusters * p->width, "k-means"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->sizes, p->clusters, "k-means"));
    for (size_t i = 0; i < p->rows; i++)
        s->squares[i] = cb_rows()->dot(p->x + i * p->width, p->x + i * p->width, p->width);
    return CRIBO_OK;
}

static void release_solver(solver *s)
{
    void *blocks[] = {s->sizes, s->sums, s->distance, s->squares, s->half, s->products};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        cb_release(&s->runtime->allocator, blocks[i]);
}

/* --- the nearest centres --- */

/* Task: a row's nearest centre is that with the greatest <x, c> - |c|^2 / 2; equal ones: the first. */
static void find_nearest(void *context, size_t row, size_t worker)
{
    solver *s = context;
    const cb_k_means *p = s->problem;
    cb_real *products = s->products + row * p->clusters, most;
    size_t i = s->begin + row;
    (void)worker;
    cb_rows()->add_scaled(products, s->half, -1, p->clusters);
    p->labels[i] = (int32_t)cb_rows()->arg_max(products, p->clusters, &most);
    s->distance[i] = s->squares[i] - 2 * most;
    if (s->distance[i] < 0) s->distance[i] = 0;
}

/* Labels and distances of all rows. */
static void assign(solver *s)
{
    const cb_k_means *p = s->problem;
    cb_pool *pool = s->runtime->pool;
    for (size_t k = 0; k < p->clusters; k++) {
        const cb_real *centre = p->centres + k * p->width;
        s->half[k] = cb_rows()->dot(centre, centre, p->width) / 2;
    }
    *p->inertia = 0;
    for (s->begin = 0; s->begin < p->rows; s->begin += BLOCK) {
        size_t rows = cb_min(p->rows - s->begin, BLOCK);
        const cb_real *x = p->x + s->begin * p->width;
        cb_gemm(pool, &(cb_gemm_job){CB_NT, rows, p->clusters, p->width, cb_gemm_real(x, p->width),
                          cb_gemm_real(p->centres, p->width), {s->products, p->clusters, false}, false});
        cb_pool_run(pool, rows, find_nearest, s);
    }
    for (size_t i = 0; i < p->rows; i++) *p->inertia += (double)s->distance[i];
}

/* --- the start --- */

/* Task: some rows' distances to the nearest of the centres so far. */
static void meet_newest(void *context, size_t task, size_t worker)
{
    solver *s = context;
    const cb_k_means *p = s->problem;
    const cb_real *centre = p->centres + s->newest * p->width;
    size_t end = cb_min(p->rows, (task + 1) * STRETCH);
    (void)worker;
    for (size_t i = task * STRETCH; i < end; i++) {
        cb_real d =
            s->squares[i] + 2 * s->half[0] - 2 * cb_rows()->dot(p->x + i * p->width, centre, p->width);
        if (d < 0) d = 0;
        if (s->newest == 0 || d < s->distance[i]) s->distance[i] = d;
    }
}

/* A row drawn with a probability proportional to its distance; if all are 0, uniformly. */
static size_t draw_row(const solver *s, cb_random *random)
{
    size_t rows = s->problem->rows;
    double total = 0, draw = cb_random_uniform(random), sum = 0;
    for (size_t i = 0; i < rows; i++) total += (double)s->distance[i];
    if (!(total > 0)) return (size_t)(draw * (double)rows);
    for (size_t i = 0; i < rows; i++) {
        sum += (double)s->distance[i];
        if (sum > draw * total) return i;
    }
    return rows - 1;
}

static cribo_status start(solver *s)
{
    const cb_k_means *p = s->problem;
    cb_random random = cb_random_begin(p->seed, CB_PURPOSE_K_MEANS, 0, 0);
    size_t row = (size_t)(cb_random_uniform(&random) * (double)p->rows);
    for (s->newest = 0; s->newest < p->clusters; s->newest++) {
        CB_TRY(cb_progress(s->runtime, "k-means", 0));
        if (s->newest) row = draw_row(s, &random);
        memcpy(p->centres + s->newest * p->width, p->x + row * p->width, p->width * sizeof *p->x);
        s->half[0] = s->squares[row] / 2;
        cb_pool_run(s->runtime->pool, (p->rows + STRETCH - 1) / STRETCH, meet_newest, s);
    }
    return CRIBO_OK;
}

/* --- the centres --- */

/* Task: some columns of the centres are the means of their rows, added up in the rows' order. */
static void average(void *context, size_t task, size_t worker)
{
    solver *s = context;
    const cb_k_means *p = s->problem;
    size_t begin = task * COLUMNS, end = cb_min(p->width, begin + COLUMNS);
    (void)worker;
    for (size_t k = 0; k < p->clusters; k++)
        memset(s->sums + k * p->width + begin, 0, (end - begin) * sizeof *s->sums);
    for (size_t i = 0; i < p->rows; i++) {
        double *sum = s->sums + (size_t)p->labels[i] * p->width;
        for (size_t d = begin; d < end; d++) sum[d] += (double)p->x[i * p->width + d];
    }
    for (size_t k = 0; k < p->clusters; k++)
        for (size_t d = begin; s->sizes[k] && d < end; d++)
            p->centres[k * p->width + d] = (cb_real)(s->sums[k * p->width + d] / (double)s->sizes[k]);
}

/* A centre without rows moves to the farthest row of all, whose distance is then 0. */
static void fill_empty(solver *s)
{
    const cb_k_means *p = s->problem;
    for (size_t k = 0; k < p->clusters; k++) {
        if (s->sizes[k]) continue;
        size_t farthest = 0;
        for (size_t i = 1; i < p->rows; i++)
            if (s->distance[i] > s->distance[farthest]) farthest = i;
        memcpy(p->centres + k * p->width, p->x + farthest * p->width, p->width * sizeof *p->x);
        s->distance[farthest] = 0;
    }
}

static void move_centres(solver *s)
{
    const cb_k_means *p = s->problem;
    memset(s->sizes, 0, p->clusters * sizeof *s->sizes);
    for (size_t i = 0; i < p->rows; i++) s->sizes[p->labels[i]]++;
    cb_pool_run(s->runtime->pool, (p->width + COLUMNS - 1) / COLUMNS, average, s);
    fill_empty(s);
}

static cribo_status iterate(solver *s)
{
    const cb_k_means *p = s->problem;
    CB_TRY(start(s));
    assign(s);
    for (int64_t i = 0; i < p->iterations; i++) {
        double before = *p->inertia;
        CB_TRY(cb_progress(s->runtime, "k-means", (double)i / (double)p->iterations));
        move_centres(s);
        assign(s);
        if (!(*p->inertia < before)) break;
    }
    return CRIBO_OK;
}

cribo_status cb_k_means_fit(const cb_runtime *runtime, const cb_k_means *problem)
{
    solver s = {.runtime = runtime, .problem = problem};
    cribo_status status = allocate_solver(&s);
    if (status == CRIBO_OK) status = iterate(&s);
    release_solver(&s);
    return status;
}

cribo_status cb_k_means_assign(const cb_runtime *runtime, const cb_k_means *problem)
{
    solver s = {.runtime = runtime, .problem = problem};
    cribo_status status = allocate_solver(&s);
    if (status == CRIBO_OK) assign(&s);
    release_solver(&s);
    return status;
}
