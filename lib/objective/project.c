/* The teacher's bottlenecks. See project.h. */
#include "objective/project.h"

#include <string.h>

/* The neighbour of object `object` of the batch; over several ranks it has been fetched. */
static void copy_neighbour(const cb_objective *o, int v, size_t object, cb_real *to)
{
    const cb_neighbour_vectors *n = &o->neighbours;
    size_t width = o->sizes.width, own = object - o->targets.own.first_object;
    if (o->ranks)
        memcpy(to, n->vector + n->place[v][own] * width, width * sizeof *to);
    else
        cb_memory_bank_copy(o->bank, v, o->targets.index[v][object], to);
}

/* Copies the neighbours of a micro-batch's objects that passed the cycle test; returns how many. */
static size_t copy_neighbours(const cb_objective *o, const cb_micro_batch *micro, cb_real *to)
{
    const cb_targets *t = &o->targets;
    size_t copied = 0;
    for (int v = 0; v < 2 && t->cross_image; v++)
        for (size_t r = micro->first_object; r < micro->first_object + micro->objects; r++)
            if (t->match[v][r]) copy_neighbour(o, v, r, to + copied++ * o->sizes.width);
    return copied;
}

void cb_objective_project(cb_objective *o, size_t m, cb_tape *tape)
{
    const cb_targets *t = &o->targets;
    cb_micro_batch *micro = &o->targets.micro[m];
    size_t d = o->sizes.width, e = o->sizes.bottleneck, cls = 2 * micro->images, r = micro->objects;
    cb_tensor x = cb_tape_tensor(tape, cls + 4 * r + micro->masked, d, false);
    memcpy(x.value, t->cls + 2 * micro->first * d, cls * d * sizeof *x.value);
    for (size_t v = 0; v < 2; v++)
        memcpy(x.value + (cls + v * r) * d, t->object[v] + micro->first_object * d, r * d * sizeof *x.value);
    x.rows = cls + 2 * r + copy_neighbours(o, micro, x.value + (cls + 2 * r) * d);
    micro->teacher_objects = x.rows - cls;
    if (micro->masked)
        memcpy(x.value + x.rows * d, t->masked_token + micro->first_masked * d,
            micro->masked * d * sizeof *x.value);
    x.rows += micro->masked;

    cb_tensor bottleneck = cb_heads_forward(o->teacher.heads, tape, x);
    memcpy(micro->cls, bottleneck.value, cls * e * sizeof *micro->cls);
    memcpy(micro->object_rows, bottleneck.value + cls * e,
        micro->teacher_objects * e * sizeof *micro->object_rows);
    if (micro->masked)
        memcpy(t->masked_row + micro->first_masked * e, bottleneck.value + (cls + micro->teacher_objects) * e,
            micro->masked * e * sizeof *t->masked_row);
}

void cb_objective_plan_project(const cb_objective *o, cb_tape *tape)
{
    size_t rows = o->sizes.micro_images * (2 + 4 * o->sizes.clusters + 2 * o->sizes.masked);
    cb_heads_forward(o->teacher.heads, tape, cb_tape_tensor(tape, rows, o->sizes.width, false));
}
