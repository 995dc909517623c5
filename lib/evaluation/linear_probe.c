/* The linear probe. See linear_probe.h. */
#include "evaluation/linear_probe.h"
#include "evaluation/vectors.h"

#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

#define PAIRS 10              /* of steps and gradient changes that L-BFGS stores */
#define SUFFICIENT 1e-4       /* the share of the expected decrease that a step must reach */
#define MOST_HALVINGS 30      /* of a step */
#define LEAST_CURVATURE 1e-10 /* of a pair, relative to the gradient's change: below, it is rounding */

/* A point: W and b one after the other, n numbers, with the loss there and its gradient. */
typedef struct point {
    double *at, *gradient;
    double loss;
} point;

typedef struct pair {
    double *step, *change; /* s, y */
    double curvature;      /* <s, y> */
} pair;

typedef struct fit {
    const cb_runtime *runtime;
    const cb_patch_memory *memory;
    double penalty;
    size_t classes, width, n;

    cb_real *weights, *bias;  /* the point under evaluation, scaled by sqrt(D) */
    cb_real *logits, *slopes; /* [CB_PATCH_BLOCK, C], [C, D] of one block */
    double *losses;           /* [CB_PATCH_BLOCK] */
    point here, next;
    double *direction;
    pair pairs[PAIRS]; /* a ring; the newest is number `made` - 1 */
    size_t made;
    int64_t iterations; /* done */
} fit;

static cribo_status allocate_fit(fit *f)
{
    CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->weights, f->classes * f->width, "linear probe"));
    CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->bias, f->classes, "linear probe"));
    CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->logits, CB_PATCH_BLOCK * f->classes, "linear probe"));
    CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->slopes, f->classes * f->width, "linear probe"));
    CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->losses, CB_PATCH_BLOCK, "linear probe"));
    CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->here.at, f->n, "linear probe"));
    CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->here.gradient, f->n, "linear probe"));
    CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->next.at, f->n, "linear probe"));
    CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->next.gradient, f->n, "linear probe"));
    CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->direction, f->n, "linear probe"));
    for (size_t i = 0; i < PAIRS; i++) {
        CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->pairs[i].step, f->n, "linear probe"));
        CB_TRY(CB_ALLOCATE(&f->runtime->allocator, &f->pairs[i].change, f->n, "linear probe"));
    }
    return CRIBO_OK;
}

static void release_fit(fit *f)
{
    const cb_allocator *allocator = &f->runtime->allocator;
    for (size_t i = 0; i < PAIRS; i++) {
        cb_release(allocator, f->pairs[i].change);
        cb_release(allocator, f->pairs[i].step);
    }
    cb_release(allocator, f->direction);
    cb_release(allocator, f->next.gradient);
    cb_release(allocator, f->next.at);
    cb_release(allocator, f->here.gradient);
    cb_release(allocator, f->here.at);
    cb_release(allocator, f->losses);
    cb_release(allocator, f->slopes);
    cb_release(allocator, f->logits);
    cb_release(allocator, f->bias);
    cb_release(allocator, f->weights);
}

static double largest_magnitude(const double *x, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
    return most;
}

/* --- the loss --- */

typedef struct entropy_job {
    const fit *fit;
    const cb_patch_block *block;
} entropy_job;

/*
 * Task: an entry's logits become its gradient p - h; its cross-entropy, for shares that sum to 1, is log sum
 * exp - <h, logits>.
 */
static void cross_entropy(void *context, size_t row, size_t worker)
{
    const entropy_job *job = context;
    const fit *f = job->fit;
    cb_real *x = f->logits + row * f->classes, maximum = -INFINITY, sum = 0;
    const uint16_t *pixels = job->block->pixels + row * f->classes;
    double total = job->block->total[row], expected = 0;
    (void)worker;
    for (size_t c = 0; c < f->classes; c++) x[c] += f->bias[c];
    for (size_t c = 0; c < f->classes; c++) expected += pixels[c] / total * (double)x[c];
    cb_rows()->running_sum_exp(x, f->classes, &maximum, &sum);
    f->losses[row] = (double)maximum + log((double)sum) - expected;
    cb_rows()->softmax(x, 1, f->classes);
    for (size_t c = 0; c < f->classes; c++) x[c] -= (cb_real)(pixels[c] / total);
}

/* Adds a block's losses and gradients. */
static void add_block(fit *f, size_t index, point *p)
{
    const cb_patch_block *block = &f->memory->blocks[index];
    size_t rows = cb_patch_memory_rows(f->memory, index), weights = f->classes * f->width;
    entropy_job job = {f, block};
    cb_pool *pool = f->runtime->pool;
    cb_gemm(pool, &(cb_gemm_job){CB_NT, rows, f->classes, f->width, cb_gemm_real(block->unit, f->width),
                      cb_gemm_real(f->weights, f->width), {f->logits, f->classes, false}, false});
    cb_pool_run(pool, rows, cross_entropy, &job);
    cb_gemm(pool, &(cb_gemm_job){CB_TN, f->classes, f->width, rows, cb_gemm_real(f->logits, f->classes),
                      cb_gemm_real(block->unit, f->width), {f->slopes, f->width, false}, false});
    for (size_t i = 0; i < weights; i++) p->gradient[i] += (double)f->slopes[i];
    for (size_t r = 0; r < rows; r++) {
        p->loss += f->losses[r];
        for (size_t c = 0; c < f->classes; c++)
            p->gradient[weights + c] += (double)f->logits[r * f->classes + c];
    }
}

static void evaluate(fit *f, point *p)
{
    size_t weights = f->classes * f->width, entries = f->memory->count;
    double root = sqrt((double)f->width), squares = cb_vector_dot(p->at, p->at, weights);
    for (size_t i = 0; i < weights; i++) f->weights[i] = (cb_real)(root * p->at[i]);
    for (size_t c = 0; c < f->classes; c++) f->bias[c] = (cb_real)p->at[weights + c];
    memset(p->gradient, 0, f->n * sizeof *p->gradient);
    p->loss = 0;
    for (size_t b = 0; b < cb_patch_memory_blocks(f->memory); b++) add_block(f, b, p);
    p->loss = p->loss / (double)entries + f->penalty / 2 * squares;
    for (size_t i = 0; i < f->n; i++)
        p->gradient[i] = i < weights ? p->gradient[i] * root / (double)entries + f->penalty * p->at[i]
                                     : p->gradient[i] / (double)entries;
}

/* --- L-BFGS --- */

/* direction = -H gradient, by the two loops over the stored pairs. */
static void choose_direction(fit *f)
{
    double share[PAIRS], *d = f->direction;
    size_t oldest = f->made > PAIRS ? f->made - PAIRS : 0;
    for (size_t i = 0; i < f->n; i++) d[i] = -f->here.gradient[i];
    for (size_t i = f->made; i-- > oldest;) {
        const pair *p = &f->pairs[i % PAIRS];
        share[i % PAIRS] = cb_vector_dot(p->step, d, f->n) / p->curvature;
        cb_vector_add(d, p->change, -share[i % PAIRS], f->n);
    }
    if (f->made) {
        const pair *newest = &f->pairs[(f->made - 1) % PAIRS];
        double scale = newest->curvature / cb_vector_dot(newest->change, newest->change, f->n);
        for (size_t i = 0; i < f->n; i++) d[i] *= scale;
    }
    for (size_t i = oldest; i < f->made; i++) {
        const pair *p = &f->pairs[i % PAIRS];
        cb_vector_add(d, p->step, share[i % PAIRS] - cb_vector_dot(p->change, d, f->n) / p->curvature, f->n);
    }
}

/*
 * Searches along the direction, halving the step until the loss decreases enough (Armijo); false if it never
 * does.
 */
static bool search_line(fit *f)
{
    double slope = cb_vector_dot(f->here.gradient, f->direction, f->n);
    double length = f->made ? 1 : 1 / fmax(1, sqrt(-slope));
    for (int halvings = 0; slope < 0 && halvings < MOST_HALVINGS; halvings++, length /= 2) {
        memcpy(f->next.at, f->here.at, f->n * sizeof *f->next.at);
        cb_vector_add(f->next.at, f->direction, length, f->n);
        evaluate(f, &f->next);
        if (f->next.loss <= f->here.loss + SUFFICIENT * length * slope) return true;
    }
    return false;
}

/* Stores the step from here to next, and moves there. */
static void move_on(fit *f)
{
    pair *p = &f->pairs[f->made % PAIRS];
    for (size_t i = 0; i < f->n; i++) {
        p->step[i] = f->next.at[i] - f->here.at[i];
        p->change[i] = f->next.gradient[i] - f->here.gradient[i];
    }
    p->curvature = cb_vector_dot(p->step, p->change, f->n);
    if (p->curvature > LEAST_CURVATURE * cb_vector_dot(p->change, p->change, f->n)) f->made++;
    point reached = f->next;
    f->next = f->here;
    f->here = reached;
}

/* How far the fit came: a warning where it ended short of its aim. */
static void log_end(const fit *f)
{
    double largest = largest_magnitude(f->here.gradient, f->n);
    cb_log(f->runtime, largest > CB_LINEAR_PROBE_FLAT ? CRIBO_LOG_WARNING : CRIBO_LOG_INFO,
        "linear probe: loss %.6g after %lld iterations; largest element of the gradient %.3g, expected <= %g",
        f->here.loss, (long long)f->iterations, largest, CB_LINEAR_PROBE_FLAT);
}

static cribo_status minimise(fit *f, int64_t iterations)
{
    evaluate(f, &f->here);
    for (int64_t *i = &f->iterations;
        *i < iterations && largest_magnitude(f->here.gradient, f->n) > CB_LINEAR_PROBE_FLAT; ++*i) {
        CB_TRY(cb_progress(f->runtime, "linear probe", (double)*i / (double)iterations));
        choose_direction(f);
        if (!search_line(f)) break;
        move_on(f);
    }
    log_end(f);
    return CRIBO_OK;
}

/* --- the layer --- */

static cribo_status adopt(const fit *f, cb_linear_probe *linear)
{
    const cb_allocator *allocator = &f->runtime->allocator;
    size_t weights = f->classes * f->width;
    double root = sqrt((double)f->width);
    if (!linear->weights) {
        CB_TRY(CB_ALLOCATE(allocator, &linear->weights, weights + f->classes, "linear probe: layer"));
        linear->classes = f->classes;
        linear->width = f->width;
        linear->bias = linear->weights + weights;
    }
    linear->loss = f->here.loss;
    linear->gradient = largest_magnitude(f->here.gradient, f->n);
    linear->iterations = f->iterations;
    for (size_t i = 0; i < f->n; i++)
        linear->weights[i] = (cb_real)(f->here.at[i] * (i < weights ? root : 1));
    return CRIBO_OK;
}

cribo_status cb_linear_probe_fit(const cb_runtime *runtime, cb_linear_probe *linear,
    const cb_patch_memory *memory, const cb_linear_probe_options *options)
{
    fit f = {.runtime = runtime,
        .memory = memory,
        .penalty = options->penalty,
        .classes = memory->classes,
        .width = memory->width,
        .n = memory->classes * (memory->width + 1)};
    cribo_status status = allocate_fit(&f);
    if (status == CRIBO_OK) status = minimise(&f, options->iterations);
    if (status == CRIBO_OK) status = adopt(&f, linear);
    release_fit(&f);
    return status;
}

typedef struct shares_job {
    const cb_linear_probe *linear;
    cb_real *shares;
} shares_job;

static void finish_row(void *context, size_t row, size_t worker)
{
    const shares_job *job = context;
    cb_real *x = job->shares + row * job->linear->classes;
    (void)worker;
    cb_rows()->add_scaled(x, job->linear->bias, 1, job->linear->classes);
    cb_rows()->softmax(x, 1, job->linear->classes);
}

void cb_linear_probe_shares(cb_pool *pool, const cb_linear_probe *linear, size_t rows,
    const cb_real *features, cb_real *unit, cb_real *shares)
{
    size_t width = linear->width;
    shares_job job = {linear, shares};
    for (size_t r = 0; r < rows; r++) cb_unit_feature(unit + r * width, features + r * width, width);
    cb_gemm(pool, &(cb_gemm_job){CB_NT, rows, linear->classes, width, cb_gemm_real(unit, width),
                      cb_gemm_real(linear->weights, width), {shares, linear->classes, false}, false});
    cb_pool_run(pool, rows, finish_row, &job);
}

void cb_linear_probe_destroy(const cb_runtime *runtime, cb_linear_probe *linear)
{
    cb_release(&runtime->allocator, linear->weights);
}
