/* Making a trainer: its networks, its learner, and the plan of its passes. See trainer.h. */
#include "training/trainer.h"

#include "communication/meeting.h"
#include "objective/anchor.h"
#include "objective/koleo.h"
#include "objective/learn.h"
#include "objective/local.h"
#include "objective/project.h"
#include "tensor/gemm.h"
#include "training/schedule.h"
#include "training/settings.h"

static cribo_status check_masking(const cribo_trainer_config *c)
{
    if (!(c->masked_weight > 0)) return CRIBO_OK;
    CB_REQUIRE(c->masked_share_min <= c->masked_share_max,
        "masked_share_min = %g must be at most masked_share_max = %g", c->masked_share_min,
        c->masked_share_max);
    CB_REQUIRE(c->frozen_blocks == 0,
        "masked_weight = %g needs frozen_blocks = 0: frozen blocks have the same input in both networks",
        c->masked_weight);
    return CRIBO_OK;
}

static cribo_status create_models(const cb_runtime *runtime, cb_trainer *trainer)
{
    cribo_model_config config = {.struct_size = sizeof config};
    CB_TRY(check_masking(&trainer->config));
    cb_config_project(&cb_model_settings, &config, &cb_trainer_settings, &trainer->config);
    config.mask_token = trainer->config.masked_weight > 0;
    const cb_training training = {(size_t)trainer->config.frozen_blocks, trainer->config.layer_decay};
    CB_REQUIRE(trainer->config.frozen_blocks <= trainer->config.depth,
        "frozen_blocks = %lld must be at most depth = %lld", (long long)trainer->config.frozen_blocks,
        (long long)trainer->config.depth);
    CB_TRY(cb_model_create(runtime, &trainer->student, &config, &training));
    CB_REQUIRE(
        trainer->config.local_crops == 0 || trainer->config.local_size % trainer->config.patch_size == 0,
        "local_size = %lld must be a multiple of patch_size = %lld", (long long)trainer->config.local_size,
        (long long)trainer->config.patch_size);
    return cb_model_copy(runtime, &trainer->teacher, trainer->student);
}

static cribo_status create_learner(const cb_runtime *runtime, cb_trainer *trainer)
{
    size_t side = (size_t)trainer->config.image_size;
    cb_token_layout layout = cb_backbone_layout(&trainer->student->backbone, side, side);
    cb_learner_parts parts = {.config = cb_objective_config_of(&trainer->config, &layout),
        .masking = cb_masking_of(&trainer->config),
        .layout = layout,
        .student = &trainer->student->parameters,
        .teacher = &trainer->teacher->parameters,
        .student_heads = &trainer->student->heads,
        .teacher_heads = &trainer->teacher->heads,
        .ranks = trainer->ranks};
    return cb_learner_create(runtime, &trainer->learner, &parts);
}

static cribo_status create_average(const cb_runtime *runtime, cb_trainer *trainer)
{
    cb_learner *learner = &trainer->learner;
    if (!trainer->config.average_steps) return CRIBO_OK;
    CB_TRY(cb_model_copy(runtime, &trainer->average, trainer->student));
    learner->average = trainer->average->parameters.values;
    learner->average_from =
        cb_schedule_total_steps(&learner->objective->config) - trainer->config.average_steps;
    return CRIBO_OK;
}

static cribo_status create_anchor(const cb_runtime *runtime, cb_trainer *trainer)
{
    const cb_objective *objective = trainer->learner.objective;
    if (!(trainer->config.gram_weight > 0)) return CRIBO_OK;
    CB_TRY(cb_model_copy_backbone(runtime, &trainer->anchor, trainer->teacher));
    trainer->learner.anchor = &trainer->anchor->parameters;
    return cb_allocate(&runtime->allocator, &trainer->anchor_tokens,
        2 * objective->sizes.micro_images * objective->layout.tokens,
        objective->sizes.width * sizeof *trainer->anchor_tokens, "tokens of the Gram anchor");
}

static cribo_status create_trunk(const cb_runtime *runtime, cb_trainer *trainer)
{
    const cb_token_layout *layout = &trainer->learner.objective->layout;
    size_t images = (size_t)trainer->config.batch_size, width = (size_t)trainer->config.width;
    if (!trainer->config.frozen_blocks) return CRIBO_OK;
    return cb_allocate(&runtime->allocator, &trainer->trunk, 2 * images * layout->tokens,
        width * sizeof *trainer->trunk, "tokens of the frozen blocks");
}

/* --- memory of the passes --- */

cb_tensor cb_trainer_trunk(const cb_trainer *trainer, size_t first, size_t images)
{
    size_t tokens = trainer->learner.objective->layout.tokens, width = (size_t)trainer->config.width;
    cb_tensor trunk = {.rows = 2 * images * tokens, .columns = width};
    if (trainer->trunk) trunk.value = trainer->trunk + 2 * first * tokens * width;
    return trunk;
}

static cb_images measured_images(const cb_trainer *trainer)
{
    size_t side = (size_t)trainer->config.image_size;
    return (cb_images){
        .count = 2 * trainer->learner.objective->sizes.micro_images, .height = side, .width = side};
}

static void measure_trunk(const void *context, cb_tape *tape)
{
    const cb_trainer *trainer = context;
    cb_images images = measured_images(trainer);
    if (trainer->trunk) cb_backbone_trunk(&trainer->student->backbone, tape, &images);
}

static void measure_teacher(const void *context, cb_tape *tape)
{
    const cb_trainer *trainer = context;
    cb_images images = measured_images(trainer);
    cb_tensor trunk = cb_trainer_trunk(trainer, 0, images.count / 2);
    cb_backbone_forward(&trainer->teacher->backbone, tape, &images, &(cb_forward_options){.trunk = &trunk});
}

static void measure_targets(const void *context, cb_tape *tape)
{
    const cb_trainer *trainer = context;
    cb_objective_plan_project(trainer->learner.objective, tape);
}

static cb_tensor measure_tokens(const cb_trainer *trainer, cb_tape *tape)
{
    cb_images images = measured_images(trainer);
    const cb_real *keep =
        cb_arena_take(tape->arena, 2 * images.count * (size_t)trainer->config.depth, sizeof *keep);
    cb_tensor trunk = cb_trainer_trunk(trainer, 0, images.count / 2);
    return cb_backbone_forward(
        &trainer->student->backbone, tape, &images, &(cb_forward_options){.keep = keep, .trunk = &trunk});
}

static void measure_student(const void *context, cb_tape *tape)
{
    const cb_trainer *trainer = context;
    cb_tensor tokens = measure_tokens(trainer, tape);
    if (trainer->anchor) cb_objective_plan_anchor(trainer->learner.objective, tape, tokens);
    cb_objective_plan_learn(trainer->learner.objective, tape, tokens);
}

static void measure_local(const void *context, cb_tape *tape)
{
    const cb_trainer *trainer = context;
    const cb_backbone *backbone = &trainer->student->backbone;
    size_t crops = (size_t)trainer->config.local_crops, side = (size_t)trainer->config.local_size;
    if (!crops) return;
    cb_images images = {
        .count = trainer->learner.objective->sizes.micro_images * crops, .height = side, .width = side};
    const cb_forward_options options = {
        .keep = cb_arena_take(tape->arena, 2 * images.count * backbone->depth, sizeof *options.keep)};
    const cb_local_tokens local = {.tokens = cb_backbone_forward(backbone, tape, &images, &options),
        .layout = cb_backbone_layout(backbone, side, side),
        .crops = crops};
    cb_objective_plan_local(trainer->learner.objective, tape, &local);
}

static void measure_collection(const void *context, cb_tape *tape)
{
    const cb_trainer *trainer = context;
    if (cb_uses_koleo(&trainer->learner.objective->config))
        cb_objective_plan_collect(trainer->learner.objective, tape, measure_tokens(trainer, tape));
}

static cribo_status plan_passes(const cb_runtime *runtime, cb_trainer *trainer)
{
    static const cb_pass_plan plans[] = {{measure_trunk, false}, {measure_teacher, false},
        {measure_targets, false}, {measure_collection, false}, {measure_student, true},
        {measure_local, true}};
    return cb_pass_create(runtime, &trainer->learner.pass, trainer->config.precision == CRIBO_BF16, plans,
        sizeof plans / sizeof plans[0], trainer);
}

static cribo_status create_parts(const cb_runtime *runtime, cb_trainer *trainer)
{
    CB_TRY(cb_gemm_begin(runtime));
    CB_TRY(cb_schedule_settle(&cb_trainer_settings, &trainer->config));
    CB_TRY(create_models(runtime, trainer));
    CB_TRY(create_learner(runtime, trainer));
    CB_TRY(create_average(runtime, trainer));
    CB_TRY(create_anchor(runtime, trainer));
    CB_TRY(create_trunk(runtime, trainer));
    CB_TRY(CB_ALLOCATE(&runtime->allocator, &trainer->digests, 2 * (size_t)trainer->config.batch_size,
        "digests of a batch"));
    return plan_passes(runtime, trainer);
}

cribo_status cb_trainer_meet(const cb_trainer *trainer, const char *call, cribo_status status)
{
    return cb_ranks_meet(trainer->ranks, &(cb_meeting){call, &cb_trainer_settings, &trainer->config}, status);
}

/* The ranks have compared their settings before they use them. */
static cribo_status connect(cb_trainer *trainer, cribo_status checked, const cribo_communicator *communicator)
{
    CB_TRY(cb_ranks_create(trainer->runtime, &trainer->ranks, communicator));
    CB_TRY(cb_trainer_meet(trainer, "cribo_trainer_create_distributed", checked));
    return cb_ranks_agree(trainer->ranks, create_parts(trainer->runtime, trainer));
}

cribo_status cb_trainer_create(const cb_runtime *runtime, cb_trainer **out, cribo_status checked,
    const cribo_trainer_config *config, const cribo_communicator *communicator)
{
    cb_trainer *trainer;
    *out = NULL;
    CB_TRY(CB_ALLOCATE(&runtime->allocator, &trainer, 1, "trainer"));
    trainer->runtime = runtime;
    trainer->config = *config;
    cribo_status status = connect(trainer, checked, communicator);
    if (status != CRIBO_OK) {
        cb_trainer_free(runtime, trainer);
        return status;
    }
    *out = trainer;
    return CRIBO_OK;
}

void cb_trainer_free(const cb_runtime *runtime, cb_trainer *trainer)
{
    if (!trainer) return;
    cb_release(&runtime->allocator, trainer->digests);
    cb_learner_free(&trainer->learner);
    cb_ranks_free(runtime, trainer->ranks);
    cb_release(&runtime->allocator, trainer->trunk);
    cb_release(&runtime->allocator, trainer->anchor_tokens);
    cb_model_free(trainer->anchor);
    cb_model_free(trainer->average);
    cb_model_free(trainer->teacher);
    cb_model_free(trainer->student);
    cb_release(&runtime->allocator, trainer);
}
