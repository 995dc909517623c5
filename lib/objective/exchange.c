/* The exchange of a batch's data between ranks. See exchange.h. */
#include "objective/exchange.h"

#include <string.h>

/* --- images --- */

static const char *given(uint64_t here)
{
    return here ? "has" : "has no";
}

/* An array that the whole batch has or has not, and values that all images share. */
static cribo_status check_batch(const cb_share_notice *first, const cb_share_notice *other, size_t rank)
{
    CB_REQUIRE(other->ids == first->ids, "the batch of rank 0 %s ids, but that of rank %zu %s ids",
        given(first->ids), rank, given(other->ids));
    CB_REQUIRE(other->seed_tokens == first->seed_tokens,
        "the batch of rank 0 %s seed_tokens, but that of rank %zu %s seed_tokens", given(first->seed_tokens),
        rank, given(other->seed_tokens));
    CB_REQUIRE(other->values == first->values,
        "the values of the step (learning rate, temperatures ...) on rank %zu are not those of rank 0", rank);
    return CRIBO_OK;
}

static cribo_status check_shares(const cb_objective *o, const cb_share_notice *shares, size_t images)
{
    const cb_target_sizes *s = &o->sizes;
    for (size_t r = 1; r < s->ranks; r++) CB_TRY(check_batch(&shares[0], &shares[r], r));
    CB_REQUIRE(images <= s->images, "the ranks' batches have %zu images together, but batch_size = %zu",
        images, s->images);
    for (size_t r = 0; r < s->ranks; r++) {
        size_t share = cb_targets_first(s, images, r + 1) - cb_targets_first(s, images, r);
        CB_REQUIRE(shares[r].images == share,
            "rank %zu has %zu images of a batch of %zu: with shards = %zu its share is %zu", r,
            (size_t)shares[r].images, images, s->shards, share);
        CB_REQUIRE(!o->config.batch_cost || r == 0 || cb_targets_first(s, images, r) % s->group_images == 0,
            "batch_cost = 1 with %zu ranks: the share of rank %zu begins inside a group; set group_images to "
            "a divisor of a rank's share",
            s->ranks, r);
    }
    return CRIBO_OK;
}

cribo_status cb_objective_join_shares(cb_objective *o, const cb_share_notice *own, cb_share_notice *whole)
{
    const cb_share_notice *all = o->rank_share;
    *whole = *own;
    if (!o->ranks) return CRIBO_OK;
    CB_TRY(cb_ranks_gather(o->ranks, "shares of a batch", own, sizeof *own, o->rank_share));
    whole->images = 0;
    for (size_t r = 0; r < o->sizes.ranks; r++) {
        whole->images += all[r].images;
        whole->compared &= all[r].compared;
    }
    return check_shares(o, all, (size_t)whole->images);
}

/* --- objects --- */

/* Gathers an array with `bytes` bytes for each image; this rank has written its share. */
static cribo_status share_by_image(cb_objective *o, const char *what, void *all, size_t bytes)
{
    for (size_t r = 0; r <= o->sizes.ranks; r++)
        o->rank_offsets[r] = bytes * cb_targets_first(&o->sizes, o->targets.images, r);
    return cb_ranks_share(o->ranks, what, all, o->rank_offsets);
}

/* Where the objects of each rank's images begin, times `bytes`; per_image of the whole batch is known. */
static void place_ranks(cb_objective *o, size_t bytes)
{
    const cb_targets *t = &o->targets;
    size_t objects = 0, r = 0;
    for (size_t i = 0; i <= t->images; i++) {
        while (r <= o->sizes.ranks && cb_targets_first(&o->sizes, t->images, r) == i)
            o->rank_offsets[r++] = bytes * objects;
        if (i < t->images) objects += (size_t)t->per_image[i];
    }
}

/* The same for each object. */
static cribo_status share_by_object(cb_objective *o, const char *what, void *all, size_t bytes)
{
    place_ranks(o, bytes);
    return cb_ranks_share(o->ranks, what, all, o->rank_offsets);
}

/* The same for each masked patch; their numbers in the whole batch are known. */
static cribo_status share_by_masked(cb_objective *o, const char *what, void *all, size_t bytes)
{
    const cb_targets *t = &o->targets;
    for (size_t r = 0; r <= o->sizes.ranks; r++)
        o->rank_offsets[r] = bytes * cb_targets_masked_before(t, cb_targets_first(&o->sizes, t->images, r));
    return cb_ranks_share(o->ranks, what, all, o->rank_offsets);
}

/* Computes the first object of each group and of this rank from the counts of all images. */
static void place_objects(cb_targets *t)
{
    size_t objects = 0, i = 0;
    for (size_t g = 0; g < t->groups; g++) {
        cb_group *group = &t->group[g];
        group->first_object = objects;
        for (; i < group->first + group->images; i++) {
            if (i == t->own.first) t->own.first_object = objects;
            objects += (size_t)t->per_image[i];
        }
        group->objects = objects - group->first_object;
    }
    t->objects = objects;
}

/* This rank's objects were written from place 0 on. */
static void move_own_objects(cb_objective *o)
{
    cb_targets *t = &o->targets;
    size_t first = t->own.first_object;
    for (int v = 0; v < 2; v++)
        memmove(t->object[v] + first * o->sizes.width, t->object[v],
            t->own.objects * o->sizes.width * sizeof(cb_real));
    for (size_t m = 0; m < t->micro_batches; m++) t->micro[m].first_object += first;
}

cribo_status cb_objective_exchange_objects(cb_objective *o)
{
    cb_targets *t = &o->targets;
    size_t width = o->sizes.width * sizeof(cb_real);
    t->own.objects = t->objects;
    if (!o->ranks) return CRIBO_OK;
    CB_TRY(share_by_image(o, "objects per image", t->per_image, sizeof *t->per_image));
    CB_TRY(share_by_image(o, "ids", t->ids, sizeof *t->ids));
    CB_TRY(share_by_image(o, "global vectors", t->cls, 2 * width));
    if (t->masked) CB_TRY(share_by_image(o, "masked patches", t->masked, 2 * sizeof *t->masked));
    place_objects(t);
    move_own_objects(o);
    CB_TRY(share_by_object(o, "objects of view 1", t->object[0], width));
    return share_by_object(o, "objects of view 2", t->object[1], width);
}

/* --- neighbours --- */

/* Joins values that all ranks have, each for its part of the memory bank. */
static cribo_status join_all(
    cb_objective *o, const char *what, void *values, size_t count, size_t size, cb_join *join)
{
    for (size_t p = 0; p <= o->sizes.ranks; p++) o->rank_offsets[p] = count * p / o->sizes.ranks;
    CB_TRY(cb_ranks_reduce(o->ranks, what, values, size, o->rank_offsets, join));
    return cb_ranks_spread(o->ranks, what, values, size, o->rank_offsets);
}

static void join_nearest(void *values, const void *other, size_t offset, size_t bytes)
{
    cb_neighbour *best = (cb_neighbour *)values + offset / sizeof *best;
    const cb_neighbour *candidates = other;
    for (size_t i = 0; i < bytes / sizeof *best; i++)
        if (candidates[i].index >= 0) cb_neighbours_keep(&best[i], 1, candidates[i]);
}

cribo_status cb_objective_exchange_nearest(cb_objective *o)
{
    return join_all(
        o, "nearest entries", o->nearest, 2 * o->targets.objects, sizeof *o->nearest, join_nearest);
}

static void join_matches(void *values, const void *other, size_t offset, size_t bytes)
{
    uint8_t *match = (uint8_t *)values + offset;
    const uint8_t *more = other;
    for (size_t i = 0; i < bytes; i++) match[i] |= more[i];
}

cribo_status cb_objective_exchange_matches(cb_objective *o)
{
    const cb_targets *t = &o->targets;
    CB_TRY(join_all(o, "cycle test", t->match[0], t->objects, sizeof *t->match[0], join_matches));
    return join_all(o, "cycle test", t->match[1], t->objects, sizeof *t->match[1], join_matches);
}

static bool is_needed(const cb_objective *o, int v, size_t object, size_t owner)
{
    const cb_targets *t = &o->targets;
    return t->match[v][object] && cb_memory_bank_owner(o->bank, t->index[v][object]) == owner;
}

/* Copies the neighbours that are entries of this rank for the objects of rank `peer`; returns how many. */
static size_t copy_entries(const cb_objective *o, size_t peer, cb_real *to)
{
    size_t count = 0;
    for (int v = 0; v < 2; v++)
        for (size_t i = o->rank_offsets[peer]; i < o->rank_offsets[peer + 1]; i++)
            if (is_needed(o, v, i, o->sizes.rank))
                cb_memory_bank_copy(o->bank, v, o->targets.index[v][i], to + count++ * o->sizes.width);
    return count;
}

/* Gives the neighbours that are entries of rank `peer` their places, in the order of copy_entries. */
static void place_entries(cb_objective *o, size_t peer)
{
    const cb_share *own = &o->targets.own;
    for (int v = 0; v < 2; v++)
        for (size_t i = 0; i < own->objects; i++)
            if (is_needed(o, v, own->first_object + i, peer))
                o->neighbours.place[v][i] = o->neighbours.count++;
}

cribo_status cb_objective_exchange_neighbours(cb_objective *o)
{
    cb_neighbour_vectors *n = &o->neighbours;
    size_t width = o->sizes.width, row = width * sizeof(cb_real);
    if (!o->ranks) return CRIBO_OK;
    place_ranks(o, 1);
    n->count = 0;
    copy_entries(o, o->sizes.rank, n->vector);
    place_entries(o, o->sizes.rank);
    for (size_t bits = 1; bits < o->sizes.ranks; bits++) {
        size_t peer = o->sizes.rank ^ bits, before = n->count, sent = copy_entries(o, peer, n->sent);
        place_entries(o, peer);
        CB_TRY(cb_ranks_swap(o->ranks, "neighbours", peer, n->sent, sent * row, n->vector + before * width,
            (n->count - before) * row));
    }
    return CRIBO_OK;
}

cribo_status cb_objective_exchange_bottlenecks(cb_objective *o)
{
    size_t e = o->sizes.bottleneck, row = e * sizeof(cb_real);
    if (!o->ranks) return CRIBO_OK;
    CB_TRY(share_by_image(o, "bottlenecks", o->cls_centring.x, 2 * row));
    if (o->sizes.masked) CB_TRY(share_by_masked(o, "bottlenecks", o->masked_centring.x, row));
    for (size_t v = 0; v < 2; v++)
        CB_TRY(share_by_object(o, "bottlenecks", o->object_centring.x + v * o->targets.objects * e, row));
    return CRIBO_OK;
}

cribo_status cb_objective_exchange_vectors(cb_objective *o)
{
    size_t row = o->sizes.width * sizeof(cb_real);
    for (int v = 0; o->ranks && v < 2; v++) {
        if (o->koleo_cls.x[v]) CB_TRY(share_by_image(o, "student's global vectors", o->koleo_cls.x[v], row));
        if (o->koleo_objects.x[v])
            CB_TRY(share_by_object(o, "student's objects", o->koleo_objects.x[v], row));
    }
    return CRIBO_OK;
}

/* --- sums --- */

static cribo_status join_used(cb_objective *o, cb_prototype_signs *signs, size_t prototypes)
{
    CB_TRY(cb_ranks_gather(o->ranks, "prototypes used", signs->used, prototypes, o->rank_used));
    for (size_t r = 0; r < o->sizes.ranks; r++)
        for (size_t p = 0; p < prototypes; p++) signs->used[p] |= o->rank_used[r * prototypes + p];
    return CRIBO_OK;
}

static cribo_status share_leaves(cb_objective *o)
{
    size_t own = o->sizes.shards / o->sizes.ranks;
    for (size_t r = 0; r <= o->sizes.ranks; r++) o->rank_offsets[r] = r * own * sizeof *o->leaf;
    return cb_ranks_share(o->ranks, "losses", o->leaf, o->rank_offsets);
}

cribo_status cb_objective_exchange_tallies(cb_objective *o)
{
    if (!o->ranks) return CRIBO_OK;
    CB_TRY(share_leaves(o));
    CB_TRY(join_used(o, &o->tally.cls_signs, o->student.cls.count));
    return join_used(o, &o->tally.object_signs, o->student.objects.count);
}
