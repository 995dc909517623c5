/* Sinkhorn-Knopp centring of a step. See centring.h. */
#include "objective/centring.h"

#include "objective/exchange.h"

#include <string.h>

/*
 * The teacher's bottlenecks in an order that depends on the batch alone: global vectors by image and view,
 * objects by view and number, masked patches by image, view and place.
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
    size_t first = cb_targets_masked_before(t, t->own.first);
    size_t end = cb_targets_masked_before(t, t->own.first + t->own.images);
    if (end > first)
        memcpy(o->masked_centring.x + first * e, t->masked_row, (end - first) * e * sizeof(cb_real));
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
    balance(o, &o->masked_centring, &o->teacher.cls, o->now.teacher_temperature,
        cb_targets_masked_before(t, t->images));
    return CRIBO_OK;
}
