/*
 * Principal components: the eigenvectors of the rows' covariance with the greatest eigenvalues.
 *
 * The covariance is D x D in double: products of centred blocks in float, added in double. Its leading
 * eigenvectors come by subspace iteration with Rayleigh-Ritz (Golub & Van Loan, "Matrix Computations",
 * section 8.2) on a few additional vectors, from a fixed random start; the small projected matrix
 * is diagonalised by Jacobi's rotations. D^3 work is never done.
 */
#ifndef CB_EVALUATION_PRINCIPAL_H
#define CB_EVALUATION_PRINCIPAL_H

#include "base/runtime.h"
#include "tensor/real.h"

#define CB_PRINCIPAL_MOST 64 /* components */

typedef struct cb_principal {
    size_t rows, width, components;
    const cb_real *x;    /* [rows, width] */
    cb_real *directions; /* [components, width]; this and the others NULL if not needed */
    cb_real *projected;  /* [rows, components] */
    double *variance;    /* [components] */
} cb_principal;

/* Fails for lack of memory only, before anything is written. */
cribo_status cb_principal_components(const cb_runtime *runtime, const cb_principal *principal);

#endif
