/* Vectors in double precision, for the solvers: sums in order, so that their bits are the same everywhere. */
#ifndef CB_EVALUATION_VECTORS_H
#define CB_EVALUATION_VECTORS_H

#include <stddef.h>

static inline double cb_vector_dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* y += factor x. */
static inline void cb_vector_add(double *y, const double *x, double factor, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += factor * x[i];
}

#endif
