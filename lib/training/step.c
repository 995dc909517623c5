/*
 * A trainer's step:
 *
 *   teach   views → teacher → tokens → clusters → objects → neighbours → targets
 *   learn   views, with masked patches → student → tokens → objects → heads → losses ← targets, and back,
 *           micro-batch by micro-batch
 *   update  clipping, AdamW, the teacher, centres, memory bank, step count, report
 */
#include "training/step.h"

#include "base/clock.h"
#include "objective/anchor.h"
#include "objective/koleo.h"
#include "objective/local.h"
#include "tensor/rows.h"
#include "training/batch_digest.h"
#include "training/networks.h"
#include "training/state.h"

#include <math.h>
#include <string.h>

static cb_images images_of(const cb_trainer *trainer, const cribo_batch *batch, const cb_micro_batch *micro)
{
    size_t first = micro->first - trainer->learner.objective->targets.own.first;
    return cb_batch_images(batch, (size_t)trainer->config.image_size, first, micro->images);
}

/* --- teach --- */

/* Steps since Gram anchoring began; below 0: it has not begun. */
static int64_t anchored_steps(const cb_trainer *trainer)
{
    return trainer->anchor ? trainer->learner.step - trainer->config.gram_start_steps : -1;
}

/* Whether the anchor is the teacher as it is in this step. */
static bool renews_anchor(const cb_trainer *trainer)
{
    int64_t steps = anchored_steps(trainer), every = trainer->config.gram_refresh_steps;
    return steps == 0 || (steps > 0 && every > 0 && steps % every == 0);
}

static cribo_status begin_step(cb_trainer *trainer, const cribo_batch *batch)
{
    float *positions;
    CB_TRY(cb_learner_begin(
        &trainer->learner, (size_t)batch->images, batch->ids, batch->seed_tokens, NULL, &positions));
    CB_TRY(cb_state_compare(&trainer->learner));
    cb_batch_positions(
        batch, &trainer->learner.objective->layout, (size_t)trainer->config.patch_size, positions);
    trainer->learner.heads_only = trainer->learner.step < trainer->config.heads_only_steps;
    trainer->learner.renews_anchor = renews_anchor(trainer);
    return CRIBO_OK;
}

static cb_tensor trunk_of(const cb_trainer *trainer, const cb_micro_batch *micro)
{
    return cb_trainer_trunk(trainer, micro->first, micro->images);
}

/* The outputs of the frozen blocks for one micro-batch, for teacher and student. */
static void compute_trunk(cb_trainer *trainer, const cribo_batch *batch, const cb_micro_batch *micro)
{
    cb_images images = images_of(trainer, batch, micro);
    cb_tape tape = cb_pass_begin(&trainer->learner.pass, false);
    cb_tensor x = cb_backbone_trunk(&trainer->student->backbone, &tape, &images);
    memcpy(trunk_of(trainer, micro).value, x.value, x.rows * x.columns * sizeof *x.value);
}

/* The teacher's tokens of one micro-batch, passed to the objective. */
static cribo_status observe(cb_trainer *trainer, const cribo_batch *batch, size_t m)
{
    cb_objective *objective = trainer->learner.objective;
    const cb_micro_batch *micro = &objective->targets.micro[m];
    cb_images images = images_of(trainer, batch, micro);
    if (trainer->trunk) compute_trunk(trainer, batch, micro);
    cb_tensor trunk = trunk_of(trainer, micro);
    cb_tape tape = cb_pass_begin(&trainer->learner.pass, false);
    cb_tensor tokens = cb_backbone_forward(
        &trainer->teacher->backbone, &tape, &images, &(cb_forward_options){.trunk = &trunk});
    if (!isfinite(cb_rows()->sum_squares(tokens.value, tokens.rows * tokens.columns)))
        return cb_fail(CRIBO_NOT_FINITE, "the teacher's tokens are not finite at step %lld",
            (long long)trainer->learner.step + 1);
    cb_objective_observe(objective, m, tokens.value);
    return CRIBO_OK;
}

static cribo_status observe_all(cb_trainer *trainer, const cribo_batch *batch)
{
    size_t count = trainer->learner.objective->targets.micro_batches;
    for (size_t m = 0; m < count; m++) {
        CB_TRY(cb_progress(trainer->runtime, "teach", (double)m / (double)count));
        CB_TRY(observe(trainer, batch, m));
    }
    return CRIBO_OK;
}

cribo_status cb_train_teach(cb_trainer *trainer, const cribo_batch *batch)
{
    CB_TRY(begin_step(trainer, batch));
    return cb_learner_end_teaching(&trainer->learner, observe_all(trainer, batch));
}

/* --- learn --- */

static const cb_real *draw_depth(
    const cb_trainer *trainer, cb_tape *tape, const cb_micro_batch *micro, cb_purpose purpose, size_t views)
{
    const cb_depth_draw draw = {.purpose = purpose,
        .depth = (size_t)trainer->config.depth,
        .images = micro->images,
        .views = views,
        .drop_path = trainer->config.drop_path,
        .seed = trainer->config.seed,
        .step = trainer->learner.step,
        .keys = trainer->learner.objective->targets.keys + micro->first};
    return cb_draw_depth(&draw, tape->arena);
}

static cb_tensor student_tokens(
    cb_trainer *trainer, cb_tape *tape, const cribo_batch *batch, const cb_micro_batch *micro)
{
    cb_images images = images_of(trainer, batch, micro);
    cb_tensor trunk = trunk_of(trainer, micro);
    const cb_targets *targets = &trainer->learner.objective->targets;
    size_t views = 2 * micro->first, patches = trainer->learner.objective->sizes.tokens;
    const cb_forward_options options = {.keep = draw_depth(trainer, tape, micro, CB_PURPOSE_DROP_PATH, 2),
        .trunk = &trunk,
        .mask = targets->mask ? targets->mask + views * patches : NULL};
    return cb_backbone_forward(&trainer->student->backbone, tape, &images, &options);
}

static cribo_status collect_all(cb_trainer *trainer, const cribo_batch *batch)
{
    cb_objective *objective = trainer->learner.objective;
    for (size_t m = 0; m < objective->targets.micro_batches; m++) {
        CB_TRY(cb_progress(trainer->runtime, "learn", 0));
        cb_tape tape = cb_pass_begin(&trainer->learner.pass, false);
        cb_objective_collect(
            objective, m, &tape, student_tokens(trainer, &tape, batch, &objective->targets.micro[m]));
    }
    return CRIBO_OK;
}

/*
 * KoLeo compares the vectors of the whole batch: with several micro-batches they take a forward pass first.
 */
static cribo_status collect(cb_trainer *trainer, const cribo_batch *batch)
{
    if (!cb_objective_collects(trainer->learner.objective)) return CRIBO_OK;
    return cb_learner_end_collecting(&trainer->learner, collect_all(trainer, batch));
}

/* The tokens of a micro-batch that Gram anchoring compares the student's with. */
static void compute_anchor(cb_trainer *trainer, const cribo_batch *batch, const cb_micro_batch *micro)
{
    const cb_model *anchor = trainer->learner.renews_anchor ? trainer->teacher : trainer->anchor;
    cb_images images = images_of(trainer, batch, micro);
    cb_tensor trunk = trunk_of(trainer, micro);
    cb_tape tape = cb_pass_begin(&trainer->learner.pass, false);
    cb_tensor tokens =
        cb_backbone_forward(&anchor->backbone, &tape, &images, &(cb_forward_options){.trunk = &trunk});
    memcpy(trainer->anchor_tokens, tokens.value, tokens.rows * tokens.columns * sizeof *tokens.value);
}

/* Whether a micro-batch has local crops, which take a pass of their own after that of the views. */
static bool learns_local(const cb_trainer *trainer)
{
    return trainer->config.local_crops > 0 && trainer->config.local_weight > 0;
}

static bool is_last(const cb_trainer *trainer, size_t m)
{
    return m + 1 == trainer->learner.objective->targets.micro_batches;
}

static cribo_status learn_micro_batch(cb_trainer *trainer, const cribo_batch *batch, size_t m)
{
    cb_objective *objective = trainer->learner.objective;
    const cb_micro_batch *micro = &objective->targets.micro[m];
    const bool anchored = anchored_steps(trainer) >= 0;
    if (anchored) compute_anchor(trainer, batch, micro);
    cb_tape tape = cb_pass_begin(&trainer->learner.pass, true);
    tape.training = !trainer->learner.heads_only; /* then the backbone's pass is not recorded */
    cb_tensor tokens = student_tokens(trainer, &tape, batch, micro);
    tape.training = true;
    if (anchored)
        cb_objective_anchor(objective, &tape, tokens, trainer->anchor_tokens, trainer->config.gram_weight);
    cb_learner_learn(&trainer->learner, m, &tape, tokens);
    return cb_learner_backward(&trainer->learner, m, &tape, is_last(trainer, m) && !learns_local(trainer));
}

static cribo_status learn_local(cb_trainer *trainer, const cribo_batch *batch, size_t m)
{
    cb_objective *objective = trainer->learner.objective;
    const cb_micro_batch *micro = &objective->targets.micro[m];
    size_t crops = (size_t)trainer->config.local_crops, side = (size_t)trainer->config.local_size;
    if (!learns_local(trainer)) return CRIBO_OK;
    cb_images images =
        cb_batch_local_crops(batch, crops, side, micro->first - objective->targets.own.first, micro->images);
    cb_tape tape = cb_pass_begin(&trainer->learner.pass, true);
    const cb_forward_options options = {
        .keep = draw_depth(trainer, &tape, micro, CB_PURPOSE_LOCAL_DROP_PATH, crops)};
    tape.training = !trainer->learner.heads_only;
    const cb_local_tokens local = {
        .tokens = cb_backbone_forward(&trainer->student->backbone, &tape, &images, &options),
        .layout = cb_backbone_layout(&trainer->student->backbone, side, side),
        .crops = crops};
    tape.training = true;
    cb_objective_learn_local(objective, m, &tape, &local, trainer->config.local_weight);
    return cb_learner_backward(&trainer->learner, m, &tape, is_last(trainer, m));
}

static cribo_status learn_all(cb_trainer *trainer, const cribo_batch *batch)
{
    size_t count = trainer->learner.objective->targets.micro_batches;
    CB_TRY(collect(trainer, batch));
    for (size_t m = 0; m < count; m++) {
        CB_TRY(cb_progress(trainer->runtime, "learn", (double)m / (double)count));
        CB_TRY(learn_micro_batch(trainer, batch, m));
        CB_TRY(learn_local(trainer, batch, m));
    }
    return CRIBO_OK;
}

cribo_status cb_train_learn(cb_trainer *trainer, const cribo_batch *batch)
{
    double start = cb_clock_ms();
    cb_learner_begin_learning(&trainer->learner);
    cribo_status status = cb_learner_end_learning(&trainer->learner, learn_all(trainer, batch));
    trainer->learner.learn_ms = cb_clock_ms() - start;
    return status;
}

/* --- the same batch --- */

static void digest_batch(const cb_trainer *trainer, const cribo_batch *batch, uint64_t *digests)
{
    size_t side = (size_t)trainer->config.image_size, local = (size_t)trainer->config.local_size;
    const cb_batch_sizes sizes = {.view = 3 * side * side,
        .local = (size_t)trainer->config.local_crops * 3 * local * local,
        .positions = 4 * trainer->learner.objective->sizes.tokens};
    cb_batch_digest(trainer->runtime->pool, batch, &sizes, digests);
}

void cb_train_note_batch(cb_trainer *trainer, const cribo_batch *batch)
{
    digest_batch(trainer, batch, trainer->digests);
}

cribo_status cb_train_check_batch(cb_trainer *trainer, const cribo_batch *batch)
{
    size_t images = trainer->learner.objective->targets.own.images;
    uint64_t *seen = trainer->digests, *given = seen + trainer->config.batch_size;
    CB_REQUIRE((size_t)batch->images == images,
        "batch.images = %lld, but cribo_trainer_teach saw %zu: learn takes the same batch",
        (long long)batch->images, images);
    digest_batch(trainer, batch, given);
    for (size_t i = 0; i < images; i++)
        CB_REQUIRE(given[i] == seen[i],
            "batch: pixels, crops, positions or id of image %zu are not those that cribo_trainer_teach saw: "
            "learn takes the same batch",
            i);
    return CRIBO_OK;
}

/* --- update, and all three --- */

cribo_status cb_train_update(cb_trainer *trainer, cribo_report *report)
{
    return cb_learner_update(&trainer->learner, report);
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
    if (status != CRIBO_OK) cb_learner_forget(&trainer->learner); /* a failed step has ended */
    return status;
}
