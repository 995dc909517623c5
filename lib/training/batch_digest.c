/* Digests of a batch's images. See batch_digest.h. */
#include "training/batch_digest.h"

#include "base/digest.h"

typedef struct digest_job {
    const cribo_batch *batch;
    size_t pixels, positions; /* numbers of a view, and of an image */
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
    const struct {
        const void *array;
        size_t bytes;
    } parts[] = {
        {b->view1, job->pixels * sizeof *b->view1},
        {b->view2, job->pixels * sizeof *b->view2},
        {b->view1_bytes, job->pixels},
        {b->view2_bytes, job->pixels},
        {b->crops1, sizeof *b->crops1},
        {b->crops2, sizeof *b->crops2},
        {b->positions, job->positions * sizeof *b->positions},
        {b->ids, sizeof *b->ids},
    };
    uint64_t digest =
        b->view1 ? 0 : cb_digest(cb_digest(0, b->mean, sizeof b->mean), b->deviation, sizeof b->deviation);
    (void)worker;
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++)
        digest = cb_digest(digest, element(parts[p].array, i, parts[p].bytes), parts[p].bytes);
    job->digests[i] = digest;
}

void cb_batch_digest(
    cb_pool *pool, const cribo_batch *batch, size_t side, size_t positions, uint64_t *digests)
{
    digest_job job = {batch, 3 * side * side, positions, digests};
    cb_pool_run(pool, (size_t)batch->images, digest_image, &job);
}
