/* Arguments from outside: are they sound? See checks.h. */
#include "api/checks.h"

#include "base/structs.h"
#include "tensor/finite.h"

#include <math.h>
#include <stdio.h>

cribo_status cb_check_finite(cb_pool *pool, const char *name, const float *values, size_t count)
{
    size_t at = values ? cb_pool_first_not_finite(pool, values, count) : count;
    CB_REQUIRE(at == count, "%s[%zu] = %g is not finite", name, at, (double)values[at]);
    return CRIBO_OK;
}

cribo_status cb_check_seed_tokens(
    const char *name, const int64_t *seeds, size_t images, cb_cluster_shape shape)
{
    const int64_t joint = 2 * (int64_t)shape.tokens;
    for (size_t i = 0; seeds && i < images * shape.clusters; i++) {
        size_t b = i / shape.clusters, k = i % shape.clusters;
        CB_REQUIRE(seeds[i] >= 0 && seeds[i] < joint, "%s[%zu, %zu] = %lld must be in 0 ... %lld", name, b, k,
            (long long)seeds[i], (long long)joint - 1);
        for (size_t j = i - k; j < i; j++)
            CB_REQUIRE(seeds[j] != seeds[i],
                "%s[%zu, %zu] = %lld starts another cluster of its image already", name, b, k,
                (long long)seeds[i]);
    }
    return CRIBO_OK;
}

static cribo_status check_pixels(const cb_trainer *trainer, const cribo_batch *batch)
{
    size_t side = (size_t)trainer->config.image_size, count = (size_t)batch->images * 3 * side * side;
    bool floats = batch->view1 || batch->view2, bytes = batch->view1_bytes || batch->view2_bytes;
    CB_REQUIRE(floats != bytes, "batch: give view1 and view2, or view1_bytes and view2_bytes, %s",
        floats ? "not both" : "but all are NULL");
    if (floats) {
        CB_REQUIRE(batch->view1 && batch->view2, "batch.%s is NULL", batch->view1 ? "view2" : "view1");
        cb_pool *pool = trainer->runtime->pool;
        CB_TRY(cb_check_finite(pool, "batch.view1", batch->view1, count));
        return cb_check_finite(pool, "batch.view2", batch->view2, count);
    }
    CB_REQUIRE(batch->view1_bytes && batch->view2_bytes, "batch.%s is NULL",
        batch->view1_bytes ? "view2_bytes" : "view1_bytes");
    for (int c = 0; c < 3; c++) {
        CB_REQUIRE(isfinite(batch->mean[c]), "batch.mean[%d] = %g is not finite", c, batch->mean[c]);
        CB_REQUIRE(isfinite(batch->deviation[c]) && batch->deviation[c] > 0,
            "batch.deviation[%d] = %g must be above 0", c, batch->deviation[c]);
    }
    return CRIBO_OK;
}

cribo_status cb_check_crop(const char *name, const cribo_crop *c)
{
    CB_REQUIRE(isfinite(c->x) && isfinite(c->y) && fabs(c->x) < 1e9 && fabs(c->y) < 1e9,
        "%s begins at (%g, %g), which is no place in an image", name, c->x, c->y);
    CB_REQUIRE(c->width > 0 && c->height > 0 && c->width < 1e9 && c->height < 1e9,
        "%s is %g x %g: its sides must be above 0", name, c->width, c->height);
    CB_REQUIRE(
        c->flipped == 0 || c->flipped == 1, "%s.flipped = %lld must be 0 or 1", name, (long long)c->flipped);
    return CRIBO_OK;
}

/* Local crops, in the form of the views. */
static cribo_status check_local(const cb_trainer *trainer, const cribo_batch *batch)
{
    const bool bytes = batch->view1_bytes != NULL;
    const void *given = bytes ? (const void *)batch->local_views_bytes : batch->local_views;
    const void *other = bytes ? (const void *)batch->local_views : batch->local_views_bytes;
    const char *name = bytes ? "local_views_bytes" : "local_views";
    size_t crops = (size_t)trainer->config.local_crops, side = (size_t)trainer->config.local_size;
    if (crops == 0) {
        CB_REQUIRE(!given && !other, "batch: local crops are given, but local_crops = 0");
        return CRIBO_OK;
    }
    CB_REQUIRE(given, "batch.%s is NULL, but local_crops = %zu", name, crops);
    CB_REQUIRE(!other, "batch: give local crops as the views: %s alone", name);
    return cb_check_finite(trainer->runtime->pool, "batch.local_views", bytes ? NULL : given,
        (size_t)batch->images * crops * 3 * side * side);
}

static cribo_status check_crops(const char *name, const cribo_crop *crops, size_t count)
{
    char element[64];
    CB_REQUIRE(crops, "batch.%s is NULL (or give positions instead of crops)", name);
    for (size_t i = 0; i < count; i++) {
        snprintf(element, sizeof element, "batch.%s[%zu]", name, i);
        CB_TRY(cb_check_crop(element, &crops[i]));
    }
    return CRIBO_OK;
}

static cribo_status check_positions(const cb_trainer *trainer, const cribo_batch *batch)
{
    size_t images = (size_t)batch->images;
    if (!batch->positions) {
        CB_TRY(check_crops("crops1", batch->crops1, images));
        return check_crops("crops2", batch->crops2, images);
    }
    CB_REQUIRE(!batch->crops1 && !batch->crops2, "batch: give crops1 and crops2, or positions, not both");
    return cb_check_finite(trainer->runtime->pool, "batch.positions", batch->positions,
        images * 2 * trainer->learner.objective->sizes.tokens * 2);
}

cribo_status cb_import_batch(const cb_trainer *trainer, cribo_batch *full, const cribo_batch *batch)
{
    *full = (cribo_batch){0};
    CB_TRY(CB_IMPORT(*full, batch, ids));
    CB_REQUIRE(full->images >= 1 && full->images <= trainer->config.batch_size,
        "batch.images = %lld must be in 1 ... batch_size = %lld", (long long)full->images,
        (long long)trainer->config.batch_size);
    CB_TRY(check_pixels(trainer, full));
    CB_TRY(check_local(trainer, full));
    CB_TRY(check_positions(trainer, full));
    return cb_check_seed_tokens("batch.seed_tokens", full->seed_tokens, (size_t)full->images,
        cb_clusterer_shape(trainer->learner.objective->clusterer));
}

cribo_status cb_export_sizes(const cribo_sizes *full, cribo_sizes *sizes)
{
    CB_REQUIRE_POINTER(sizes);
    CB_TRY(
        cb_check_size("sizes", sizes->struct_size, CB_SIZE_THROUGH(*sizes, target_objects), sizeof *sizes));
    cb_struct_export(sizes, full, sizeof *full);
    return CRIBO_OK;
}

void cb_size_parameters(cribo_sizes *sizes, const cb_parameters *parameters)
{
    sizes->parameters = (int64_t)parameters->count;
    for (size_t i = 0; i < parameters->count; i++) {
        int64_t count = (int64_t)parameters->list[i].count;
        sizes->parameter_numbers += count;
        if (count > sizes->largest_parameter) sizes->largest_parameter = count;
    }
}

cribo_status cb_check_count(const char *name, int64_t count, size_t expected)
{
    CB_REQUIRE(
        count >= 0 && (uint64_t)count == expected, "%s = %lld must be %zu", name, (long long)count, expected);
    return CRIBO_OK;
}

cribo_status cb_check_capacity(const char *name, int64_t capacity, size_t needed)
{
    CB_REQUIRE(capacity >= 0 && (uint64_t)capacity >= needed, "%s = %lld must be at least %zu", name,
        (long long)capacity, needed);
    return CRIBO_OK;
}
