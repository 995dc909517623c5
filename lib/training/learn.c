/*
 * Learn: the student's forward and backward pass, micro-batch by micro-batch, against the targets that teach
 * left. The losses' weights (1/B, 1/R, 1/Z_1, 1/Z_2) are those of the whole batch, so the sum of the
 * micro-batches' gradients is the batch's gradient.
 */
#include "training/trainer.h"

#include "base/clock.h"
#include "base/random.h"

#include <math.h>
#include <string.h>

cb_tensor cb_student_forward(const cb_trainer *trainer, cb_tape *tape, const cb_images *images,
    const cb_pooling *pooling, const cb_real *keep)
{
    cb_tensor z =
        cb_backbone_forward(&trainer->student->backbone, tape, images, &(cb_forward_options){.keep = keep});
    return cb_heads_forward(&trainer->student->heads, tape, cb_op_pool(tape, z, pooling));
}

/*
 * Stochastic depth (Huang et al. 2016): branch l of L is dropped with probability drop_path · l / (L − 1),
 * for each view of each image on its own, by numbers that belong to (seed, step, image). keep [L, 2, 2 b];
 * NULL when nothing is ever dropped.
 */
static const cb_real *draw_depth(const cb_trainer *trainer, cb_tape *tape, const cb_micro_batch *micro)
{
    size_t depth = (size_t)trainer->config.depth, views = 2 * micro->images;
    cb_real *keep = cb_arena_take(tape->arena, depth * 2 * views, sizeof *keep);
    if (!(trainer->config.drop_path > 0) || depth == 1) return NULL;
    for (size_t i = 0; i < micro->images; i++) {
        cb_random random = cb_random_begin((uint64_t)trainer->config.seed, CB_PURPOSE_DROP_PATH,
            (uint64_t)trainer->step, (uint64_t)trainer->targets.keys[micro->first + i]);
        for (size_t branch = 0; branch < 2 * depth; branch++) {
            double drop = trainer->config.drop_path * (double)(branch / 2) / (double)(depth - 1);
            for (size_t v = 0; v < 2; v++)
                keep[branch * views + 2 * i + v] =
                    cb_random_uniform(&random) < drop ? 0 : (cb_real)(1 / (1 - drop));
        }
    }
    return keep;
}

/* [CLS] of one view is taught by [CLS] of the other. */
static void set_cls_targets(cb_row_targets *targets, size_t images, const cb_loss_weights *weights)
{
    for (uint32_t row = 0; row < 2 * images; row++)
        targets[row] = (cb_row_targets){{row ^ 1, CB_NO_ROW}, {(cb_real)weights->global, 0}};
}

/*
 * An object in one view is taught by the same object in the other, and by the neighbour of that one where it
 * passed the cycle test. Rows: objects of view 1, of view 2; among the teacher's also the matched neighbours,
 * view 1's first.
 */
static void set_object_targets(const cb_trainer *trainer, const cb_micro_batch *micro,
    cb_row_targets *targets, const cb_loss_weights *weights)
{
    const cb_step_targets *t = &trainer->targets;
    uint32_t objects = (uint32_t)micro->objects, neighbour = 2 * objects;
    for (uint32_t from = 0; from < 2; from++)
        for (uint32_t r = 0; r < objects; r++) {
            cb_row_targets *row = &targets[(1 - from) * objects + r];
            bool matched = t->cross_image && t->match[from][micro->first_object + r];
            row->row[0] = from * objects + r;
            row->weight[0] = (cb_real)weights->cross_view;
            row->row[1] = matched ? neighbour++ : CB_NO_ROW;
            row->weight[1] = (cb_real)weights->cross_image[from];
        }
}

/* What each row's terms count: its normaliser, times its loss's weight in the sum of the three. */
static cb_loss_weights weights_of(const cb_trainer *trainer)
{
    const cb_step_targets *t = &trainer->targets;
    const cribo_trainer_config *c = &trainer->config;
    cb_loss_weights weights = cb_loss_weights_of(
        c->authors_normalisation != 0, t->images, t->objects, t->matches[0], t->matches[1]);
    weights.global *= c->global_weight;
    weights.cross_view *= c->cross_view_weight;
    for (int v = 0; v < 2; v++) weights.cross_image[v] *= c->cross_image_weight;
    return weights;
}

/* What a last layer adds up its gradient in: NULL while it rests. */
static cb_real *accumulator(const cb_trainer *trainer, const cb_last_layer *layer)
{
    return trainer->now.last_layer_frozen ? NULL : layer->direction.gradient;
}

static void lose_cls(
    cb_trainer *trainer, const cb_micro_batch *micro, cb_tensor x, const cb_loss_scratch *scratch)
{
    cb_loss_weights weights = weights_of(trainer);
    set_cls_targets(scratch->targets, micro->images, &weights);
    cb_prototype_job job = {
        .student = &trainer->student_layers.cls,
        .teacher = &trainer->teacher_layers.cls,
        .centre = trainer->centre,
        .student_temperature = (cb_real)trainer->config.student_temperature,
        .teacher_temperature = (cb_real)trainer->now.teacher_temperature,
        .rows = 2 * micro->images,
        .x = x.value,
        .targets = scratch->targets,
        .teacher_rows = 2 * micro->images,
        .teacher_x = micro->cls,
        .dx = x.gradient,
        .du = accumulator(trainer, &trainer->student->heads.cls),
        .signs = &trainer->tally.cls_signs,
    };
    cb_prototype_loss(trainer->runtime->pool, &job, &scratch->workspace);
    trainer->tally.global += job.loss[0];
}

static void lose_objects(
    cb_trainer *trainer, const cb_micro_batch *micro, cb_tensor x, const cb_loss_scratch *scratch)
{
    cb_loss_weights weights = weights_of(trainer);
    set_object_targets(trainer, micro, scratch->targets, &weights);
    size_t after_cls = 2 * micro->images * x.columns;
    cb_prototype_job job = {
        .student = &trainer->student_layers.objects,
        .teacher = &trainer->teacher_layers.objects,
        .centre = trainer->object_centre,
        .student_temperature = (cb_real)trainer->config.object_student_temperature,
        .teacher_temperature = (cb_real)trainer->now.object_teacher_temperature,
        .rows = 2 * micro->objects,
        .x = x.value + after_cls,
        .targets = scratch->targets,
        .teacher_rows = micro->teacher_objects,
        .teacher_x = micro->objects_rows,
        .dx = x.gradient + after_cls,
        .du = accumulator(trainer, &trainer->student->heads.objects),
        .signs = &trainer->tally.object_signs,
    };
    cb_prototype_loss(trainer->runtime->pool, &job, &scratch->workspace);
    trainer->tally.cross_view += job.loss[0];
    trainer->tally.cross_image += job.loss[1];
}

static void learn_micro_batch(cb_trainer *trainer, const cribo_batch *batch, const cb_micro_batch *micro)
{
    cb_tape tape = cb_trainer_begin_pass(trainer, true);
    const cb_real *keep = draw_depth(trainer, &tape, micro);
    cb_images images = cb_batch_images(trainer, batch, micro->first, micro->images);
    cb_tensor x = cb_student_forward(trainer, &tape, &images, &micro->pooling, keep);
    size_t neighbours = micro->teacher_objects - 2 * micro->objects;
    cb_loss_scratch scratch =
        cb_loss_scratch_take(trainer, tape.arena, micro->images, micro->objects, neighbours);
    lose_cls(trainer, micro, x, &scratch);
    lose_objects(trainer, micro, x, &scratch);
    cb_tape_backward(&tape);
}

static void clear_signs(cb_prototype_signs *signs, size_t prototypes)
{
    memset(signs->mean, 0, prototypes * sizeof *signs->mean);
    memset(signs->used, 0, prototypes);
    signs->entropy = 0;
    signs->rows = 0;
}

static void clear_gradients(void *context, size_t part, size_t worker)
{
    const cb_trainer *trainer = context;
    const cb_parameters *parameters = &trainer->student->parameters;
    cb_pool *pool = trainer->runtime->pool;
    cb_range some = cb_part(parameters->total, part, cb_pool_parts(pool, parameters->total), 1);
    (void)worker;
    memset(parameters->gradients + some.begin, 0, (some.end - some.begin) * sizeof(cb_real));
}

static void begin_tally(cb_trainer *trainer)
{
    cb_pool_run(trainer->runtime->pool,
        cb_pool_parts(trainer->runtime->pool, trainer->student->parameters.total), clear_gradients, trainer);
    trainer->tally.global = trainer->tally.cross_view = trainer->tally.cross_image = 0;
    clear_signs(&trainer->tally.cls_signs, trainer->student_layers.cls.count);
    clear_signs(&trainer->tally.object_signs, trainer->student_layers.objects.count);
    cb_pool *pool = trainer->runtime->pool;
    cb_prototypes_refresh(pool, &trainer->student_layers.cls);
    cb_prototypes_refresh(pool, &trainer->student_layers.objects);
    cb_prototypes_refresh(pool, &trainer->teacher_layers.cls);
    cb_prototypes_refresh(pool, &trainer->teacher_layers.objects);
}

static cribo_status check_losses(const cb_trainer *trainer)
{
    const char *const names[3] = {"global", "object cross-view", "object cross-image"};
    const double losses[3] = {trainer->tally.global, trainer->tally.cross_view, trainer->tally.cross_image};
    for (int i = 0; i < 3; i++)
        if (!isfinite(losses[i]))
            return cb_fail(CRIBO_NOT_FINITE, "the %s loss is %g at step %lld", names[i], losses[i],
                (long long)trainer->step);
    return CRIBO_OK;
}

cribo_status cb_train_learn(cb_trainer *trainer, const cribo_batch *batch)
{
    double start = cb_clock_ms();
    size_t count = trainer->targets.micro_batches;
    trainer->phase = CB_PHASE_TAUGHT;
    begin_tally(trainer);
    for (size_t m = 0; m < count; m++) {
        CB_TRY(cb_progress(trainer->runtime, "learn", (double)m / (double)count));
        learn_micro_batch(trainer, batch, &trainer->targets.micro[m]);
        CB_TRY(check_losses(trainer));
    }
    if (!trainer->now.last_layer_frozen) {
        const cb_heads *heads = &trainer->student->heads;
        cb_pool *pool = trainer->runtime->pool;
        cb_prototypes_weight_gradient(
            pool, &trainer->student_layers.cls, heads->cls.direction.gradient, heads->cls.gain.gradient);
        cb_prototypes_weight_gradient(pool, &trainer->student_layers.objects,
            heads->objects.direction.gradient, heads->objects.gain.gradient);
    }
    trainer->phase = CB_PHASE_LEARNED;
    trainer->tally.learn_ms = cb_clock_ms() - start;
    return CRIBO_OK;
}
