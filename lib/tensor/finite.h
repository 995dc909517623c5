/*
 * The check for numbers that are not finite, which every public call does on its input arrays.
 */
#ifndef CB_TENSOR_FINITE_H
#define CB_TENSOR_FINITE_H

#include "base/pool.h"
#include "tensor/real.h"

/* Returns the index of the first infinity or NaN among x[0 ... n - 1]; n if there is none. */
size_t cb_first_not_finite(const cb_real *x, size_t n);

/* The same by all threads of a pool, so that a batch's arrays are read at the speed of memory. */
size_t cb_pool_first_not_finite(cb_pool *pool, const cb_real *x, size_t n);

#endif
