/* Making an objective: its parts, and all memory that its steps use. See objective.h. */
#include "objective/objective.h"

static cribo_status create_clusterer(const cb_runtime *runtime, cb_objective *o)
{
    cribo_clusterer_config config = {.struct_size = sizeof config};
    size_t together = o->config.batch_cost ? o->sizes.group_images : o->sizes.micro_images;
    cb_config_project(&cb_clusterer_settings, &config, &cb_objective_settings, &o->config);
    return cb_clusterer_create(runtime, &o->clusterer, &config, together, o->sizes.tokens, o->sizes.width);
}

static cribo_status create_bank(const cb_runtime *runtime, cb_objective *o)
{
    cribo_memory_bank_config config = {
        .struct_size = sizeof config,
        .bank_images = o->config.bank_images,
        .objects_per_image = o->config.clusters,
        .width = o->config.width,
        .max_objects = o->config.batch_size * o->config.clusters,
    };
    return cb_memory_bank_create(runtime, &o->bank, &config, o->ranks);
}

static cribo_status create_search(const cb_allocator *allocator, cb_objective *o)
{
    const cb_target_sizes *s = &o->sizes;
    size_t images = (s->images + s->ranks - 1) / s->ranks, own = images * s->clusters;
    cb_neighbour_vectors *n = &o->neighbours;
    CB_TRY(CB_ALLOCATE(allocator, &o->nearest, 2 * s->images * s->clusters, "nearest entries"));
    if (!o->ranks) return CRIBO_OK;
    for (int view = 0; view < 2; view++) CB_TRY(CB_ALLOCATE(allocator, &n->place[view], own, "neighbours"));
    CB_TRY(CB_ALLOCATE(allocator, &n->vector, 2 * own * s->width, "neighbours"));
    return CB_ALLOCATE(allocator, &n->sent, 2 * own * s->width, "neighbours");
}

static cribo_status create_layer(
    const cb_allocator *allocator, cb_prototypes *prototypes, const cb_last_layer *layer, bool bf16)
{
    *prototypes = (cb_prototypes){.count = layer->direction.rows,
        .width = layer->direction.columns,
        .direction = layer->direction.value,
        .gain = layer->gain.value,
        .bf16 = bf16};
    return CB_ALLOCATE(allocator, &prototypes->scale, prototypes->count, "prototypes");
}

static cribo_status create_projection(
    const cb_allocator *allocator, cb_projection *projection, const cb_heads *heads, bool bf16)
{
    projection->heads = heads;
    CB_TRY(create_layer(allocator, &projection->cls, &heads->cls, bf16));
    return create_layer(allocator, &projection->objects, &heads->objects, bf16);
}

static cribo_status create_signs(const cb_allocator *allocator, cb_prototype_signs *signs, size_t prototypes)
{
    CB_TRY(CB_ALLOCATE(allocator, &signs->mean, prototypes, "signs of collapse"));
    return CB_ALLOCATE(allocator, &signs->used, prototypes, "signs of collapse");
}

static cribo_status create_sums(const cb_allocator *allocator, cb_objective *o)
{
    size_t cls = o->teacher.cls.count, objects = o->teacher.objects.count;
    CB_TRY(create_signs(allocator, &o->tally.cls_signs, cls));
    CB_TRY(create_signs(allocator, &o->tally.object_signs, objects));
    CB_TRY(CB_ALLOCATE(allocator, &o->centre, cls, "centre"));
    CB_TRY(CB_ALLOCATE(allocator, &o->object_centre, objects, "centre"));
    if (o->sizes.masked) CB_TRY(CB_ALLOCATE(allocator, &o->masked_centre, cls, "centre"));
    CB_TRY(CB_ALLOCATE(allocator, &o->leaf, o->sizes.shards, "sums of the shards"));
    CB_TRY(CB_ALLOCATE(allocator, &o->rank_offsets, o->sizes.ranks + 1, "exchange between ranks"));
    if (o->ranks)
        CB_TRY(CB_ALLOCATE(allocator, &o->rank_used, o->sizes.ranks * (cls > objects ? cls : objects),
            "exchange between ranks"));
    CB_TRY(CB_ALLOCATE(allocator, &o->rank_share, o->sizes.ranks, "exchange between ranks"));
    return CB_ALLOCATE(allocator, &o->means, cb_objective_kinds(o) * o->sizes.bottleneck, "mean bottlenecks");
}

static cribo_status create_balance(
    const cb_allocator *allocator, cb_centring *centring, const cb_prototypes *layer, size_t rows)
{
    CB_TRY(CB_ALLOCATE(allocator, &centring->x, rows * layer->width, "centring"));
    CB_TRY(CB_ALLOCATE(allocator, &centring->centre, layer->count, "centring"));
    centring->arena = cb_arena_measure();
    cb_balance_workspace_take(&centring->arena, rows, layer->count);
    CB_TRY(cb_arena_create(allocator, &centring->arena, centring->arena.peak, "centring"));
    centring->work = cb_balance_workspace_take(&centring->arena, rows, layer->count);
    return CRIBO_OK;
}

/* Does nothing if the centre is the moving mean. */
static cribo_status create_centring(const cb_allocator *allocator, cb_objective *o)
{
    size_t images = o->sizes.images;
    if (!o->config.sinkhorn_centring) return CRIBO_OK;
    CB_TRY(create_balance(allocator, &o->cls_centring, &o->teacher.cls, 2 * images));
    if (o->sizes.masked)
        CB_TRY(create_balance(allocator, &o->masked_centring, &o->teacher.cls, 2 * images * o->sizes.masked));
    return create_balance(
        allocator, &o->object_centring, &o->teacher.objects, 2 * images * o->sizes.clusters);
}

static void release_balance(const cb_allocator *allocator, cb_centring *centring)
{
    cb_arena_destroy(allocator, &centring->arena);
    cb_release(allocator, centring->centre);
    cb_release(allocator, centring->x);
}

static cribo_status create_vectors(
    const cb_allocator *allocator, cb_koleo_vectors *vectors, double weight, size_t count)
{
    for (int v = 0; weight > 0 && v < 2; v++) {
        CB_TRY(CB_ALLOCATE(allocator, &vectors->x[v], count, "vectors for KoLeo"));
        CB_TRY(CB_ALLOCATE(allocator, &vectors->dx[v], count, "vectors for KoLeo"));
    }
    return CRIBO_OK;
}

/* Does nothing if both weights are 0. */
static cribo_status create_koleo(const cb_allocator *allocator, cb_objective *o)
{
    const cribo_objective_config *c = &o->config;
    size_t images = o->sizes.images, objects = images * o->sizes.clusters, d = o->sizes.width;
    size_t most = c->object_koleo_weight > 0 ? objects : images;
    if (!cb_uses_koleo(c)) return CRIBO_OK;
    CB_TRY(create_vectors(allocator, &o->koleo_cls, c->koleo_weight, images * d));
    CB_TRY(create_vectors(allocator, &o->koleo_objects, c->object_koleo_weight, objects * d));
    o->koleo_arena = cb_arena_measure();
    cb_koleo_workspace_take(&o->koleo_arena, most);
    CB_TRY(cb_arena_create(allocator, &o->koleo_arena, o->koleo_arena.peak, "KoLeo"));
    o->koleo_work = cb_koleo_workspace_take(&o->koleo_arena, most);
    return CRIBO_OK;
}

static void release_vectors(const cb_allocator *allocator, cb_koleo_vectors *vectors)
{
    for (int v = 0; v < 2; v++) {
        cb_release(allocator, vectors->dx[v]);
        cb_release(allocator, vectors->x[v]);
    }
}

/* With batch_cost, the tokens of a group are kept until its last one and clustered together. */
static cribo_status create_group_tokens(const cb_allocator *allocator, cb_objective *o)
{
    if (!o->config.batch_cost) return CRIBO_OK;
    return CB_ALLOCATE(allocator, &o->group_tokens,
        o->sizes.group_images * 2 * o->layout.tokens * o->sizes.width, "tokens of a group");
}

static cribo_status create_parts(
    const cb_runtime *runtime, cb_objective *o, const cb_heads *student, const cb_heads *teacher)
{
    const cb_allocator *allocator = &runtime->allocator;
    bool bf16 = o->config.precision == CRIBO_BF16;
    CB_TRY(create_clusterer(runtime, o));
    o->sizes.entries = o->layout.global_count + cb_clusterer_max_entries(o->clusterer);
    CB_TRY(create_bank(runtime, o));
    CB_TRY(create_search(allocator, o));
    CB_TRY(create_projection(allocator, &o->student, student, bf16));
    CB_TRY(create_projection(allocator, &o->teacher, teacher, bf16));
    CB_TRY(cb_targets_allocate(allocator, &o->targets, &o->sizes));
    CB_TRY(create_sums(allocator, o));
    CB_TRY(create_centring(allocator, o));
    CB_TRY(create_koleo(allocator, o));
    return create_group_tokens(allocator, o);
}

static cribo_status check_shards(const cribo_objective_config *config, const cb_ranks *ranks)
{
    int64_t shards = config->shards;
    CB_REQUIRE((shards & (shards - 1)) == 0, "shards = %lld must be a power of two", (long long)shards);
    CB_REQUIRE((size_t)shards >= cb_ranks_size(ranks),
        "shards = %lld must be at least the number of ranks, %zu", (long long)shards, cb_ranks_size(ranks));
    return CRIBO_OK;
}

static cb_target_sizes sizes_of(const cribo_objective_config *config, const cb_masking *masking,
    const cb_token_layout *layout, const cb_ranks *ranks)
{
    size_t batch = (size_t)config->batch_size, shards = (size_t)config->shards;
    size_t group = config->group_images ? cb_min((size_t)config->group_images, batch) : batch;
    return (cb_target_sizes){.images = batch,
        .group_images = group,
        .micro_images = cb_min((size_t)config->micro_batch, cb_min(group, (batch + shards - 1) / shards)),
        .shards = shards,
        .ranks = cb_ranks_size(ranks),
        .rank = cb_ranks_own(ranks),
        .tokens = cb_layout_patches(layout),
        .width = (size_t)config->width,
        .clusters = (size_t)config->clusters,
        .bottleneck = (size_t)config->head_bottleneck,
        .masked = cb_masks_most(masking, cb_layout_patches(layout))};
}

cribo_status cb_objective_create(const cb_runtime *runtime, cb_objective **out,
    const cribo_objective_config *config, const cb_masking *masking, const cb_token_layout *layout,
    const cb_heads *student, const cb_heads *teacher, cb_ranks *ranks)
{
    cb_objective *o;
    *out = NULL;
    CB_TRY(check_shards(config, ranks));
    CB_TRY(CB_ALLOCATE(&runtime->allocator, &o, 1, "objective"));
    o->runtime = runtime;
    o->config = *config;
    o->masking = *masking;
    o->layout = *layout;
    o->ranks = ranks;
    o->sizes = sizes_of(config, masking, layout, ranks);
    cribo_status status = create_parts(runtime, o, student, teacher);
    if (status != CRIBO_OK) {
        cb_objective_free(runtime, o);
        return status;
    }
    *out = o;
    return CRIBO_OK;
}

void cb_objective_free(const cb_runtime *runtime, cb_objective *o)
{
    if (!o) return;
    const cb_allocator *allocator = &runtime->allocator;
    void *const arrays[] = {o->neighbours.sent, o->neighbours.vector, o->neighbours.place[1],
        o->neighbours.place[0], o->nearest, o->rank_share, o->rank_used, o->rank_offsets, o->leaf,
        o->group_tokens, o->means, o->masked_centre, o->object_centre, o->centre, o->tally.object_signs.used,
        o->tally.object_signs.mean, o->tally.cls_signs.used, o->tally.cls_signs.mean,
        o->teacher.objects.scale, o->teacher.cls.scale, o->student.objects.scale, o->student.cls.scale};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) cb_release(allocator, arrays[i]);
    cb_arena_destroy(allocator, &o->koleo_arena);
    release_vectors(allocator, &o->koleo_objects);
    release_vectors(allocator, &o->koleo_cls);
    release_balance(allocator, &o->masked_centring);
    release_balance(allocator, &o->object_centring);
    release_balance(allocator, &o->cls_centring);
    cb_targets_release(allocator, &o->targets, &o->sizes);
    cb_memory_bank_free(runtime, o->bank);
    cb_clusterer_free(runtime, o->clusterer);
    cb_release(allocator, o);
}
