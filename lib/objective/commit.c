/* Centres and memory bank. See commit.h. */
#include "objective/commit.h"

#include "tensor/rows.h"

/* centre ← m centre + (1 − m) mean of the teacher's logits over the summed rows. */
static void move_centre(
    const cb_objective *o, const cb_prototypes *layer, cb_real *sum, size_t rows, cb_real *centre)
{
    if (rows == 0) return;
    cb_rows()->scale(sum, sum, (cb_real)(1 / (double)rows), layer->width);
    cb_prototypes_move_centre(o->runtime->pool, layer, sum, (cb_real)o->config.centre_momentum, centre);
}

void cb_objective_move_centres(cb_objective *o)
{
    cb_real *cls = o->means, *objects = cls + o->sizes.bottleneck;
    if (o->config.sinkhorn_centring) return; /* each step computes its own centres */
    move_centre(o, &o->teacher.cls, cls, 2 * o->targets.images, o->centre);
    move_centre(o, &o->teacher.objects, objects, 2 * o->targets.objects, o->object_centre);
    move_centre(o, &o->teacher.cls, objects + o->sizes.bottleneck,
        cb_targets_masked_before(&o->targets, o->targets.images), o->masked_centre);
}

void cb_objective_remember(cb_objective *o)
{
    cb_objects objects = cb_targets_objects(&o->targets);
    if (cb_uses_neighbours(&o->config)) cb_memory_bank_push(o->bank, &objects);
}
