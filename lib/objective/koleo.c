/* KoLeo of a step. See koleo.h. */
#include "objective/koleo.h"

#include "objective/exchange.h"

#include <string.h>

bool cb_objective_collects(const cb_objective *o)
{
    return cb_uses_koleo(&o->config) && (o->ranks || o->targets.micro_batches > 1);
}

/*
 * The place of a micro-batch's row in the batch's arrays: view v of image i is row 2 i + v, then come the
 * objects of view 1 and of view 2. NULL where the row's kind has weight 0, and for masked patches.
 */
static cb_real *place_of(const cb_objective *o, const cb_micro_batch *micro, size_t row, bool gradient)
{
    size_t after = 2 * micro->images, d = o->sizes.width;
    const cb_koleo_vectors *vectors = row < after ? &o->koleo_cls : &o->koleo_objects;
    if (row >= after + 2 * micro->objects) return NULL;
    size_t view = row < after ? row % 2 : (row - after) / micro->objects;
    size_t index =
        row < after ? micro->first + row / 2 : micro->first_object + (row - after) % micro->objects;
    cb_real *array = gradient ? vectors->dx[view] : vectors->x[view];
    return array ? array + index * d : NULL;
}

static void store_vectors(cb_objective *o, const cb_micro_batch *micro, const cb_real *rows)
{
    size_t d = o->sizes.width;
    for (size_t r = 0; r < micro->pooling.rows; r++) {
        cb_real *x = place_of(o, micro, r, false);
        if (x) memcpy(x, rows + r * d, d * sizeof *x);
    }
}

void cb_objective_collect(cb_objective *o, size_t m, cb_tape *tape, cb_tensor tokens)
{
    const cb_micro_batch *micro = &o->targets.micro[m];
    store_vectors(o, micro, cb_op_pool(tape, tokens, &micro->pooling).value);
}

void cb_objective_plan_collect(const cb_objective *o, cb_tape *tape, cb_tensor tokens)
{
    cb_pooling pooling = {.rows = 2 * o->sizes.micro_images * (1 + o->sizes.clusters + o->sizes.masked)};
    cb_op_pool(tape, tokens, &pooling);
}

/* One kind and view within a group, weighted by the group's share of the batch. */
static double compare(
    cb_objective *o, const cb_koleo_vectors *vectors, size_t view, double weight, size_t first, size_t rows)
{
    size_t d = o->sizes.width;
    if (!vectors->x[view]) return 0;
    const cb_koleo_job job = {.rows = rows,
        .width = d,
        .weight = weight,
        .x = vectors->x[view] + first * d,
        .dx = vectors->dx[view] + first * d};
    return cb_koleo(o->runtime->pool, &job, &o->koleo_work);
}

static void compare_all(cb_objective *o)
{
    const cb_targets *t = &o->targets;
    const cribo_objective_config *c = &o->config;
    for (size_t g = 0; g < t->groups; g++)
        for (size_t v = 0; v < 2; v++) {
            const cb_group *group = &t->group[g];
            double share = (double)group->images / (double)t->images;
            o->tally.koleo +=
                compare(o, &o->koleo_cls, v, share * c->koleo_weight, group->first, group->images);
            o->tally.koleo += compare(
                o, &o->koleo_objects, v, share * c->object_koleo_weight, group->first_object, group->objects);
        }
}

cribo_status cb_objective_koleo(cb_objective *o)
{
    CB_TRY(cb_objective_exchange_vectors(o));
    compare_all(o);
    return CRIBO_OK;
}

void cb_objective_learn_koleo(cb_objective *o, const cb_micro_batch *micro, cb_tape *tape, cb_tensor rows)
{
    size_t d = o->sizes.width;
    if (!cb_uses_koleo(&o->config)) return;
    if (!cb_objective_collects(o)) {
        store_vectors(o, micro, rows.value);
        compare_all(o);
    }
    cb_real *gradient = cb_arena_take(tape->arena, rows.rows * d, sizeof *gradient);
    for (size_t r = 0; r < rows.rows; r++) {
        const cb_real *dx = place_of(o, micro, r, true);
        if (dx)
            memcpy(gradient + r * d, dx, d * sizeof *dx);
        else
            memset(gradient + r * d, 0, d * sizeof *gradient);
    }
    cb_op_add_gradient(tape, rows, gradient);
}

void cb_objective_plan_koleo(const cb_objective *o, cb_tape *tape, cb_tensor rows)
{
    if (!cb_uses_koleo(&o->config)) return;
    cb_arena_take(tape->arena, rows.rows * rows.columns, sizeof(cb_real));
    cb_op_add_gradient(tape, rows, NULL);
}
