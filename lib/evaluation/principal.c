/* Principal components. See principal.h. */
#include "evaluation/principal.h"
#include "evaluation/vectors.h"

#include "base/random.h"
#include "tensor/gemm.h"

#include <math.h>
#include <string.h>

#define SPARE 8          /* additional vectors, for faster convergence */
#define MOST_ROUNDS 2000 /* of subspace iteration, for spectra without gaps */
#define SETTLED 1e-13    /* relative change of the eigenvalues that counts as converged */
#define NOTHING 1e-6     /* a variance below this share of the greatest is rounding of the products */
#define DEPENDENT 1e-12  /* remainder of a dependent row, as a share of its length */
#define BLOCK 512        /* rows of a product */

typedef struct solver {
    const cb_runtime *runtime;
    size_t n, k;          /* D, vectors iterated */
    double *mean;         /* [D] */
    double *covariance;   /* [D, D] */
    double *basis, *next; /* [k, D] */
    double *values;       /* [k] */
    double *small, *turn; /* [k, k] */
    cb_real *block;       /* [BLOCK, D] centred rows */
    cb_real *product;     /* [D, D] of one block */
} solver;

static cribo_status allocate_solver(solver *s)
{
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->mean, s->n, "principal components"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->covariance, s->n * s->n, "principal components"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->basis, s->k * s->n, "principal components"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->next, s->k * s->n, "principal components"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->values, s->k, "principal components"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->small, s->k * s->k, "principal components"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->turn, s->k * s->k, "principal components"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->block, BLOCK * s->n, "principal components"));
    CB_TRY(CB_ALLOCATE(&s->runtime->allocator, &s->product, s->n * s->n, "principal components"));
    return CRIBO_OK;
}

static void release_solver(solver *s)
{
    const cb_allocator *allocator = &s->runtime->allocator;
    void *blocks[] = {
        s->product, s->block, s->turn, s->small, s->values, s->next, s->basis, s->covariance, s->mean};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) cb_release(allocator, blocks[i]);
}

static void find_covariance(solver *s, const cb_principal *p)
{
    size_t n = s->n;
    for (size_t r = 0; r < p->rows; r++)
        for (size_t i = 0; i < n; i++) s->mean[i] += (double)p->x[r * n + i];
    for (size_t i = 0; i < n; i++) s->mean[i] /= (double)p->rows;
    for (size_t begin = 0; begin < p->rows; begin += BLOCK) {
        size_t rows = cb_min(p->rows - begin, BLOCK);
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < n; i++)
                s->block[r * n + i] = (cb_real)((double)p->x[(begin + r) * n + i] - s->mean[i]);
        cb_gemm(s->runtime->pool, &(cb_gemm_job){CB_TN, n, n, rows, cb_gemm_real(s->block, n),
                                      cb_gemm_real(s->block, n), {s->product, n, false}, false});
        for (size_t i = 0; i < n * n; i++) s->covariance[i] += (double)s->product[i] / (double)(p->rows - 1);
    }
}

/*
 * Orthonormal rows of the same span, by Gram-Schmidt, twice because of rounding; a row that depends on
 * earlier rows becomes zero.
 */
static void orthonormalise(double *rows, size_t k, size_t n)
{
    for (size_t i = 0; i < k; i++) {
        double *row = rows + i * n, before = sqrt(cb_vector_dot(row, row, n));
        for (int pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < i; j++)
                cb_vector_add(row, rows + j * n, -cb_vector_dot(row, rows + j * n, n), n);
        double length = sqrt(cb_vector_dot(row, row, n));
        double scale = length > DEPENDENT * before && length > 0 ? 1 / length : 0;
        for (size_t c = 0; c < n; c++) row[c] *= scale;
    }
}

/*
 * Rotates rows and columns p, q of the symmetric a [k, k] so that a[p, q] becomes 0, and rows p, q of v with
 * them.
 */
static void rotate(double *a, double *v, size_t k, size_t p, size_t q)
{
    double theta = (a[q * k + q] - a[p * k + p]) / (2 * a[p * k + q]);
    double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;
    for (size_t i = 0; i < k; i++) {
        double x = a[i * k + p], y = a[i * k + q];
        a[i * k + p] = c * x - s * y;
        a[i * k + q] = s * x + c * y;
    }
    for (size_t i = 0; i < k; i++) {
        double x = a[p * k + i], y = a[q * k + i], u = v[p * k + i], w = v[q * k + i];
        a[p * k + i] = c * x - s * y;
        a[q * k + i] = s * x + c * y;
        v[p * k + i] = c * u - s * w;
        v[q * k + i] = s * u + c * w;
    }
}

/*
 * Eigenvectors of the symmetric a [k, k] as rows of v, and eigenvalues on a's diagonal, by cyclic Jacobi
 * rotations.
 */
static void diagonalise(double *a, double *v, size_t k)
{
    memset(v, 0, k * k * sizeof *v);
    for (size_t i = 0; i < k; i++) v[i * k + i] = 1;
    for (int sweep = 0; sweep < 60; sweep++) {
        bool turned = false;
        for (size_t p = 0; p + 1 < k; p++)
            for (size_t q = p + 1; q < k; q++) {
                double size = sqrt(fabs(a[p * k + p] * a[q * k + q]));
                if (fabs(a[p * k + q]) <= 1e-16 * size || a[p * k + q] == 0) continue;
                rotate(a, v, k, p, q);
                turned = true;
            }
        if (!turned) return;
    }
}

/* The eigenpairs by falling eigenvalue: selection sort, for a few. */
static void sort_pairs(double *values, double *vectors, size_t k, size_t n)
{
    for (size_t i = 0; i < k; i++) {
        size_t best = i;
        for (size_t j = i + 1; j < k; j++)
            if (values[j] > values[best]) best = j;
        if (best == i) continue;
        double value = values[i];
        values[i] = values[best];
        values[best] = value;
        for (size_t c = 0; c < n; c++) {
            double x = vectors[i * n + c];
            vectors[i * n + c] = vectors[best * n + c];
            vectors[best * n + c] = x;
        }
    }
}

/* Task: next = covariance times one vector of the basis. */
static void apply_covariance(void *context, size_t vector, size_t worker)
{
    const solver *s = context;
    (void)worker;
    for (size_t i = 0; i < s->n; i++)
        s->next[vector * s->n + i] = cb_vector_dot(s->covariance + i * s->n, s->basis + vector * s->n, s->n);
}

/* One round: the basis is replaced by the Ritz vectors of its image; `values` are the Ritz values. */
static void iterate(solver *s)
{
    size_t n = s->n, k = s->k;
    cb_pool_run(s->runtime->pool, k, apply_covariance, s);
    orthonormalise(s->next, k, n);
    memcpy(s->basis, s->next, k * n * sizeof *s->basis);
    cb_pool_run(s->runtime->pool, k, apply_covariance, s);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++)
            s->small[i * k + j] = s->small[j * k + i] = cb_vector_dot(s->basis + i * n, s->next + j * n, n);
    diagonalise(s->small, s->turn, k);
    memset(s->next, 0, k * n * sizeof *s->next);
    for (size_t i = 0; i < k; i++) {
        s->values[i] = s->small[i * k + i];
        for (size_t j = 0; j < k; j++)
            cb_vector_add(s->next + i * n, s->basis + j * n, s->turn[i * k + j], n);
    }
    sort_pairs(s->values, s->next, k, n);
    memcpy(s->basis, s->next, k * n * sizeof *s->basis);
}

static void find_eigenvectors(solver *s, size_t wanted)
{
    double before[CB_PRINCIPAL_MOST] = {0};
    cb_random random =
        cb_random_begin(0, CB_PURPOSE_CALLER, 0, 0); /* any start that is not special will do */
    for (size_t i = 0; i < s->k * s->n; i++) s->basis[i] = cb_random_normal(&random);
    for (int round = 0; round < MOST_ROUNDS; round++) {
        bool settled = true;
        iterate(s);
        for (size_t i = 0; i < wanted; i++) {
            settled &= fabs(s->values[i] - before[i]) <= SETTLED * fabs(s->values[0]);
            before[i] = s->values[i];
        }
        if (settled) return;
    }
}

/* Makes the element of the greatest magnitude positive; a direction in which nothing varies becomes zero. */
static void settle_sign(double *vector, size_t n, bool varies)
{
    size_t most = 0;
    for (size_t i = 1; i < n; i++)
        if (fabs(vector[i]) > fabs(vector[most])) most = i;
    double factor = !varies ? 0 : vector[most] < 0 ? -1 : 1;
    for (size_t i = 0; i < n; i++) vector[i] *= factor;
}

static void give(const solver *s, const cb_principal *p)
{
    size_t n = s->n, k = p->components;
    for (size_t i = 0; i < k; i++) {
        bool varies = s->values[i] > NOTHING * s->values[0];
        settle_sign(s->basis + i * n, n, varies);
        if (p->variance) p->variance[i] = varies ? s->values[i] : 0;
        for (size_t c = 0; p->directions && c < n; c++)
            p->directions[i * n + c] = (cb_real)s->basis[i * n + c];
    }
    for (size_t r = 0; p->projected && r < p->rows; r++)
        for (size_t i = 0; i < k; i++) {
            double sum = 0;
            for (size_t c = 0; c < n; c++)
                sum += ((double)p->x[r * n + c] - s->mean[c]) * s->basis[i * n + c];
            p->projected[r * k + i] = (cb_real)sum;
        }
}

cribo_status cb_principal_components(const cb_runtime *runtime, const cb_principal *principal)
{
    solver s = {.runtime = runtime,
        .n = principal->width,
        .k = cb_min(principal->components + SPARE, principal->width)};
    cribo_status status = allocate_solver(&s);
    if (status == CRIBO_OK) {
        find_covariance(&s, principal);
        find_eigenvectors(&s, principal->components);
        give(&s, principal);
    }
    release_solver(&s);
    return status;
}
