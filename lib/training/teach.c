/*
 * Teach: from a batch's views to the targets of its student rows. No gradients, and nothing that outlives the
 * step changes.
 *
 *   z = teacher(view)                          dense tokens and [CLS] of both views
 *   Q* = cluster(z_1, z_2, positions)          section 1
 *   c_v^k = Σ_n Q*_v(n, k) z_v^n               objects seen in both views
 *   nn(c_v^k), O(c_v^k)                        section 2, in the memory bank as it is before this batch
 *   bottlenecks of [CLS], objects, neighbours  that passed the cycle test
 */
#include "training/trainer.h"

#include "base/clock.h"
#include "clustering/positions.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

/* --- the batch as a whole --- */

static void set_positions(cb_trainer *trainer, const cribo_batch *batch)
{
    size_t patches = trainer->patches, side = (size_t)trainer->config.image_size;
    size_t patch = (size_t)trainer->config.patch_size, images = (size_t)batch->images;
    float *positions = trainer->targets.positions;
    if (batch->positions) {
        memcpy(positions, batch->positions, images * 2 * patches * 2 * sizeof *positions);
        return;
    }
    for (size_t i = 0; i < 2 * images; i++) {
        const cribo_crop *crop = (i % 2 ? batch->crops2 : batch->crops1) + i / 2;
        cb_patch_positions(crop->x, crop->y, crop->width, crop->height, crop->flipped != 0, side / patch,
            patch, side, positions + i * patches * 2);
    }
}

static void begin_targets(cb_trainer *trainer, const cribo_batch *batch)
{
    cb_step_targets *t = &trainer->targets;
    t->images = (size_t)batch->images;
    t->objects = 0;
    t->micro_batches = (t->images + trainer->micro - 1) / trainer->micro;
    for (size_t i = 0; i < t->images; i++) {
        t->ids[i] = batch->ids ? batch->ids[i] : CB_NO_ID;
        t->keys[i] = t->ids[i] == CB_NO_ID ? (int64_t)i : t->ids[i];
    }
    for (size_t m = 0; m < t->micro_batches; m++) {
        size_t first = m * trainer->micro, left = t->images - first;
        t->micro[m].first = first;
        t->micro[m].images = left < trainer->micro ? left : trainer->micro;
    }
    set_positions(trainer, batch);
}

/* --- teacher tokens and clusters --- */

/*
 * The teacher's tokens [b, 2, T, D] of one micro-batch, into `tokens`, and its [CLS] among the targets.
 */
static cribo_status see(
    cb_trainer *trainer, const cribo_batch *batch, const cb_micro_batch *micro, cb_real *tokens)
{
    size_t d = (size_t)trainer->config.width;
    cb_tape tape = cb_trainer_begin_pass(trainer, false);
    cb_images images = cb_batch_images(trainer, batch, micro->first, micro->images);
    cb_tensor z = cb_backbone_forward(&trainer->teacher->backbone, &tape, &images, &(cb_forward_options){0});
    if (!isfinite(cb_rows()->sum_squares(z.value, z.rows * d)))
        return cb_fail(
            CRIBO_NOT_FINITE, "the teacher's tokens are not finite at step %lld", (long long)trainer->step);
    memcpy(tokens, z.value, z.rows * d * sizeof *tokens);
    cb_layout_copy_global(
        &trainer->layout, tokens, 2 * micro->images, d, trainer->targets.cls + 2 * micro->first * d);
    return CRIBO_OK;
}

/* Clusters images first ... first + images - 1, whose tokens stand in trainer->teacher_tokens. */
static void cluster(cb_trainer *trainer, const cribo_batch *batch, size_t first, size_t images)
{
    cb_step_targets *t = &trainer->targets;
    size_t d = (size_t)trainer->config.width, k = (size_t)trainer->config.clusters,
           patches = trainer->patches;
    const cb_real *dense = trainer->teacher_tokens + trainer->layout.dense * d;
    const cb_cluster_job job = {
        .images = images,
        .view = {dense, dense + trainer->tokens * d},
        .image_stride = 2 * trainer->tokens * d,
        .positions = t->positions + first * 2 * patches * 2,
        .seed_tokens = batch->seed_tokens ? batch->seed_tokens + first * k : NULL,
        .call = (uint64_t)trainer->step,
        .ids = t->keys + first,
        .position_weight = trainer->now.position_weight,
    };
    double start = cb_clock_ms();
    cb_clusterer_run(trainer->clusterer, &job);
    trainer->tally.cluster_ms += cb_clock_ms() - start;
    memcpy(t->labels + first * 2 * patches, cb_clusterer_labels(trainer->clusterer),
        images * 2 * patches * sizeof *t->labels);
    memcpy(t->valid + first * k, cb_clusterer_valid(trainer->clusterer), images * k);
    for (size_t i = 0; i < images; i++)
        t->per_image[first + i] = (int64_t)cb_clusterer_count(trainer->clusterer, i);
}

/* All tokens in cluster 0, and no cluster valid. */
static void find_nothing(cb_trainer *trainer)
{
    cb_step_targets *t = &trainer->targets;
    memset(t->labels, 0, t->images * 2 * trainer->patches * sizeof *t->labels);
    memset(t->valid, 0, t->images * (size_t)trainer->config.clusters);
    memset(t->per_image, 0, t->images * sizeof *t->per_image);
}

/*
 * The rows that a micro-batch's tokens are pooled to: 2 b [CLS] tokens, then the objects of view 1, then of
 * view 2.
 */
static void plan_pooling(cb_trainer *trainer, cb_micro_batch *micro, size_t first_of_group)
{
    cb_pooling *pooling = &micro->pooling;
    size_t stride = 2 * trainer->tokens;
    pooling->rows = 0;
    for (size_t i = 0; i < 2 * micro->images; i++)
        cb_layout_pool_global(&trainer->layout, i * trainer->tokens, pooling);
    micro->objects = 0;
    for (size_t v = 0; v < 2 && cb_wants_objects(&trainer->config); v++)
        micro->objects = cb_clusterer_objects(trainer->clusterer, micro->first - first_of_group,
            micro->images, v, pooling, v * trainer->tokens + trainer->layout.dense, stride);
}

/* The teacher's objects: the pooled rows after the [CLS] rows, which are known already. */
static void pool_objects(cb_trainer *trainer, cb_micro_batch *micro, const cb_real *tokens)
{
    cb_step_targets *t = &trainer->targets;
    size_t d = (size_t)trainer->config.width;
    micro->first_object = t->objects;
    t->objects += micro->objects;
    for (size_t v = 0; v < 2; v++) {
        cb_pooling objects = micro->pooling;
        objects.rows = micro->objects;
        objects.begin += 2 * micro->images + v * micro->objects;
        cb_pool_tokens(trainer->runtime->pool, &objects, tokens, d, t->object[v] + micro->first_object * d);
    }
}

/* Sees and clusters the micro-batches begin ... end - 1 together. */
static cribo_status find_objects(cb_trainer *trainer, const cribo_batch *batch, size_t begin, size_t end)
{
    cb_micro_batch *micro = trainer->targets.micro;
    size_t first = micro[begin].first, last = micro[end - 1].first + micro[end - 1].images;
    size_t image_size = 2 * trainer->tokens * (size_t)trainer->config.width;
    for (size_t m = begin; m < end; m++) {
        CB_TRY(cb_progress(trainer->runtime, "teach", (double)m / (double)trainer->targets.micro_batches));
        CB_TRY(
            see(trainer, batch, &micro[m], trainer->teacher_tokens + (micro[m].first - first) * image_size));
    }
    if (cb_wants_objects(&trainer->config)) cluster(trainer, batch, first, last - first);
    for (size_t m = begin; m < end; m++) {
        plan_pooling(trainer, &micro[m], first);
        pool_objects(trainer, &micro[m], trainer->teacher_tokens + (micro[m].first - first) * image_size);
    }
    return CRIBO_OK;
}

/* --- neighbours and bottlenecks --- */

cb_objects cb_targets_objects(const cb_step_targets *t)
{
    return (cb_objects){t->images, t->per_image, {t->object[0], t->object[1]}, t->ids};
}

static void find_neighbours(cb_trainer *trainer)
{
    cb_step_targets *t = &trainer->targets;
    double start = cb_clock_ms();
    cb_objects objects = cb_targets_objects(t);
    cb_match match = {.index = {t->index[0], t->index[1]}, .match = {t->match[0], t->match[1]}};
    cb_memory_bank_query(trainer->bank, &objects, &match);
    for (int v = 0; v < 2; v++) {
        t->matches[v] = 0;
        for (size_t r = 0; r < t->objects; r++) t->matches[v] += t->match[v][r];
    }
    t->cross_image = trainer->now.cross_image && cb_wants_neighbours(&trainer->config) &&
                     cb_memory_bank_count(trainer->bank) >= (size_t)trainer->config.cross_image_objects;
    trainer->tally.match_ms += cb_clock_ms() - start;
}

/* Copies the neighbours of a micro-batch's objects that passed the cycle test; returns how many. */
static size_t copy_neighbours(const cb_trainer *trainer, const cb_micro_batch *micro, cb_real *to)
{
    const cb_step_targets *t = &trainer->targets;
    size_t d = (size_t)trainer->config.width, copied = 0;
    for (int v = 0; v < 2 && t->cross_image; v++)
        for (size_t r = micro->first_object; r < micro->first_object + micro->objects; r++)
            if (t->match[v][r]) cb_memory_bank_copy(trainer->bank, v, t->index[v][r], to + copied++ * d);
    return copied;
}

/* The bottlenecks of all that teaches a micro-batch's student rows. */
static void project(cb_trainer *trainer, cb_micro_batch *micro)
{
    const cb_step_targets *t = &trainer->targets;
    size_t d = (size_t)trainer->config.width, e = (size_t)trainer->config.head_bottleneck;
    size_t cls = 2 * micro->images, r = micro->objects;
    cb_tape tape = cb_trainer_begin_pass(trainer, false);
    cb_tensor x = cb_tape_tensor(&tape, cls + 4 * r, d, false);
    memcpy(x.value, t->cls + 2 * micro->first * d, cls * d * sizeof *x.value);
    for (size_t v = 0; v < 2; v++)
        memcpy(x.value + (cls + v * r) * d, t->object[v] + micro->first_object * d, r * d * sizeof *x.value);
    x.rows = cls + 2 * r + copy_neighbours(trainer, micro, x.value + (cls + 2 * r) * d);

    cb_tensor bottleneck = cb_heads_forward(&trainer->teacher->heads, &tape, x);
    memcpy(micro->cls, bottleneck.value, cls * e * sizeof *micro->cls);
    memcpy(micro->objects_rows, bottleneck.value + cls * e, (x.rows - cls) * e * sizeof *micro->objects_rows);
    micro->teacher_objects = x.rows - cls;
}

static cribo_status find_targets(cb_trainer *trainer, const cribo_batch *batch)
{
    cb_step_targets *t = &trainer->targets;
    size_t together = trainer->config.batch_cost ? t->micro_batches : 1;
    if (!cb_wants_objects(&trainer->config)) find_nothing(trainer);
    for (size_t m = 0; m < t->micro_batches; m += together)
        CB_TRY(find_objects(trainer, batch, m, m + together));
    find_neighbours(trainer);
    for (size_t m = 0; m < t->micro_batches; m++) project(trainer, &t->micro[m]);
    return CRIBO_OK;
}

cribo_status cb_train_teach(cb_trainer *trainer, const cribo_batch *batch)
{
    double start = cb_clock_ms();
    trainer->phase = CB_PHASE_IDLE;
    trainer->tally.cluster_ms = trainer->tally.match_ms = 0;
    cb_schedule_at(&trainer->config, trainer->step, &trainer->now);
    begin_targets(trainer, batch);
    cribo_status status = find_targets(trainer, batch);
    if (status != CRIBO_OK) {
        trainer->targets.images = 0;
        return status;
    }
    trainer->phase = CB_PHASE_TAUGHT;
    trainer->tally.teach_ms = cb_clock_ms() - start;
    return CRIBO_OK;
}
