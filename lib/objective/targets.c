/* Memory of the targets, and the division of a batch. See targets.h. */
#include "objective/targets.h"

static const char what[] = "targets of a step"; /* in messages */

static size_t parts_of(size_t whole, size_t part)
{
    return (whole + part - 1) / part;
}

/* The most micro-batches of a share; each is within one shard and one group. */
static size_t max_micro_batches(const cb_target_sizes *s)
{
    size_t shard = parts_of(s->images, s->shards);
    if (s->shards == 1)
        return s->images / s->group_images * parts_of(s->group_images, s->micro_images) +
               parts_of(s->images % s->group_images, s->micro_images);
    return s->shards / s->ranks * (parts_of(shard, s->micro_images) + parts_of(shard, s->group_images));
}

static cribo_status allocate_micro_batch(
    const cb_allocator *allocator, cb_micro_batch *micro, const cb_target_sizes *s)
{
    size_t b = s->micro_images, rows = 2 * b * (1 + s->clusters + s->masked);
    size_t entries = 2 * b * (s->entries + s->masked);
    CB_REQUIRE(entries < UINT32_MAX && rows < UINT32_MAX / 2,
        "micro_batch = %zu has more tokens in its objects than 32 bits can number", b);
    CB_TRY(CB_ALLOCATE(allocator, &micro->pooling.begin, rows + 1, what));
    CB_TRY(CB_ALLOCATE(allocator, &micro->pooling.token, entries, what));
    CB_TRY(CB_ALLOCATE(allocator, &micro->pooling.weight, entries, what));
    CB_TRY(CB_ALLOCATE(allocator, &micro->cls, 2 * b * s->bottleneck, what));
    return CB_ALLOCATE(allocator, &micro->object_rows, 4 * b * s->clusters * s->bottleneck, what);
}

/* Does nothing if no patch is masked. */
static cribo_status allocate_masked(const cb_allocator *allocator, cb_targets *t, const cb_target_sizes *s)
{
    size_t views = 2 * s->images, rows = views * s->masked;
    if (s->masked == 0) return CRIBO_OK;
    CB_TRY(CB_ALLOCATE(allocator, &t->mask, views * s->tokens, what));
    CB_TRY(CB_ALLOCATE(allocator, &t->masked, views, what));
    CB_TRY(CB_ALLOCATE(allocator, &t->masked_token, rows * s->width, what));
    return CB_ALLOCATE(allocator, &t->masked_row, rows * s->bottleneck, what);
}

cribo_status cb_targets_allocate(const cb_allocator *allocator, cb_targets *t, const cb_target_sizes *s)
{
    size_t batch = s->images, objects = batch * s->clusters;
    CB_TRY(CB_ALLOCATE(allocator, &t->positions, batch * 2 * s->tokens * 2, what));
    CB_TRY(CB_ALLOCATE(allocator, &t->ids, batch, what));
    CB_TRY(CB_ALLOCATE(allocator, &t->keys, batch, what));
    CB_TRY(CB_ALLOCATE(allocator, &t->labels, batch * 2 * s->tokens, what));
    CB_TRY(CB_ALLOCATE(allocator, &t->valid, objects, what));
    CB_TRY(CB_ALLOCATE(allocator, &t->per_image, batch, what));
    CB_TRY(CB_ALLOCATE(allocator, &t->cls, batch * 2 * s->width, what));
    for (int v = 0; v < 2; v++) {
        CB_TRY(CB_ALLOCATE(allocator, &t->object[v], objects * s->width, what));
        CB_TRY(CB_ALLOCATE(allocator, &t->index[v], objects, what));
        CB_TRY(CB_ALLOCATE(allocator, &t->match[v], objects, what));
    }
    CB_TRY(allocate_masked(allocator, t, s));
    CB_TRY(CB_ALLOCATE(allocator, &t->group, parts_of(batch, s->group_images), what));
    CB_TRY(CB_ALLOCATE(allocator, &t->micro, max_micro_batches(s), what));
    for (size_t m = 0; m < max_micro_batches(s); m++)
        CB_TRY(allocate_micro_batch(allocator, &t->micro[m], s));
    return CRIBO_OK;
}

void cb_targets_release(const cb_allocator *allocator, cb_targets *t, const cb_target_sizes *s)
{
    for (size_t m = 0; t->micro && m < max_micro_batches(s); m++) {
        cb_micro_batch *micro = &t->micro[m];
        void *const arrays[] = {micro->pooling.begin, micro->pooling.token, micro->pooling.weight, micro->cls,
            micro->object_rows};
        for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) cb_release(allocator, arrays[i]);
    }
    void *const arrays[] = {t->positions, t->ids, t->keys, t->labels, t->valid, t->per_image, t->cls,
        t->object[0], t->object[1], t->index[0], t->index[1], t->match[0], t->match[1], t->mask, t->masked,
        t->masked_token, t->masked_row, t->group, t->micro};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) cb_release(allocator, arrays[i]);
    *t = (cb_targets){0};
}

size_t cb_targets_first(const cb_target_sizes *s, size_t images, size_t rank)
{
    return images * (rank * (s->shards / s->ranks)) / s->shards;
}

/* Adds the micro-batches of a shard, the `leaf`-th of this rank. */
static void cut_shard(cb_targets *t, const cb_target_sizes *s, size_t leaf)
{
    size_t shard = s->rank * (s->shards / s->ranks) + leaf;
    size_t first = t->images * shard / s->shards, end = t->images * (shard + 1) / s->shards;
    while (first < end) {
        size_t g = first / s->group_images;
        size_t left = cb_min(end, t->group[g].first + t->group[g].images) - first;
        cb_micro_batch *micro = &t->micro[t->micro_batches++];
        micro->group = g;
        micro->leaf = leaf;
        micro->first = first;
        micro->images = cb_min(s->micro_images, left);
        micro->objects = micro->teacher_objects = micro->first_masked = micro->masked = 0;
        first += micro->images;
    }
}

void cb_targets_cut(cb_targets *t, const cb_target_sizes *s, size_t images)
{
    size_t first = cb_targets_first(s, images, s->rank), end = cb_targets_first(s, images, s->rank + 1);
    t->images = images;
    t->objects = t->groups = t->micro_batches = 0;
    t->own = (cb_share){.first = first, .images = end - first};
    for (first = 0; first < images; first += s->group_images)
        t->group[t->groups++] = (cb_group){.first = first, .images = cb_min(s->group_images, images - first)};
    for (size_t leaf = 0; leaf < s->shards / s->ranks; leaf++) cut_shard(t, s, leaf);
}

cb_objects cb_targets_of_group(const cb_targets *t, const cb_group *group, size_t width)
{
    size_t begin = group->first_object * width;
    return (cb_objects){group->images, t->per_image + group->first,
        {t->object[0] + begin, t->object[1] + begin}, t->ids + group->first};
}

cb_objects cb_targets_objects(const cb_targets *t)
{
    return (cb_objects){t->images, t->per_image, {t->object[0], t->object[1]}, t->ids};
}

size_t cb_targets_masked_before(const cb_targets *t, size_t image)
{
    size_t masked = 0;
    for (size_t view = 0; t->masked && view < 2 * image; view++) masked += (size_t)t->masked[view];
    return masked;
}
