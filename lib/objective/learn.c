/*
 * The losses of the student's rows and their targets, micro-batch by micro-batch. The losses' weights (1/B,
 * 1/R, 1/Z_1, 1/Z_2, 1/M_v) are those of the whole batch or group, so the sum of the micro-batches' gradients
 * is the batch's gradient.
 */
#include "objective/learn.h"

#include "distillation/loss.h"
#include "distillation/teachers.h"
#include "objective/centring.h"
#include "objective/exchange.h"
#include "objective/koleo.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

/* Scratch of a micro-batch: the loss's, and the targets of its rows. */
typedef struct loss_scratch {
    cb_prototype_workspace workspace;
    cb_row_targets *targets; /* [2 b + 2 R_b] or [M_b], if that is more */
} loss_scratch;

static loss_scratch take_scratch(
    const cb_objective *o, cb_arena *arena, size_t images, size_t objects, size_t neighbours, size_t masked)
{
    size_t rows = cb_max(2 * images + 2 * objects, masked), cls = o->student.cls.count,
           object = o->student.objects.count;
    loss_scratch scratch = {.targets = cb_arena_take(arena, rows, sizeof(cb_row_targets))};
    scratch.workspace =
        cb_prototype_workspace_take(arena, rows, rows + neighbours, cls > object ? cls : object, 0);
    return scratch;
}

/* The normalisers of a micro-batch's terms, times the losses' weights and the group's share of the batch. */
static cb_loss_weights weights_of(const cb_objective *o, const cb_micro_batch *micro)
{
    const cribo_objective_config *c = &o->config;
    const cb_group *group = &o->targets.group[micro->group];
    double share = (double)group->images / (double)o->targets.images;
    cb_loss_weights weights = cb_loss_weights_of(
        c->authors_normalisation != 0, group->images, group->objects, group->matches[0], group->matches[1]);
    weights.global *= c->global_weight * share;
    weights.cross_view *= c->cross_view_weight * share;
    for (int v = 0; v < 2; v++) weights.cross_image[v] *= c->cross_image_weight * share;
    return weights;
}

/* Of a masked view, whose patches share it equally. */
static double masked_weight_of(const cb_objective *o, const cb_micro_batch *micro)
{
    const cb_group *group = &o->targets.group[micro->group];
    double share = (double)group->images / (double)o->targets.images;
    cb_loss_weights weights =
        cb_loss_weights_of(o->config.authors_normalisation != 0, group->images, 0, 0, 0);
    return weights.global * o->masking.weight * share;
}

/* Teacher rows of [CLS] have the student's order: view v of image i is row 2 i + v. */
static void set_cls_targets(cb_row_targets *targets, size_t images, const cb_loss_weights *weights)
{
    for (uint32_t row = 0; row < 2 * images; row++) {
        cb_teachers teachers = cb_teachers_of_image(weights, row % 2);
        targets[row] = (cb_row_targets){
            {row / 2 * 2 + (uint32_t)teachers.view, CB_NO_ROW}, {(cb_real)teachers.weight[0], 0}};
    }
}

/*
 * Teacher rows of objects: those of view 1, of view 2, then the matched neighbours, view 1's first. The
 * targets of the student's view 2 are the teacher's view 1, so the student's view 2 comes first.
 */
static void set_object_targets(
    const cb_targets *t, const cb_micro_batch *micro, cb_row_targets *targets, const cb_loss_weights *weights)
{
    uint32_t objects = (uint32_t)micro->objects, neighbour = 2 * objects;
    const uint8_t *match[2] = {NULL, NULL};
    for (int v = 0; v < 2 && t->cross_image; v++) match[v] = t->match[v] + micro->first_object;
    for (uint32_t view = 2; view-- > 0;)
        for (uint32_t r = 0; r < objects; r++) {
            cb_teachers teachers = cb_teachers_of_object(weights, match, view, r);
            targets[view * objects + r] = (cb_row_targets){
                {(uint32_t)teachers.view * objects + r, teachers.neighbour ? neighbour++ : CB_NO_ROW},
                {(cb_real)teachers.weight[0], (cb_real)teachers.weight[1]}};
        }
}

/* The gradient buffer of a last layer; NULL while it is frozen. */
static cb_real *accumulator(const cb_objective *o, const cb_last_layer *layer)
{
    return o->now.last_layer_frozen ? NULL : layer->direction.gradient;
}

static void learn_cls(cb_objective *o, const cb_micro_batch *micro, cb_tensor x, const loss_scratch *scratch)
{
    cb_loss_weights weights = weights_of(o, micro);
    set_cls_targets(scratch->targets, micro->images, &weights);
    cb_prototype_job job = {
        .student = &o->student.cls,
        .teacher = &o->teacher.cls,
        .centre = cb_objective_centre_of(o, &o->cls_centring, o->centre),
        .student_temperature = (cb_real)o->config.student_temperature,
        .teacher_temperature = (cb_real)o->now.teacher_temperature,
        .rows = 2 * micro->images,
        .x = x.value,
        .targets = scratch->targets,
        .teacher_rows = 2 * micro->images,
        .teacher_x = micro->cls,
        .dx = x.gradient,
        .du = accumulator(o, &o->student.heads->cls),
        .signs = &o->tally.cls_signs,
    };
    cb_prototype_loss(o->runtime->pool, &job, &scratch->workspace);
    o->tally.global += job.loss[0];
}

static void learn_objects(
    cb_objective *o, const cb_micro_batch *micro, cb_tensor x, const loss_scratch *scratch)
{
    cb_loss_weights weights = weights_of(o, micro);
    set_object_targets(&o->targets, micro, scratch->targets, &weights);
    size_t after_cls = 2 * micro->images * x.columns;
    cb_prototype_job job = {
        .student = &o->student.objects,
        .teacher = &o->teacher.objects,
        .centre = cb_objective_centre_of(o, &o->object_centring, o->object_centre),
        .student_temperature = (cb_real)o->config.object_student_temperature,
        .teacher_temperature = (cb_real)o->now.object_teacher_temperature,
        .rows = 2 * micro->objects,
        .x = x.value + after_cls,
        .targets = scratch->targets,
        .teacher_rows = micro->teacher_objects,
        .teacher_x = micro->object_rows,
        .dx = x.gradient + after_cls,
        .du = accumulator(o, &o->student.heads->objects),
        .signs = &o->tally.object_signs,
    };
    cb_prototype_loss(o->runtime->pool, &job, &scratch->workspace);
    o->tally.cross_view += job.loss[0];
    o->tally.cross_image += job.loss[1];
}

/*
 * A masked patch's target is the teacher's distribution of the same patch. The weight of a patch is that of
 * an image over its view's masked patches.
 */
static void set_masked_targets(
    const cb_targets *t, const cb_micro_batch *micro, cb_row_targets *targets, double weight)
{
    uint32_t row = 0;
    for (size_t view = 2 * micro->first; view < 2 * (micro->first + micro->images); view++)
        for (int64_t i = 0; i < t->masked[view]; i++, row++)
            targets[row] =
                (cb_row_targets){{row, CB_NO_ROW}, {(cb_real)(weight / (double)t->masked[view]), 0}};
}

static void learn_masked(
    cb_objective *o, const cb_micro_batch *micro, cb_tensor x, const loss_scratch *scratch)
{
    const cb_targets *t = &o->targets;
    set_masked_targets(t, micro, scratch->targets, masked_weight_of(o, micro));
    size_t before = (x.rows - micro->masked) * x.columns;
    cb_prototype_job job = {
        .student = &o->student.cls,
        .teacher = &o->teacher.cls,
        .centre = cb_objective_centre_of(o, &o->masked_centring, o->masked_centre),
        .student_temperature = (cb_real)o->config.student_temperature,
        .teacher_temperature = (cb_real)o->now.teacher_temperature,
        .rows = micro->masked,
        .x = x.value + before,
        .targets = scratch->targets,
        .teacher_rows = micro->masked,
        .teacher_x = t->masked_row + micro->first_masked * x.columns,
        .dx = x.gradient + before,
        .du = accumulator(o, &o->student.heads->cls),
    };
    cb_prototype_loss(o->runtime->pool, &job, &scratch->workspace);
    o->tally.masked += job.loss[0];
}

void cb_objective_learn(cb_objective *o, size_t m, cb_tape *tape, cb_tensor tokens)
{
    const cb_micro_batch *micro = &o->targets.micro[m];
    cb_tensor rows = cb_op_pool(tape, tokens, &micro->pooling);
    cb_objective_learn_koleo(o, micro, tape, rows);
    cb_tensor x = cb_heads_forward(o->student.heads, tape, rows);
    size_t neighbours = micro->teacher_objects - 2 * micro->objects;
    loss_scratch scratch =
        take_scratch(o, tape->arena, micro->images, micro->objects, neighbours, micro->masked);
    learn_cls(o, micro, x, &scratch);
    learn_objects(o, micro, x, &scratch);
    if (micro->masked) learn_masked(o, micro, x, &scratch);
}

void cb_objective_plan_learn(const cb_objective *o, cb_tape *tape, cb_tensor tokens)
{
    size_t b = o->sizes.micro_images, objects = b * o->sizes.clusters, masked = 2 * b * o->sizes.masked;
    cb_pooling pooling = {.rows = 2 * b + 2 * objects + masked};
    cb_tensor rows = cb_op_pool(tape, tokens, &pooling);
    cb_objective_plan_koleo(o, tape, rows);
    cb_heads_forward(o->student.heads, tape, rows);
    take_scratch(o, tape->arena, b, objects, 2 * objects, masked);
}

static void clear_signs(cb_prototype_signs *signs)
{
    signs->entropy = 0;
    signs->rows = 0;
}

static void clear_tally(cb_tally *tally)
{
    tally->global = tally->cross_view = tally->cross_image = tally->gram = tally->masked = tally->local = 0;
    clear_signs(&tally->cls_signs);
    clear_signs(&tally->object_signs);
}

void cb_objective_begin_learning(cb_objective *o)
{
    cb_pool *pool = o->runtime->pool;
    clear_tally(&o->tally);
    o->tally.koleo = 0;
    memset(o->tally.cls_signs.used, 0, o->student.cls.count);
    memset(o->tally.object_signs.used, 0, o->student.objects.count);
    cb_prototypes_refresh(pool, &o->student.cls);
    cb_prototypes_refresh(pool, &o->student.objects);
    cb_prototypes_refresh(pool, &o->teacher.cls);
    cb_prototypes_refresh(pool, &o->teacher.objects);
}

void cb_objective_sums(const cb_objective *o, cb_sum_array arrays[CB_OBJECTIVE_SUMS])
{
    arrays[0] = (cb_sum_array){o->tally.cls_signs.mean, o->student.cls.count};
    arrays[1] = (cb_sum_array){o->tally.object_signs.mean, o->student.objects.count};
    arrays[2] = (cb_sum_array){o->means, cb_objective_kinds(o) * o->sizes.bottleneck};
}

static void add_rows(cb_real *sum, const cb_real *x, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++) cb_rows()->add_scaled(sum, x + r * width, 1, width);
}

/* The teacher's bottlenecks, for the centres; neighbours are not included. */
static void sum_bottlenecks(cb_objective *o, size_t leaf)
{
    size_t e = o->sizes.bottleneck;
    for (size_t m = 0; m < o->targets.micro_batches; m++) {
        const cb_micro_batch *micro = &o->targets.micro[m];
        if (micro->leaf != leaf) continue;
        add_rows(o->means, micro->cls, 2 * micro->images, e);
        add_rows(o->means + e, micro->object_rows, 2 * micro->objects, e);
        if (micro->masked)
            add_rows(o->means + 2 * e, o->targets.masked_row + micro->first_masked * e, micro->masked, e);
    }
}

static void finish_last_layers(cb_objective *o)
{
    const cb_heads *heads = o->student.heads;
    cb_pool *pool = o->runtime->pool;
    if (o->now.last_layer_frozen) return;
    cb_prototypes_weight_gradient(
        pool, &o->student.cls, heads->cls.direction.gradient, heads->cls.gain.gradient);
    cb_prototypes_weight_gradient(
        pool, &o->student.objects, heads->objects.direction.gradient, heads->objects.gain.gradient);
}

void cb_objective_end_leaf(cb_objective *o, size_t leaf)
{
    const cb_tally *tally = &o->tally;
    finish_last_layers(o);
    sum_bottlenecks(o, leaf);
    o->leaf[o->sizes.rank * (o->sizes.shards / o->sizes.ranks) + leaf] =
        (cb_leaf_tally){tally->global, tally->cross_view, tally->cross_image, tally->gram, tally->masked,
            tally->local, tally->cls_signs.entropy, tally->object_signs.entropy,
            (int64_t)tally->cls_signs.rows, (int64_t)tally->object_signs.rows};
    clear_tally(&o->tally);
}

static void add_leaf(cb_tally *tally, const cb_leaf_tally *leaf)
{
    tally->global += leaf->global;
    tally->cross_view += leaf->cross_view;
    tally->cross_image += leaf->cross_image;
    tally->gram += leaf->gram;
    tally->masked += leaf->masked;
    tally->local += leaf->local;
    tally->cls_signs.entropy += leaf->cls_entropy;
    tally->object_signs.entropy += leaf->object_entropy;
    tally->cls_signs.rows += (size_t)leaf->cls_rows;
    tally->object_signs.rows += (size_t)leaf->object_rows;
}

cribo_status cb_objective_finish_learning(cb_objective *o)
{
    CB_TRY(cb_objective_exchange_tallies(o));
    for (size_t s = 0; s < o->sizes.shards; s++) add_leaf(&o->tally, &o->leaf[s]);
    return CRIBO_OK;
}

cribo_status cb_objective_check_losses(const cb_objective *o)
{
    const cb_tally *t = &o->tally;
    const char *const names[] = {
        "global", "object cross-view", "object cross-image", "KoLeo", "Gram", "masked-patch", "local-crop"};
    const double losses[] = {
        t->global, t->cross_view, t->cross_image, t->koleo, t->gram, t->masked, t->local};
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++)
        if (!isfinite(losses[i]))
            return cb_fail(CRIBO_NOT_FINITE, "the %s loss is %g at step %lld", names[i], losses[i],
                (long long)o->step + 1);
    return CRIBO_OK;
}
