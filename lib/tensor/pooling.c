/* Pooling of token rows. See pooling.h. */
#include "tensor/pooling.h"

#include "tensor/rows.h"

#include <string.h>

typedef struct pooling_job {
    const cb_pooling *pooling;
    const cb_real *from;
    cb_real *to;
    size_t width, parts;
} pooling_job;

static void pool_row(void *context, size_t r, size_t worker)
{
    const pooling_job *job = context;
    const cb_pooling *pooling = job->pooling;
    cb_real *y_r = job->to + r * job->width;
    (void)worker;
    memset(y_r, 0, job->width * sizeof *y_r);
    for (uint32_t e = pooling->begin[r]; e < pooling->begin[r + 1]; e++)
        cb_rows()->add_scaled(
            y_r, job->from + pooling->token[e] * job->width, pooling->weight[e], job->width);
}

void cb_pool_tokens(cb_pool *pool, const cb_pooling *pooling, const cb_real *x, size_t width, cb_real *y)
{
    pooling_job job = {pooling, x, y, width, 0};
    cb_pool_run(pool, pooling->rows, pool_row, &job);
}

/* A token may be in several rows, so the work is cut by columns. */
static void scatter_stripe(void *context, size_t part, size_t worker)
{
    const pooling_job *job = context;
    const cb_pooling *pooling = job->pooling;
    cb_range columns = cb_part(job->width, part, job->parts, 1);
    (void)worker;
    for (size_t r = 0; r < pooling->rows; r++)
        for (uint32_t e = pooling->begin[r]; e < pooling->begin[r + 1]; e++)
            cb_rows()->add_scaled(job->to + pooling->token[e] * job->width + columns.begin,
                job->from + r * job->width + columns.begin, pooling->weight[e], columns.end - columns.begin);
}

void cb_pool_tokens_backward(
    cb_pool *pool, const cb_pooling *pooling, const cb_real *dy, size_t width, cb_real *dx)
{
    pooling_job job = {pooling, dy, dx, width, cb_pool_threads(pool)};
    cb_pool_run(pool, job.parts, scatter_stripe, &job);
}
