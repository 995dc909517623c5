/*
 * Update: gradients are measured first, since they are the last thing that can fail; then all state moves:
 * the centres (by the teacher that taught), student and teacher, the bank, the step count.
 */
#include "training/trainer.h"

#include "base/clock.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

static cribo_status check_gradients(const cb_trainer *trainer, double norm)
{
    if (isfinite(norm)) return CRIBO_OK;
    const cb_parameters *parameters = &trainer->student->parameters;
    for (size_t p = 0; p < parameters->count; p++)
        if (!isfinite(trainer->optimiser.norms[p]))
            return cb_fail(CRIBO_NOT_FINITE, "the gradient of %s is not finite at step %lld",
                parameters->list[p].name, (long long)trainer->step);
    return cb_fail(
        CRIBO_NOT_FINITE, "the gradient's norm is not finite at step %lld", (long long)trainer->step);
}

/* Adds `rows` rows of x to sum; returns how many. */
static size_t add_rows(cb_real *sum, const cb_real *x, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++) cb_rows()->add_scaled(sum, x + r * width, 1, width);
    return rows;
}

/* centre ← m centre + (1 − m) mean of the teacher's logits; neighbours do not take part. */
static void move_centres(cb_trainer *trainer)
{
    const cb_step_targets *t = &trainer->targets;
    size_t e = (size_t)trainer->config.head_bottleneck, cls_rows = 0, object_rows = 0;
    cb_tape tape = cb_trainer_begin_pass(trainer, false);
    cb_real *cls = cb_tape_tensor(&tape, 2, e, false).value, *objects = cls + e;
    memset(cls, 0, 2 * e * sizeof *cls);
    for (size_t m = 0; m < t->micro_batches; m++) {
        cls_rows += add_rows(cls, t->micro[m].cls, 2 * t->micro[m].images, e);
        object_rows += add_rows(objects, t->micro[m].objects_rows, 2 * t->micro[m].objects, e);
    }
    cb_real momentum = (cb_real)trainer->config.centre_momentum;
    cb_rows()->scale(cls, cls, (cb_real)(1 / (double)cls_rows), e);
    cb_prototypes_move_centre(tape.pool, &trainer->teacher_layers.cls, cls, momentum, trainer->centre);
    if (object_rows == 0) return;
    cb_rows()->scale(objects, objects, (cb_real)(1 / (double)object_rows), e);
    cb_prototypes_move_centre(
        tape.pool, &trainer->teacher_layers.objects, objects, momentum, trainer->object_centre);
}

static void remember_objects(cb_trainer *trainer)
{
    cb_objects objects = cb_targets_objects(&trainer->targets);
    if (!cb_wants_neighbours(&trainer->config)) return;
    cb_memory_bank_push(trainer->bank, &objects);
}

/* --- the report --- */

/*
 * Standard deviation over the batch of the L2-normalised [CLS] features, averaged over their numbers, times
 * √D.
 */
static double feature_deviation(cb_trainer *trainer)
{
    const cb_step_targets *t = &trainer->targets;
    size_t d = (size_t)trainer->config.width, rows = 2 * t->images;
    double deviation = 0;
    for (size_t r = 0; r < rows; r++) cb_normalise_row(t->cls + r * d, t->cls + r * d, d);
    for (size_t j = 0; j < d; j++) {
        double sum = 0, squares = 0;
        for (size_t r = 0; r < rows; r++) {
            double x = t->cls[r * d + j];
            sum += x;
            squares += x * x;
        }
        double mean = sum / (double)rows;
        deviation += sqrt(fmax(0, squares / (double)rows - mean * mean));
    }
    return deviation / sqrt((double)d);
}

/* Entropy in nats of the mean of the rows whose distributions were summed up. */
static double mean_entropy(const cb_prototype_signs *signs, size_t prototypes)
{
    double entropy = 0;
    for (size_t p = 0; p < prototypes && signs->rows > 0; p++) {
        double share = signs->mean[p] / (double)signs->rows;
        if (share > 0) entropy -= share * log(share);
    }
    return entropy;
}

static double used_share(const cb_prototype_signs *signs, size_t prototypes)
{
    size_t used = 0, possible = signs->rows < prototypes ? signs->rows : prototypes;
    for (size_t p = 0; p < prototypes; p++) used += signs->used[p];
    return possible ? (double)used / (double)possible : 0;
}

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

static void fill_report(cb_trainer *trainer, double gradient_norm, cribo_report *report)
{
    const cb_step_targets *t = &trainer->targets;
    const cb_schedule_values *now = &trainer->now;
    const cb_tally *tally = &trainer->tally;
    size_t prototypes = trainer->student_layers.cls.count;
    *report = (cribo_report){
        .struct_size = sizeof *report,
        .step = trainer->step,
        .epoch = now->epoch,
        .images = (int64_t)t->images,
        .loss = tally->global + tally->cross_view + tally->cross_image,
        .global_loss = tally->global,
        .cross_view_loss = tally->cross_view,
        .cross_image_loss = tally->cross_image,
        .gradient_norm = gradient_norm,
        .learning_rate = now->learning_rate,
        .weight_decay = now->weight_decay,
        .ema_momentum = now->ema_momentum,
        .teacher_temperature = now->teacher_temperature,
        .object_teacher_temperature = now->object_teacher_temperature,
        .position_weight = now->position_weight,
        .objects_per_image = share((double)t->objects, (double)t->images),
        .matched_share = share((double)(t->matches[0] + t->matches[1]), 2 * (double)t->objects),
        .cross_image_on = t->cross_image,
        .bank_fill = share(
            (double)cb_memory_bank_images(trainer->bank), (double)cb_memory_bank_capacity(trainer->bank)),
        .uniform_loss = log((double)prototypes),
        .teacher_entropy = share(tally->cls_signs.entropy, (double)tally->cls_signs.rows),
        .mean_teacher_entropy = mean_entropy(&tally->cls_signs, prototypes),
        .prototypes_used = used_share(&tally->object_signs, trainer->student_layers.objects.count),
        .feature_deviation = feature_deviation(trainer),
        .teach_ms = tally->teach_ms,
        .cluster_ms = tally->cluster_ms,
        .match_ms = tally->match_ms,
        .learn_ms = tally->learn_ms,
    };
}

cribo_status cb_train_update(cb_trainer *trainer, cribo_report *report)
{
    double start = cb_clock_ms();
    const cb_schedule_values *now = &trainer->now;
    cb_pool *pool = trainer->runtime->pool;
    CB_TRY(cb_progress(trainer->runtime, "update", 0));
    double norm = cb_optimiser_measure(&trainer->optimiser, pool, now->last_layer_frozen);
    CB_TRY(check_gradients(trainer, norm));

    move_centres(trainer);
    cb_optimiser_update(&trainer->optimiser, pool,
        &(cb_optimiser_step){now->learning_rate, now->weight_decay, now->ema_momentum,
            trainer->config.clip_norm, trainer->config.clip_per_tensor != 0, now->last_layer_frozen});
    remember_objects(trainer);
    cribo_report done;
    fill_report(trainer, norm, &done);
    trainer->step++;
    trainer->phase = CB_PHASE_IDLE;
    done.update_ms = cb_clock_ms() - start;
    cb_collapse_look(&trainer->collapse, trainer->runtime, &done);
    if (report) *report = done;
    return CRIBO_OK;
}

static cribo_status take_phases(cb_trainer *trainer, const cribo_batch *batch, cribo_report *report)
{
    CB_TRY(cb_train_teach(trainer, batch));
    CB_TRY(cb_train_learn(trainer, batch));
    return cb_train_update(trainer, report);
}

cribo_status cb_train_step(cb_trainer *trainer, const cribo_batch *batch, cribo_report *report)
{
    cribo_status status = take_phases(trainer, batch, report);
    if (status != CRIBO_OK) trainer->phase = CB_PHASE_IDLE; /* the step that failed is not under way */
    return status;
}
