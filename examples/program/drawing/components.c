/* See components.h. */
#include "drawing/components.h"

#include <cribo/evaluation.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool components_project(
    const float *tokens, size_t count, int64_t width, int threads, float *projected, struct problem *problem)
{
    cribo_runtime runtime;
    if (cribo_runtime_init(&runtime, sizeof runtime) != CRIBO_OK) return problem_library(problem);
    runtime.threads = threads;
    return cribo_principal_components((int64_t)count, width, tokens, 3, NULL, projected, NULL, &runtime) ==
               CRIBO_OK ||
           problem_library(problem);
}

/* --- a common rotation --- */

/* The matrix of cofactors of m: det(m) times its inverse, transposed. */
static void find_cofactors(const double m[3][3], double cofactors[3][3])
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            int a = (i + 1) % 3, b = (i + 2) % 3, c = (j + 1) % 3, d = (j + 2) % 3;
            cofactors[i][j] = m[a][c] * m[b][d] - m[a][d] * m[b][c];
        }
}

/*
 * The orthogonal factor of m, by Newton's iteration X <- (X + X^-T) / 2 (Higham, Functions of Matrices, 2008,
 * section 8.3). False if m is singular to rounding.
 */
static bool find_orthogonal(double m[3][3])
{
    double norm = 0, cofactors[3][3];
    for (int i = 0; i < 9; i++) norm += m[i / 3][i % 3] * m[i / 3][i % 3];
    if (!(norm > 0) || !isfinite(norm)) return false;
    for (int i = 0; i < 9; i++) m[i / 3][i % 3] /= sqrt(norm);
    for (int round = 0; round < 60; round++) {
        find_cofactors((const double(*)[3])m, cofactors);
        double determinant = 0;
        for (int j = 0; j < 3; j++) determinant += m[0][j] * cofactors[0][j];
        if (fabs(determinant) < 1e-12) return false;
        for (int i = 0; i < 9; i++)
            m[i / 3][i % 3] = (m[i / 3][i % 3] + cofactors[i / 3][i % 3] / determinant) / 2;
    }
    return true;
}

void components_align(float *projected, const float *reference, size_t count)
{
    double m[3][3] = {{0}}; /* projected^T reference; its orthogonal factor solves the problem */
    for (size_t i = 0; i < count; i++)
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++) m[a][b] += (double)projected[3 * i + a] * reference[3 * i + b];
    if (!find_orthogonal(m)) return;
    for (size_t i = 0; i < count; i++) {
        double own[3] = {projected[3 * i], projected[3 * i + 1], projected[3 * i + 2]};
        for (int b = 0; b < 3; b++)
            projected[3 * i + b] = (float)(own[0] * m[0][b] + own[1] * m[1][b] + own[2] * m[2][b]);
    }
}

/* --- colours --- */

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/*
 * The range of a component's colours. A hundredth of the values at each end is cut off, because outliers
 * would make all others grey. `sorted` [count] is scratch.
 */
static void find_range(const float *projected, size_t count, float *sorted, float *low, float *high)
{
    for (size_t i = 0; i < count; i++) sorted[i] = projected[3 * i];
    qsort(sorted, count, sizeof *sorted, compare);
    *low = sorted[count / 100];
    *high = sorted[count - 1 - count / 100];
}

static uint8_t level(float value, float low, float high)
{
    float share = high > low ? (value - low) / (high - low) : 0.5f;
    return (uint8_t)lrintf(255 * fminf(fmaxf(share, 0), 1));
}

bool components_colours(
    const float *projected, size_t count, struct sheet_pixel *pixels, struct problem *problem)
{
    float low[3], high[3];
    float *sorted = malloc(count * sizeof *sorted);
    if (!sorted) return problem_no_memory(problem);
    for (int c = 0; c < 3; c++) find_range(projected + c, count, sorted, &low[c], &high[c]);
    free(sorted);
    for (size_t i = 0; i < count; i++) {
        const float *p = projected + 3 * i;
        struct colour colour = {
            level(p[0], low[0], high[0]), level(p[1], low[1], high[1]), level(p[2], low[2], high[2])};
        pixels[i] = (struct sheet_pixel){colour, 255};
    }
    return true;
}
