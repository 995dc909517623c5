/* Objects: c_v^k = sum_n Q*_v(n, k) z_v^n (section 1), as rows of a pooling or at once. See clusterer.h. */
#include "clustering/clusterer.h"

#include "tensor/rows.h"

#include <string.h>

size_t cb_clusterer_max_entries(const cb_clusterer *clusterer)
{
    cb_cluster_shape shape = cb_clusterer_shape(clusterer);
    return shape.hard ? shape.tokens : shape.tokens * shape.clusters;
}

/* Q* of one image and view, [N, K]. */
static const cb_real *assignment_of(
    const cb_clusterer *clusterer, cb_cluster_shape shape, size_t image, size_t view)
{
    return cb_clusterer_assignment(clusterer) + (image * 2 + view) * shape.tokens * shape.clusters;
}

/* One row: column k of q, [N, K]. */
static void append_object(
    cb_pooling *append, const cb_real *q, cb_cluster_shape shape, size_t k, size_t token_base)
{
    uint32_t end = append->begin[append->rows];
    for (size_t n = 0; n < shape.tokens; n++) {
        cb_real weight = q[n * shape.clusters + k];
        if (weight == 0) continue;
        append->token[end] = (uint32_t)(token_base + n);
        append->weight[end++] = weight;
    }
    append->begin[++append->rows] = end;
}

size_t cb_clusterer_objects(const cb_clusterer *clusterer, size_t first_image, size_t images, size_t view,
    cb_pooling *append, size_t token_base, size_t token_stride)
{
    const cb_cluster_shape shape = cb_clusterer_shape(clusterer);
    const uint8_t *valid = cb_clusterer_valid(clusterer);
    const size_t before = append->rows;
    if (before == 0) append->begin[0] = 0;
    for (size_t i = 0; i < images; i++) {
        const cb_real *q = assignment_of(clusterer, shape, first_image + i, view);
        for (size_t k = 0; k < shape.clusters; k++)
            if (valid[(first_image + i) * shape.clusters + k])
                append_object(append, q, shape, k, token_base + i * token_stride);
    }
    return append->rows - before;
}

typedef struct object_job {
    const cb_clusterer *clusterer;
    const cb_cluster_job *batch;
    cb_real *objects;
} object_job;

/* All objects of one image and view; task 2 b + v. */
static void pool_objects(void *context, size_t task, size_t worker)
{
    const object_job *job = context;
    const cb_cluster_shape shape = cb_clusterer_shape(job->clusterer);
    const size_t b = task / 2, view = task % 2;
    const cb_real *q = assignment_of(job->clusterer, shape, b, view);
    const cb_real *tokens = job->batch->view[view] + b * job->batch->image_stride;
    const uint8_t *valid = cb_clusterer_valid(job->clusterer) + b * shape.clusters;
    cb_real *objects = job->objects + task * shape.clusters * shape.width;
    (void)worker;

    memset(objects, 0, shape.clusters * shape.width * sizeof *objects);
    for (size_t n = 0; n < shape.tokens; n++)
        for (size_t k = 0; k < shape.clusters; k++)
            if (valid[k] && q[n * shape.clusters + k] != 0)
                cb_rows()->add_scaled(objects + k * shape.width, tokens + n * shape.width,
                    q[n * shape.clusters + k], shape.width);
}

void cb_clusterer_pool_objects(
    cb_pool *pool, const cb_clusterer *clusterer, const cb_cluster_job *job, cb_real *objects)
{
    object_job work = {clusterer, job, objects};
    cb_pool_run(pool, 2 * job->images, pool_objects, &work);
}
