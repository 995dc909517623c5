/*
 * The number type of all arithmetic. The library computes in float; the tests build the same sources with
 * CB_DOUBLE and check every gradient by finite differences in double precision.
 */
#ifndef CB_TENSOR_REAL_H
#define CB_TENSOR_REAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef CB_DOUBLE
typedef double cb_real;
#else
typedef float cb_real;
#endif

#endif
