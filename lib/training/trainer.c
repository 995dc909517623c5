/* Making a trainer: its parts, and the plan of all memory that its steps will use. */
#include "training/trainer.h"

#include "tensor/gemm.h"

cb_tape cb_trainer_begin_pass(cb_trainer *trainer, bool training)
{
    cb_arena_return(&trainer->pass, 0);
    cb_tape tape = cb_tape_begin(&trainer->pass, trainer->runtime->pool, training, trainer->scratch_bytes);
    tape.bf16 = trainer->config.precision == CRIBO_BF16;
    return tape;
}

cb_loss_scratch cb_loss_scratch_take(
    const cb_trainer *trainer, cb_arena *arena, size_t images, size_t objects, size_t neighbours)
{
    size_t rows = 2 * images + 2 * objects;
    size_t prototypes = (size_t)(trainer->config.prototypes > trainer->config.object_prototypes
                                     ? trainer->config.prototypes
                                     : trainer->config.object_prototypes);
    cb_loss_scratch scratch = {.targets = cb_arena_take(arena, rows, sizeof(cb_row_targets))};
    scratch.workspace = cb_prototype_workspace_take(arena, rows, rows + neighbours, prototypes, 0);
    return scratch;
}

/* --- parts --- */

static cribo_status create_models(const cb_runtime *runtime, cb_trainer *trainer)
{
    cribo_model_config config = {.struct_size = sizeof config};
    cb_config_project(&cb_model_settings, &config, &cb_trainer_settings, &trainer->config);
    CB_TRY(cb_model_create(runtime, &trainer->student, &config, true));
    CB_TRY(cb_model_copy(runtime, &trainer->teacher, trainer->student));
    return cb_optimiser_create(
        runtime, &trainer->optimiser, &trainer->student->parameters, trainer->teacher->parameters.values);
}

static cribo_status create_clusterer(const cb_runtime *runtime, cb_trainer *trainer)
{
    cribo_clusterer_config config = {.struct_size = sizeof config};
    cb_config_project(&cb_clusterer_settings, &config, &cb_trainer_settings, &trainer->config);
    return cb_clusterer_create(runtime, &trainer->clusterer, &config, trainer->group, trainer->patches,
        (size_t)trainer->config.width);
}

static cribo_status create_bank(const cb_runtime *runtime, cb_trainer *trainer)
{
    cribo_memory_bank_config config = {
        .struct_size = sizeof config,
        .bank_images = trainer->config.bank_images,
        .objects_per_image = trainer->config.clusters,
        .width = trainer->config.width,
        .max_objects = trainer->config.batch_size * trainer->config.clusters,
    };
    return cb_memory_bank_create(runtime, &trainer->bank, &config);
}

static cribo_status create_layer(
    const cb_allocator *allocator, cb_prototypes *prototypes, const cb_last_layer *layer, bool bf16)
{
    *prototypes = (cb_prototypes){.count = layer->direction.rows,
        .width = layer->direction.columns,
        .direction = layer->direction.value,
        .gain = layer->gain.value,
        .bf16 = bf16};
    return cb_allocate(allocator, &prototypes->scale, prototypes->count, sizeof(cb_real), "prototypes");
}

static cribo_status create_layers(
    const cb_allocator *allocator, cb_last_layers *layers, const cb_model *model)
{
    bool bf16 = model->config.precision == CRIBO_BF16;
    CB_TRY(create_layer(allocator, &layers->cls, &model->heads.cls, bf16));
    return create_layer(allocator, &layers->objects, &model->heads.objects, bf16);
}

/* --- memory of the targets --- */

#define ALLOCATE(place, count) cb_allocate(allocator, &(place), (count), sizeof *(place), "targets of a step")

static cribo_status allocate_batch(const cb_allocator *allocator, cb_trainer *trainer)
{
    cb_step_targets *t = &trainer->targets;
    size_t batch = (size_t)trainer->config.batch_size, k = (size_t)trainer->config.clusters;
    size_t d = (size_t)trainer->config.width, patches = trainer->patches, objects = batch * k;
    CB_TRY(ALLOCATE(t->positions, batch * 2 * patches * 2));
    CB_TRY(ALLOCATE(t->ids, batch));
    CB_TRY(ALLOCATE(t->keys, batch));
    CB_TRY(ALLOCATE(t->labels, batch * 2 * patches));
    CB_TRY(ALLOCATE(t->valid, objects));
    CB_TRY(ALLOCATE(t->per_image, batch));
    CB_TRY(ALLOCATE(t->cls, batch * 2 * d));
    CB_TRY(ALLOCATE(t->micro, trainer->micro_batches));
    for (int v = 0; v < 2; v++) {
        CB_TRY(ALLOCATE(t->object[v], objects * d));
        CB_TRY(ALLOCATE(t->index[v], objects));
        CB_TRY(ALLOCATE(t->match[v], objects));
    }
    return CRIBO_OK;
}

static cribo_status allocate_micro_batch(
    const cb_allocator *allocator, const cb_trainer *trainer, cb_micro_batch *micro)
{
    size_t b = trainer->micro, k = (size_t)trainer->config.clusters,
           e = (size_t)trainer->config.head_bottleneck;
    size_t rows = 2 * b * (1 + k),
           entries = 2 * b * (trainer->layout.global_count + cb_clusterer_max_entries(trainer->clusterer));
    CB_REQUIRE(entries < UINT32_MAX && rows < UINT32_MAX / 2,
        "micro_batch = %zu has more tokens in its objects than 32 bits can number", b);
    CB_TRY(ALLOCATE(micro->pooling.begin, rows + 1));
    CB_TRY(ALLOCATE(micro->pooling.token, entries));
    CB_TRY(ALLOCATE(micro->pooling.weight, entries));
    CB_TRY(ALLOCATE(micro->cls, 2 * b * e));
    return ALLOCATE(micro->objects_rows, 4 * b * k * e);
}

static cribo_status allocate_targets(const cb_allocator *allocator, cb_trainer *trainer)
{
    CB_TRY(allocate_batch(allocator, trainer));
    for (size_t m = 0; m < trainer->micro_batches; m++)
        CB_TRY(allocate_micro_batch(allocator, trainer, &trainer->targets.micro[m]));
    cb_tally *tally = &trainer->tally;
    CB_TRY(ALLOCATE(tally->cls_signs.mean, (size_t)trainer->config.prototypes));
    CB_TRY(ALLOCATE(tally->cls_signs.used, (size_t)trainer->config.prototypes));
    CB_TRY(ALLOCATE(tally->object_signs.mean, (size_t)trainer->config.object_prototypes));
    CB_TRY(ALLOCATE(tally->object_signs.used, (size_t)trainer->config.object_prototypes));
    CB_TRY(ALLOCATE(trainer->centre, (size_t)trainer->config.prototypes));
    CB_TRY(ALLOCATE(trainer->object_centre, (size_t)trainer->config.object_prototypes));
    return ALLOCATE(
        trainer->teacher_tokens, trainer->group * 2 * trainer->tokens * (size_t)trainer->config.width);
}

static void release_targets(const cb_allocator *allocator, cb_trainer *trainer)
{
    cb_step_targets *t = &trainer->targets;
    for (size_t m = 0; t->micro && m < trainer->micro_batches; m++) {
        cb_micro_batch *micro = &t->micro[m];
        void *const arrays[] = {micro->pooling.begin, micro->pooling.token, micro->pooling.weight, micro->cls,
            micro->objects_rows};
        for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) cb_release(allocator, arrays[i]);
    }
    void *const arrays[] = {t->positions, t->ids, t->keys, t->labels, t->valid, t->per_image, t->cls,
        t->micro, t->object[0], t->object[1], t->index[0], t->index[1], t->match[0], t->match[1],
        trainer->tally.cls_signs.mean, trainer->tally.cls_signs.used, trainer->tally.object_signs.mean,
        trainer->tally.object_signs.used, trainer->centre, trainer->object_centre, trainer->teacher_tokens};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) cb_release(allocator, arrays[i]);
}

/* --- memory of a pass --- */

static cb_images measured_images(const cb_trainer *trainer)
{
    size_t side = (size_t)trainer->config.image_size;
    return (cb_images){.count = 2 * trainer->micro, .height = side, .width = side};
}

static void measure_teacher(cb_trainer *trainer, cb_tape *tape)
{
    cb_images images = measured_images(trainer);
    cb_backbone_forward(&trainer->teacher->backbone, tape, &images, &(cb_forward_options){0});
}

static void measure_targets(cb_trainer *trainer, cb_tape *tape)
{
    size_t rows = trainer->micro * (2 + 4 * (size_t)trainer->config.clusters);
    cb_heads_forward(
        &trainer->teacher->heads, tape, cb_tape_tensor(tape, rows, (size_t)trainer->config.width, false));
}

static void measure_student(cb_trainer *trainer, cb_tape *tape)
{
    size_t b = trainer->micro, objects = b * (size_t)trainer->config.clusters;
    cb_pooling pooling = {.rows = 2 * b + 2 * objects};
    const cb_real *keep = cb_arena_take(tape->arena, 4 * b * (size_t)trainer->config.depth, sizeof *keep);
    cb_images images = measured_images(trainer);
    cb_student_forward(trainer, tape, &images, &pooling, keep);
    cb_loss_scratch_take(trainer, tape->arena, b, objects, 2 * objects);
}

/*
 * The three passes of a step use the same memory in turn; it is as large as the largest wants it, and so is
 * its tape's scratch.
 */
static cribo_status plan_passes(const cb_allocator *allocator, cb_trainer *trainer)
{
    void (*const passes[])(cb_trainer *, cb_tape *) = {measure_teacher, measure_targets, measure_student};
    size_t bytes = 0, scratch_bytes = 0;
    for (int i = 0; i < 3; i++) {
        trainer->pass = cb_arena_measure();
        cb_tape tape = cb_trainer_begin_pass(trainer, passes[i] == measure_student);
        passes[i](trainer, &tape);
        if (tape.scratch_bytes > scratch_bytes) scratch_bytes = tape.scratch_bytes;
        tape.scratch_bytes = 0;
        size_t planned = cb_tape_planned_bytes(&tape);
        if (planned > bytes) bytes = planned;
    }
    trainer->scratch_bytes = scratch_bytes;
    cb_arena largest = {.peak = bytes};
    cb_tape plan = {.arena = &largest, .scratch_bytes = scratch_bytes};
    return cb_arena_create(allocator, &trainer->pass, cb_tape_planned_bytes(&plan), "activations");
}

static cribo_status create_parts(const cb_runtime *runtime, cb_trainer *trainer)
{
    const cb_allocator *allocator = &runtime->allocator;
    CB_TRY(create_models(runtime, trainer));
    size_t side = (size_t)trainer->config.image_size;
    trainer->layout = cb_backbone_layout(&trainer->student->backbone, side, side);
    trainer->patches = cb_layout_patches(&trainer->layout);
    trainer->tokens = trainer->layout.tokens;
    CB_TRY(create_clusterer(runtime, trainer));
    CB_TRY(create_bank(runtime, trainer));
    CB_TRY(create_layers(allocator, &trainer->student_layers, trainer->student));
    CB_TRY(create_layers(allocator, &trainer->teacher_layers, trainer->teacher));
    CB_TRY(allocate_targets(allocator, trainer));
    return plan_passes(allocator, trainer);
}

cribo_status cb_trainer_create(
    const cb_runtime *runtime, cb_trainer **out, const cribo_trainer_config *config)
{
    cb_trainer *trainer;
    *out = NULL;
    CB_TRY(cb_allocate(&runtime->allocator, &trainer, 1, sizeof *trainer, "trainer"));
    size_t batch = (size_t)config->batch_size;
    trainer->runtime = runtime;
    trainer->config = *config;
    trainer->micro = cb_min((size_t)config->micro_batch, batch);
    trainer->micro_batches = (batch + trainer->micro - 1) / trainer->micro;
    trainer->group = config->batch_cost ? batch : trainer->micro;
    cb_gemm_begin(runtime);
    cribo_status status = create_parts(runtime, trainer);
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
    const cb_allocator *allocator = &runtime->allocator;
    cb_arena_destroy(allocator, &trainer->pass);
    release_targets(allocator, trainer);
    cb_release(allocator, trainer->teacher_layers.objects.scale);
    cb_release(allocator, trainer->teacher_layers.cls.scale);
    cb_release(allocator, trainer->student_layers.objects.scale);
    cb_release(allocator, trainer->student_layers.cls.scale);
    cb_memory_bank_free(runtime, trainer->bank);
    cb_clusterer_free(runtime, trainer->clusterer);
    cb_optimiser_free(runtime, &trainer->optimiser);
    cb_model_free(runtime, trainer->teacher);
    cb_model_free(runtime, trainer->student);
    cb_release(allocator, trainer);
}
