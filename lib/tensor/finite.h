/*
 * Where numbers stop being finite: the check that every public call makes of the arrays it is given.
 */
#ifndef CB_TENSOR_FINITE_H
#define CB_TENSOR_FINITE_H

#include "base/pool.h"
#include "tensor/real.h"

/* The first place of an infinity or a NaN among x[0 ... n - 1]; n when there is none. */
size_t cb_first_not_finite(const cb_real *x, size_t n);

/* The same, shared out: a batch's arrays are read at the speed of memory. */
size_t cb_pool_first_not_finite(cb_pool *pool, const cb_real *x, size_t n);

#endif
