/*
 * A random problem for the streamed prototype loss, and the same loss computed directly: whole logits, double
 * precision, no streaming. In a header, because the tests use it in both precisions of cb_real.
 */
#ifndef TESTS_PROTOTYPE_PROBLEM_H
#define TESTS_PROTOTYPE_PROBLEM_H

#include "base/random.h"
#include "distillation/prototype_loss.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct prototype_problem {
    size_t prototypes, width, rows, teacher_rows;
    cb_real *direction[2], *gain[2], *scale[2]; /* student, teacher */
    cb_real *centre, *x, *teacher_x, *dx, *du, *mean;
    uint8_t *used;
    cb_row_targets *targets;
    cb_prototypes student, teacher;
    cb_prototype_signs signs;
    cb_prototype_job job;
} prototype_problem;

static inline cb_real *random_reals(size_t n, uint64_t index, double mean, double deviation)
{
    cb_real *values = malloc((n + 1) * sizeof *values);
    cb_random random = cb_random_begin(11, CB_PURPOSE_CALLER, 0, index);
    for (size_t i = 0; i < n; i++) values[i] = (cb_real)(mean + deviation * cb_random_normal(&random));
    return values;
}

/* In turn, rows have both terms, the first, the second, or none; teacher rows are shared. */
static inline cb_row_targets *mixed_targets(size_t rows, size_t teacher_rows)
{
    cb_row_targets *targets = malloc((rows + 1) * sizeof *targets);
    for (size_t r = 0; r < rows; r++) {
        uint32_t own = teacher_rows ? (uint32_t)(r * 2 % teacher_rows) : CB_NO_ROW;
        uint32_t shared = teacher_rows ? (uint32_t)(r / 3 % teacher_rows) : CB_NO_ROW;
        targets[r] =
            (cb_row_targets){{CB_NO_ROW, CB_NO_ROW}, {(cb_real)0.5, (cb_real)0.75 / (cb_real)(1 + r)}};
        if (r % 4 == 0 || r % 4 == 1) targets[r].row[0] = own;
        if (r % 4 == 0 || r % 4 == 2) targets[r].row[1] = shared;
    }
    return targets;
}

/* `sharpness` is about the size of the logits. */
static inline prototype_problem prototype_problem_create(
    size_t prototypes, size_t width, size_t rows, size_t teacher_rows, double sharpness)
{
    prototype_problem p = {
        .prototypes = prototypes, .width = width, .rows = rows, .teacher_rows = teacher_rows};
    for (uint64_t side = 0; side < 2; side++) {
        p.direction[side] = random_reals(prototypes * width, 10 + side, 0, 1);
        p.gain[side] = random_reals(prototypes, 20 + side, sharpness, 0.2 * sharpness);
        p.scale[side] = malloc(prototypes * sizeof(cb_real));
    }
    p.centre = random_reals(prototypes, 30, 0, 0.1 * sharpness);
    p.x = random_reals(rows * width, 31, 0, 1);
    p.teacher_x = random_reals(teacher_rows * width, 32, 0, 1);
    p.dx = calloc(rows * width + 1, sizeof(cb_real));
    p.du = calloc(prototypes * width, sizeof(cb_real));
    p.mean = calloc(prototypes, sizeof(cb_real));
    p.used = calloc(prototypes, 1);
    p.targets = mixed_targets(rows, teacher_rows);
    p.student = (cb_prototypes){prototypes, width, p.direction[0], p.gain[0], p.scale[0], false};
    p.teacher = (cb_prototypes){prototypes, width, p.direction[1], p.gain[1], p.scale[1], false};
    return p;
}

static inline void prototype_problem_free(prototype_problem *p)
{
    for (int side = 0; side < 2; side++) {
        free(p->direction[side]);
        free(p->gain[side]);
        free(p->scale[side]);
    }
    free(p->centre);
    free(p->x);
    free(p->teacher_x);
    free(p->dx);
    free(p->du);
    free(p->mean);
    free(p->used);
    free(p->targets);
}

/* Runs the streamed loss in an arena of exactly the measured size; du and signs only where wanted. */
static inline void prototype_problem_run(
    cb_pool *pool, prototype_problem *p, size_t logit_count, bool learn, bool signs)
{
    const cb_allocator allocator = {0};
    cb_arena measured = cb_arena_measure(), arena;
    (void)cb_prototype_workspace_take(&measured, p->rows, p->teacher_rows, p->prototypes, logit_count);
    ck_assert_int_eq(cb_arena_create(&allocator, &arena, measured.peak, "workspace"), CRIBO_OK);
    cb_prototype_workspace work =
        cb_prototype_workspace_take(&arena, p->rows, p->teacher_rows, p->prototypes, logit_count);
    cb_prototypes_refresh(pool, &p->student);
    cb_prototypes_refresh(pool, &p->teacher);
    memset(p->du, 0, p->prototypes * p->width * sizeof *p->du);
    memset(p->mean, 0, p->prototypes * sizeof *p->mean);
    memset(p->used, 0, p->prototypes);
    p->signs = (cb_prototype_signs){.mean = p->mean, .used = p->used};
    p->job = (cb_prototype_job){.student = &p->student,
        .teacher = &p->teacher,
        .centre = p->centre,
        .student_temperature = (cb_real)0.25,
        .teacher_temperature = (cb_real)0.125,
        .rows = p->rows,
        .x = p->x,
        .targets = p->targets,
        .teacher_rows = p->teacher_rows,
        .teacher_x = p->teacher_x,
        .dx = p->dx,
        .du = learn ? p->du : NULL,
        .signs = signs ? &p->signs : NULL};
    cb_prototype_loss(pool, &p->job, &work);
    cb_arena_destroy(&allocator, &arena);
}

/* The same, directly. */
typedef struct direct_result {
    double loss[CB_TERMS], entropy;
    double *dx, *du, *mean; /* [rows, E], [P, E], [P] */
    uint8_t *used;
    size_t rows;
} direct_result;

/* log softmax((<u, x> - centre) / temperature), with the prototype of the largest logit. */
static inline size_t direct_log_softmax(
    const cb_prototypes *prototypes, const cb_real *x, const cb_real *centre, double temperature, double *out)
{
    size_t best = 0;
    double sum = 0;
    for (size_t p = 0; p < prototypes->count; p++) {
        const cb_real *v_p = prototypes->direction + p * prototypes->width;
        double squares = 0, product = 0;
        for (size_t e = 0; e < prototypes->width; e++) {
            squares += (double)v_p[e] * (double)v_p[e];
            product += (double)v_p[e] * (double)x[e];
        }
        double logit = (double)prototypes->gain[p] * product / sqrt(squares);
        out[p] = (logit - (centre ? (double)centre[p] : 0)) / temperature;
        if (out[p] > out[best]) best = p;
    }
    double maximum = out[best];
    for (size_t p = 0; p < prototypes->count; p++) sum += exp(out[p] - maximum);
    for (size_t p = 0; p < prototypes->count; p++) out[p] -= maximum + log(sum);
    return best;
}

static inline void direct_signs(const prototype_problem *p, const double *log_t, direct_result *result)
{
    for (size_t t = 0; t < p->teacher_rows; t++) {
        bool serves = false;
        for (size_t r = 0; r < p->rows; r++) serves = serves || p->targets[r].row[0] == t;
        if (!serves) continue;
        result->rows++;
        for (size_t k = 0; k < p->prototypes; k++) {
            double log_p = log_t[t * p->prototypes + k];
            result->mean[k] += exp(log_p);
            result->entropy -= exp(log_p) * log_p;
        }
    }
}

static inline void direct_row(
    const prototype_problem *p, size_t r, const double *log_t, double *log_s, direct_result *result)
{
    direct_log_softmax(&p->student, p->x + r * p->width, NULL, (double)p->job.student_temperature, log_s);
    for (size_t k = 0; k < p->prototypes; k++) {
        double dlogit = 0, squares = 0;
        for (size_t j = 0; j < CB_TERMS; j++) {
            uint32_t t = p->targets[r].row[j];
            if (t == CB_NO_ROW) continue;
            double target = exp(log_t[t * p->prototypes + k]), weight = (double)p->targets[r].weight[j];
            result->loss[j] -= weight * target * log_s[k];
            dlogit += weight * (exp(log_s[k]) - target) / (double)p->job.student_temperature;
        }
        const cb_real *v_k = p->direction[0] + k * p->width;
        for (size_t e = 0; e < p->width; e++) squares += (double)v_k[e] * (double)v_k[e];
        for (size_t e = 0; e < p->width; e++) {
            result->dx[r * p->width + e] += dlogit * (double)p->gain[0][k] / sqrt(squares) * (double)v_k[e];
            result->du[k * p->width + e] += dlogit * (double)p->x[r * p->width + e];
        }
    }
}

/* Of the problem as it was last run. */
static inline direct_result direct_loss(const prototype_problem *p)
{
    direct_result result = {.dx = calloc(p->rows * p->width + 1, sizeof(double)),
        .du = calloc(p->prototypes * p->width, sizeof(double)),
        .mean = calloc(p->prototypes, sizeof(double)),
        .used = calloc(p->prototypes, 1)};
    double *log_t = calloc((p->teacher_rows + 1) * p->prototypes, sizeof *log_t);
    double *log_s = calloc(p->prototypes, sizeof *log_s);
    for (size_t t = 0; t < p->teacher_rows; t++) {
        size_t best = direct_log_softmax(&p->teacher, p->teacher_x + t * p->width, p->centre,
            (double)p->job.teacher_temperature, log_t + t * p->prototypes);
        for (size_t r = 0; r < p->rows; r++)
            if (p->targets[r].row[0] == t) result.used[best] = 1;
    }
    for (size_t r = 0; r < p->rows; r++) direct_row(p, r, log_t, log_s, &result);
    direct_signs(p, log_t, &result);
    free(log_t);
    free(log_s);
    return result;
}

static inline void direct_free(direct_result *result)
{
    free(result->dx);
    free(result->du);
    free(result->mean);
    free(result->used);
}

/* Relative to the largest expected value. */
static inline void assert_reals_near(
    const char *what, const cb_real *got, const double *expected, size_t n, double tolerance)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(expected[i]));
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - expected[i]) <= tolerance * largest,
            "%s[%zu] = %.9g, expected %.9g", what, i, (double)got[i], expected[i]);
}

#endif
