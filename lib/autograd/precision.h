/*
 * Common code of operations for the tape's precision. Arithmetic other than products always uses real
 * numbers: a row stored in bfloat16 is widened into a buffer in the first-level cache, and rounded when it is
 * stored.
 */
#ifndef CB_AUTOGRAD_PRECISION_H
#define CB_AUTOGRAD_PRECISION_H

#include "autograd/tape.h"
#include "tensor/buffers.h"
#include "tensor/gemm.h"
#include "tensor/rows.h"

/* A tensor's values, or its gradient, as an operand of a product. */
static inline cb_gemm_operand cb_value_operand(const cb_tensor *x)
{
    return x->bf16 ? cb_gemm_stored_bf16(x->value_bf16, x->columns) : cb_gemm_real(x->value, x->columns);
}

static inline cb_gemm_operand cb_gradient_operand(const cb_tensor *x)
{
    return x->bf16 ? cb_gemm_stored_bf16(x->gradient_bf16, x->columns)
                   : cb_gemm_real(x->gradient, x->columns);
}

/* Buffers for the rows of an operation, as the tape's only scratch. */
static inline cb_row_buffers cb_take_row_buffers(cb_tape *tape, size_t columns)
{
    size_t workers = cb_pool_threads(tape->pool);
    cb_arena scratch = cb_arena_measure();
    cb_row_buffers buffers = cb_row_buffers_in(&scratch, workers, columns);
    buffers.numbers = cb_tape_scratch(tape, workers, buffers.size * sizeof(cb_real));
    return buffers;
}

/*
 * Row `row` of a tensor's values, or of its gradient, to be read: in place, or widened into the buffer.
 */
static inline const cb_real *cb_read_value(const cb_tensor *x, size_t row, cb_real *buffer)
{
    if (!x->bf16) return x->value + row * x->columns;
    cb_rows()->from_bf16(buffer, x->value_bf16 + row * x->columns, x->columns);
    return buffer;
}

static inline const cb_real *cb_read_gradient(const cb_tensor *x, size_t row, cb_real *buffer)
{
    if (!x->bf16) return x->gradient + row * x->columns;
    cb_rows()->from_bf16(buffer, x->gradient_bf16 + row * x->columns, x->columns);
    return buffer;
}

/* The place to compute a row that is then stored by cb_store_...: its own memory, or the buffer. */
static inline cb_real *cb_value_place(const cb_tensor *x, size_t row, cb_real *buffer)
{
    return x->bf16 ? buffer : x->value + row * x->columns;
}

static inline cb_real *cb_gradient_place(const cb_tensor *x, size_t row, cb_real *buffer)
{
    return x->bf16 ? buffer : x->gradient + row * x->columns;
}

static inline void cb_store_value(const cb_tensor *x, size_t row, const cb_real *place)
{
    if (x->bf16) cb_rows()->to_bf16(x->value_bf16 + row * x->columns, place, x->columns);
}

static inline void cb_store_gradient(const cb_tensor *x, size_t row, const cb_real *place)
{
    if (x->bf16) cb_rows()->to_bf16(x->gradient_bf16 + row * x->columns, place, x->columns);
}

#endif
