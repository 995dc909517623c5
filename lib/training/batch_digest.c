/* Digests of a batch's images. See batch_digest.h. */
#include "training/batch_digest.h"

#include "base/digest.h"

typedef struct digest_job {
    const cribo_batch *batch;
    const cb_batch_sizes *sizes;
    uint64_t *digests;
} digest_job;

/* Element `index` of an array of elements of `bytes` bytes; NULL where there is none. */
static const void *element(const void *array, size_t index, size_t bytes)
{
    return array ? (const char *)array + index * bytes : NULL;
}

static void digest_image(void *context, size_t i, size_t worker)
{
    const digest_job *job = context;
    const cribo_batch *b = job->batch;
    const cb_batch_sizes *sizes = job->sizes;
    const struct {
        const void *array;
        size_t bytes;
    } parts[] = {
        {b->view1, sizes->view * sizeof *b->view1},
        {b->view2, sizes->view * sizeof *b->view2},
        {b->view1_bytes, sizes->view},
        {b->view2_bytes, sizes->view},
        {b->local_views, sizes->local * sizeof *b->local_views},
        {b->local_views_bytes, sizes->local},
        {b->crops1, sizeof *b->crops1},
        {b->crops2, sizeof *b->crops2},
        {b->positions, sizes->positions * sizeof *b->positions},
        {b->ids, sizeof *b->ids},
    };
    uint64_t digest =
        b->view1 ? 0 : cb_digest(cb_digest(0, b->mean, sizeof b->mean), b->deviation, sizeof b->deviation);
    (void)worker;
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++)
        digest = cb_digest(digest, element(parts[p].array, i, parts[p].bytes), parts[p].bytes);
    job->digests[i] = digest;
}

void cb_batch_digest(cb_pool *pool, const cribo_batch *batch, const cb_batch_sizes *sizes, uint64_t *digests)
{
    digest_job job = {batch, sizes, digests};
    cb_pool_run(pool, (size_t)batch->images, digest_image, &job);
}
