/* Sinkhorn-Knopp centring of a step. See centring.h. */
#include "objective/centring.h"

#include "objective/exchange.h"

#include <string.h>

static cribo_status create(
    const cb_allocator *allocator, cb_centring *centring, const cb_prototypes *layer, size_t rows)
{
    CB_TRY(cb_allocate(allocator, &centring->x, rows * layer->width, sizeof *centring->x, "centring"));
    CB_TRY(cb_allocate(allocator, &centring->centre, layer->count, sizeof *centring->centre, "centring"));
    centring->arena = cb_arena_measure();
    cb_balance_workspace_take(&centring->arena, rows, layer->count);
    CB_TRY(cb_arena_create(allocator, &centring->arena, centring->arena.peak, "centring"));
    centring->work = cb_balance_workspace_take(&centring->arena, rows, layer->count);
    return CRIBO_OK;
}

cribo_status cb_objective_create_centring(const cb_allocator *allocator, cb_objective *o)
{
    size_t images = o->sizes.images;
    if (!o->config.sinkhorn_centring) return CRIBO_OK;
    CB_TRY(create(allocator, &o->cls_centring, &o->teacher.cls, 2 * images));
    return create(allocator, &o->object_centring, &o->teacher.objects, 2 * images * o->sizes.clusters);
}

static void release(const cb_allocator *allocator, cb_centring *centring)
{
    cb_arena_destroy(allocator, &centring->arena);
    cb_release(allocator, centring->centre);
    cb_release(allocator, centring->x);
}

void cb_objective_free_centring(const cb_allocator *allocator, cb_objective *o)
{
    release(allocator, &o->object_centring);
    release(allocator, &o->cls_centring);
}

/*
 * The teacher's bottlenecks in an order that depends on the batch alone: global vectors by image and view, objects by
 * view and number.
 */
static void collect(cb_objective *o)
{
    const cb_targets *t = &o->targets;
    size_t e = o->sizes.bottleneck;
    for (size_t m = 0; m < t->micro_batches; m++) {
        const cb_micro_batch *micro = &t->micro[m];
        memcpy(o->cls_centring.x + 2 * micro->first * e, micro->cls, 2 * micro->images * e * sizeof(cb_real));
        for (size_t v = 0; v < 2; v++)
            memcpy(o->object_centring.x + (v * t->objects + micro->first_object) * e,
                micro->object_rows + v * micro->objects * e, micro->objects * e * sizeof(cb_real));
    }
}

static void balance(
    cb_objective *o, cb_centring *centring, const cb_prototypes *layer, double temperature, size_t rows)
{
    const cb_balance_job job = {.teacher = layer,
        .temperature = (cb_real)temperature,
        .rows = rows,
        .iterations = (size_t)o->config.sinkhorn_centring,
        .x = centring->x,
        .centre = centring->centre};
    if (rows > 0) cb_balance(o->runtime->pool, &job, &centring->work);
}

cribo_status cb_objective_centre(cb_objective *o)
{
    const cb_targets *t = &o->targets;
    if (!o->config.sinkhorn_centring) return CRIBO_OK;
    collect(o);
    CB_TRY(cb_objective_exchange_bottlenecks(o));
    cb_prototypes_refresh(o->runtime->pool, &o->teacher.cls);
    cb_prototypes_refresh(o->runtime->pool, &o->teacher.objects);
    balance(o, &o->cls_centring, &o->teacher.cls, o->now.teacher_temperature, 2 * t->images);
    balance(o, &o->object_centring, &o->teacher.objects, o->now.object_teacher_temperature, 2 * t->objects);
    return CRIBO_OK;
}
