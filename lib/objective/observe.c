/*
 * From the teacher's tokens to objects:
 *   Q* = cluster(z_1, z_2, positions)     section 1
 *   c_v^k = Σ_n Q*_v(n, k) z_v^n          objects that both views show
 */
#include "objective/observe.h"

#include "base/clock.h"

#include <string.h>

/* All tokens in cluster 0, and no cluster valid. */
static void clear_clusters(cb_targets *t, const cb_target_sizes *s)
{
    memset(t->labels, 0, t->images * 2 * s->tokens * sizeof *t->labels);
    memset(t->valid, 0, t->images * s->clusters);
    memset(t->per_image, 0, t->images * sizeof *t->per_image);
}

/* The masks of this rank's images, and where its micro-batches' masked patches begin. */
static void draw_masks(cb_objective *o)
{
    cb_targets *t = &o->targets;
    for (size_t i = t->own.first; i < t->own.first + t->own.images; i++) {
        const cb_mask_draw draw = {.masking = &o->masking,
            .rows = o->layout.rows,
            .columns = o->layout.columns,
            .seed = o->config.seed,
            .step = o->step,
            .key = t->keys[i]};
        cb_masks_draw(&draw, t->mask + 2 * i * o->sizes.tokens, t->masked + 2 * i);
    }
    size_t masked = 0;
    for (size_t m = 0; m < t->micro_batches; m++) {
        cb_micro_batch *micro = &t->micro[m];
        micro->first_masked = masked;
        for (size_t view = 2 * micro->first; view < 2 * (micro->first + micro->images); view++)
            micro->masked += (size_t)t->masked[view];
        masked += micro->masked;
    }
}

float *cb_objective_begin(cb_objective *o, const cb_objective_batch *batch)
{
    cb_targets *t = &o->targets;
    o->step = batch->step;
    o->now = *batch->values;
    o->seed_tokens = batch->seed_tokens;
    o->tally.cluster_ms = o->tally.match_ms = 0;
    cb_targets_cut(t, &o->sizes, batch->images);
    for (size_t i = t->own.first; i < t->own.first + t->own.images; i++) {
        t->ids[i] = batch->ids ? batch->ids[i - t->own.first] : CB_NO_ID;
        t->keys[i] = t->ids[i] == CB_NO_ID ? (int64_t)i : t->ids[i];
    }
    if (!cb_uses_objects(&o->config)) clear_clusters(t, &o->sizes);
    if (t->mask) draw_masks(o);
    return t->positions + t->own.first * 2 * o->sizes.tokens * 2;
}

/* Clusters images first ... first + images - 1, whose tokens are [images, 2, T, D]. */
static void cluster(cb_objective *o, const cb_real *tokens, size_t first, size_t images)
{
    cb_targets *t = &o->targets;
    size_t d = o->sizes.width, k = o->sizes.clusters, n = o->sizes.tokens, view = o->layout.tokens * d;
    const cb_real *dense = tokens + o->layout.dense * d;
    const cb_cluster_job job = {
        .images = images,
        .view = {dense, dense + view},
        .image_stride = 2 * view,
        .positions = t->positions + first * 2 * n * 2,
        .seed_tokens = o->seed_tokens ? o->seed_tokens + (first - t->own.first) * k : NULL,
        .call = (uint64_t)o->step,
        .ids = t->keys + first,
        .position_weight = o->now.position_weight,
    };
    double start = cb_clock_ms();
    cb_clusterer_run(o->clusterer, &job);
    o->tally.cluster_ms += cb_clock_ms() - start;
    memcpy(t->labels + first * 2 * n, cb_clusterer_labels(o->clusterer), images * 2 * n * sizeof *t->labels);
    memcpy(t->valid + first * k, cb_clusterer_valid(o->clusterer), images * k);
    for (size_t i = 0; i < images; i++)
        t->per_image[first + i] = (int64_t)cb_clusterer_count(o->clusterer, i);
}

/* Appends each masked patch of a micro-batch as a row of one token. */
static void plan_masked(const cb_objective *o, cb_micro_batch *micro)
{
    size_t n = o->sizes.tokens;
    const uint8_t *mask = o->targets.mask + 2 * micro->first * n;
    cb_pooling *pooling = &micro->pooling;
    uint32_t end = pooling->begin[pooling->rows];
    for (size_t patch = 0; patch < 2 * micro->images * n; patch++) {
        if (!mask[patch]) continue;
        pooling->token[end] = (uint32_t)(patch / n * o->layout.tokens + o->layout.dense + patch % n);
        pooling->weight[end] = 1;
        pooling->begin[++pooling->rows] = ++end;
    }
}

/*
 * The rows that a micro-batch's tokens are pooled to: its 2 b global vectors, then the objects of view 1,
 * then of view 2, then its masked patches. The clusterer has the results of the images from first_clustered
 * on.
 */
static void plan_pooling(cb_objective *o, cb_micro_batch *micro, size_t first_clustered)
{
    cb_pooling *pooling = &micro->pooling;
    size_t stride = o->layout.tokens;
    pooling->rows = 0;
    for (size_t i = 0; i < 2 * micro->images; i++) cb_layout_pool_global(&o->layout, i * stride, pooling);
    for (size_t v = 0; v < 2 && cb_uses_objects(&o->config); v++)
        micro->objects = cb_clusterer_objects(o->clusterer, micro->first - first_clustered, micro->images, v,
            pooling, v * stride + o->layout.dense, 2 * stride);
    if (micro->masked) plan_masked(o, micro);
}

/* The teacher's objects: the pooled rows after the global vectors. */
static void pool_objects(cb_objective *o, cb_micro_batch *micro, const cb_real *tokens)
{
    cb_targets *t = &o->targets;
    cb_group *group = &t->group[micro->group];
    size_t d = o->sizes.width;
    micro->first_object = t->objects;
    if (group->objects == 0) group->first_object = t->objects;
    group->objects += micro->objects;
    t->objects += micro->objects;
    for (size_t v = 0; v < 2; v++) {
        cb_pooling objects = micro->pooling;
        objects.rows = micro->objects;
        objects.begin += 2 * micro->images + v * micro->objects;
        cb_pool_tokens(o->runtime->pool, &objects, tokens, d, t->object[v] + micro->first_object * d);
    }
}

/* The teacher's tokens of the masked patches: the last pooled rows. */
static void copy_masked(const cb_objective *o, const cb_micro_batch *micro, const cb_real *tokens)
{
    size_t d = o->sizes.width;
    cb_pooling masked = micro->pooling;
    masked.rows = micro->masked;
    masked.begin += micro->pooling.rows - micro->masked;
    cb_pool_tokens(o->runtime->pool, &masked, tokens, d, o->targets.masked_token + micro->first_masked * d);
}

static void find_objects(
    cb_objective *o, cb_micro_batch *micro, const cb_real *tokens, size_t first_clustered)
{
    plan_pooling(o, micro, first_clustered);
    pool_objects(o, micro, tokens);
    if (micro->masked) copy_masked(o, micro, tokens);
}

/* Keeps a micro-batch's tokens until its group is complete, then clusters the group. */
static void observe_group(cb_objective *o, size_t m, const cb_real *tokens)
{
    cb_micro_batch *micro = &o->targets.micro[m];
    const cb_group *group = &o->targets.group[micro->group];
    size_t image = 2 * o->layout.tokens * o->sizes.width;
    memcpy(o->group_tokens + (micro->first - group->first) * image, tokens,
        micro->images * image * sizeof *tokens);
    if (micro->first + micro->images < group->first + group->images) return;
    cluster(o, o->group_tokens, group->first, group->images);
    size_t begin = m;
    while (begin > 0 && o->targets.micro[begin - 1].group == micro->group) begin--;
    for (; begin <= m; begin++) {
        micro = &o->targets.micro[begin];
        find_objects(o, micro, o->group_tokens + (micro->first - group->first) * image, group->first);
    }
}

void cb_objective_observe(cb_objective *o, size_t m, const cb_real *tokens)
{
    cb_micro_batch *micro = &o->targets.micro[m];
    bool wanted = cb_uses_objects(&o->config);
    cb_layout_copy_global(&o->layout, tokens, 2 * micro->images, o->sizes.width,
        o->targets.cls + 2 * micro->first * o->sizes.width);
    if (wanted && o->config.batch_cost) {
        observe_group(o, m, tokens);
        return;
    }
    if (wanted) cluster(o, tokens, micro->first, micro->images);
    find_objects(o, micro, tokens, micro->first);
}
