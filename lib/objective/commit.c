/* Centres and memory bank. See commit.h. */
#include "objective/commit.h"

#include "tensor/rows.h"

#include <string.h>

/* Adds `rows` rows of x to sum; returns how many. */
static size_t add_rows(cb_real *sum, const cb_real *x, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++) cb_rows()->add_scaled(sum, x + r * width, 1, width);
    return rows;
}

/* centre ← m centre + (1 − m) mean of the teacher's logits over the rows that were summed up. */
static void move_centre(
    const cb_objective *o, const cb_prototypes *layer, cb_real *sum, size_t rows, cb_real *centre)
{
    if (rows == 0) return;
    cb_rows()->scale(sum, sum, (cb_real)(1 / (double)rows), layer->width);
    cb_prototypes_move_centre(o->runtime->pool, layer, sum, (cb_real)o->config.centre_momentum, centre);
}

void cb_objective_move_centres(cb_objective *o)
{
    const cb_targets *t = &o->targets;
    size_t e = o->sizes.bottleneck, cls_rows = 0, object_rows = 0;
    cb_real *cls = o->means, *objects = cls + e;
    memset(cls, 0, 2 * e * sizeof *cls);
    for (size_t m = 0; m < t->micro_batches; m++) { /* neighbours do not take part */
        cls_rows += add_rows(cls, t->micro[m].cls, 2 * t->micro[m].images, e);
        object_rows += add_rows(objects, t->micro[m].object_rows, 2 * t->micro[m].objects, e);
    }
    move_centre(o, &o->teacher.cls, cls, cls_rows, o->centre);
    move_centre(o, &o->teacher.objects, objects, object_rows, o->object_centre);
}

void cb_objective_remember(cb_objective *o)
{
    cb_objects objects = cb_targets_objects(&o->targets);
    if (cb_wants_neighbours(&o->config)) cb_memory_bank_push(o->bank, &objects);
}
