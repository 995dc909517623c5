/*
 * Matrix products. See gemm.h.
 *
 * C is cut into slabs of rows and columns, never along k, and each slab is one single-threaded BLIS product with the
 * packing path forced: an element of C is then the same sequence of roundings whatever slab it falls into.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* blis.h: pthread_barrier_t */
#endif
#include "tensor/gemm.h"

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#endif
#include CB_BLIS_HEADER
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#ifdef CB_DOUBLE
#define blis_gemm bli_dgemm_ex
#else
#define blis_gemm bli_sgemm_ex
#endif

/* A slab below this many multiplications costs more to hand over than it saves. */
#define SMALLEST_SLAB 2.0e5

/* Slabs end at whole micro-tiles of every kernel in use, so that cutting adds no edge work. */
#define ROW_GRAIN 48
#define COLUMN_GRAIN 96

typedef struct product {
    trans_t transpose_a, transpose_b;
    size_t m, n, k;
    const cb_real *a, *b;
    inc_t a_stride, b_stride;
    size_t a_row, b_column; /* elements from one row of op(A), or column of op(B), to the next */
    cb_real beta;
    cb_real *c;
    inc_t c_stride;
    size_t row_parts, column_parts;
} product;

static void multiply_slab(void *context, size_t task, size_t worker)
{
    const product *p = context;
    cb_range rows = cb_part(p->m, task / p->column_parts, p->row_parts, ROW_GRAIN);
    cb_range columns = cb_part(p->n, task % p->column_parts, p->column_parts, COLUMN_GRAIN);
    if (rows.begin == rows.end || columns.begin == columns.end) return;

    rntm_t runtime = BLIS_RNTM_INITIALIZER; /* of this call alone: no global of BLIS is touched */
    bli_rntm_set_num_threads(1, &runtime);
    bli_rntm_disable_l3_sup(&runtime);
    cb_real one = 1, beta = p->beta;
    blis_gemm(p->transpose_a, p->transpose_b, (dim_t)(rows.end - rows.begin), (dim_t)(columns.end - columns.begin),
        (dim_t)p->k, &one, (cb_real *)p->a + rows.begin * p->a_row, p->a_stride, 1,
        (cb_real *)p->b + columns.begin * p->b_column, p->b_stride, 1, &beta,
        p->c + rows.begin * (size_t)p->c_stride + columns.begin, p->c_stride, 1, NULL, &runtime);
    (void)worker;
}

/* Cuts the longer side first: rows share B, columns share A, and the shared operand is packed by each. */
static void cut(product *p, size_t threads)
{
    double work = (double)p->m * (double)p->n * (double)p->k;
    size_t most = work < SMALLEST_SLAB * (double)threads ? (size_t)(work / SMALLEST_SLAB) : threads;
    p->row_parts = p->column_parts = 1;
    if (most <= 1) return;
    if (p->m >= p->n)
        p->row_parts = most;
    else
        p->column_parts = most;
}

void cb_gemm(cb_pool *pool, cb_gemm_form form, size_t m, size_t n, size_t k, const cb_real *a, size_t a_stride,
    const cb_real *b, size_t b_stride, bool accumulate, cb_real *c, size_t c_stride)
{
    if (m == 0 || n == 0 || (k == 0 && accumulate)) return;
    product p = {
        .transpose_a = form == CB_TN ? BLIS_TRANSPOSE : BLIS_NO_TRANSPOSE,
        .transpose_b = form == CB_NT ? BLIS_TRANSPOSE : BLIS_NO_TRANSPOSE,
        .m = m, .n = n, .k = k,
        .a = a, .a_stride = (inc_t)a_stride, .a_row = form == CB_TN ? 1 : a_stride,
        .b = b, .b_stride = (inc_t)b_stride, .b_column = form == CB_NT ? b_stride : 1,
        .beta = accumulate ? 1 : 0,
        .c = c, .c_stride = (inc_t)c_stride,
    };
    cut(&p, cb_pool_threads(pool));
    cb_pool_run(pool, p.row_parts * p.column_parts, multiply_slab, &p);
}

/* One product per worker makes BLIS detect the CPU and take its packing buffers. */
static void warm_up(void *context, size_t task, size_t worker)
{
    cb_real a[4] = {1, 0, 0, 1}, c[4];
    (void)context, (void)task, (void)worker;
    cb_gemm(NULL, CB_NT, 2, 2, 2, a, 2, a, 2, false, c, 2);
}

void cb_gemm_begin(const cb_runtime *runtime)
{
    cb_pool_run(runtime->pool, cb_pool_threads(runtime->pool), warm_up, NULL);
}

const char *cb_gemm_blis_version(void)
{
    return bli_info_get_version_str();
}

const char *cb_gemm_blis_kernels(void)
{
    return bli_arch_string(bli_arch_query_id());
}

const char *cb_gemm_kernel(void)
{
    return "blis";
}
