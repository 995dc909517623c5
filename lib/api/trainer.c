/* cribo/trainer.h: checks, then the step of lib/training. */
#include "cribo/trainer.h"

#include "api/checks.h"
#include "api/trainer.h"
#include "base/structs.h"

#include <string.h>

CB_CONFIG_FUNCTIONS(trainer, &cb_trainer_settings)

cribo_status cribo_trainer_config_preset(cribo_trainer_config *config, const char *name)
{
    return cb_trainer_preset(config, name);
}

static cribo_status build(cribo_trainer *trainer, const cribo_trainer_config *config)
{
    cribo_trainer_config full;
    CB_TRY(cb_config_import(&cb_trainer_settings, &full, config));
    CB_TRY(cb_trainer_create(&trainer->runtime, &trainer->core, &full));
    trainer->student = (struct cribo_model){.runtime = &trainer->runtime, .model = trainer->core->student};
    trainer->teacher = (struct cribo_model){.runtime = &trainer->runtime, .model = trainer->core->teacher};
    trainer->bank = (struct cribo_memory_bank){trainer->runtime, trainer->core->bank};
    return CRIBO_OK;
}

cribo_status cribo_trainer_create(
    cribo_trainer **out, const cribo_trainer_config *config, const cribo_runtime *runtime)
{
    cb_runtime own;
    cribo_trainer *trainer;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_TRY(cb_runtime_begin(&own, runtime));
    cribo_status status = cb_allocate(&own.allocator, &trainer, 1, sizeof *trainer, "trainer");
    if (status != CRIBO_OK) {
        cb_runtime_end(&own);
        return status;
    }
    trainer->runtime = own;
    status = build(trainer, config);
    if (status != CRIBO_OK) {
        cribo_trainer_free(trainer);
        return status;
    }
    *out = trainer;
    return CRIBO_OK;
}

void cribo_trainer_free(cribo_trainer *trainer)
{
    if (!trainer) return;
    cb_runtime runtime = trainer->runtime;
    cb_features_free(&runtime, &trainer->teacher.features);
    cb_features_free(&runtime, &trainer->student.features);
    cb_trainer_free(&runtime, trainer->core);
    cb_release(&runtime.allocator, trainer);
    cb_runtime_end(&runtime);
}

/* The caller may want no report. */
static cribo_status check_report(const cribo_report *report)
{
    return report ? cb_check_size(
                        "report", report->struct_size, CB_SIZE_THROUGH(*report, update_ms), sizeof *report)
                  : CRIBO_OK;
}

static cribo_status hand_over(cribo_status status, const cribo_report *done, cribo_report *report)
{
    if (status == CRIBO_OK && report) cb_struct_export(report, done, sizeof *done);
    return status;
}

cribo_status cribo_trainer_step(cribo_trainer *trainer, const cribo_batch *batch, cribo_report *report)
{
    cribo_batch given;
    cribo_report done;
    CB_REQUIRE_POINTER(trainer);
    CB_TRY(check_report(report));
    CB_TRY(cb_import_batch(trainer->core, &given, batch));
    return hand_over(cb_train_step(trainer->core, &given, &done), &done, report);
}

cribo_status cribo_trainer_teach(cribo_trainer *trainer, const cribo_batch *batch)
{
    cribo_batch given;
    CB_REQUIRE_POINTER(trainer);
    CB_TRY(cb_import_batch(trainer->core, &given, batch));
    return cb_train_teach(trainer->core, &given);
}

static cribo_status check_phase(
    const cribo_trainer *trainer, cb_phase least, const char *call, const char *missing)
{
    if (trainer->core->phase >= least) return CRIBO_OK;
    return cb_fail(CRIBO_WRONG_STATE, "cribo_trainer_%s needs what cribo_trainer_%s finds: call that first",
        call, missing);
}

cribo_status cribo_trainer_learn(cribo_trainer *trainer, const cribo_batch *batch)
{
    cribo_batch given;
    CB_REQUIRE_POINTER(trainer);
    CB_TRY(check_phase(trainer, CB_PHASE_TAUGHT, "learn", "teach"));
    CB_TRY(cb_import_batch(trainer->core, &given, batch));
    CB_REQUIRE((size_t)given.images == trainer->core->targets.images,
        "batch.images = %lld, but cribo_trainer_teach saw %zu: learn takes the same batch",
        (long long)given.images, trainer->core->targets.images);
    return cb_train_learn(trainer->core, &given);
}

cribo_status cribo_trainer_update(cribo_trainer *trainer, cribo_report *report)
{
    cribo_report done;
    CB_REQUIRE_POINTER(trainer);
    CB_TRY(check_report(report));
    CB_TRY(check_phase(trainer, CB_PHASE_LEARNED, "update", "learn"));
    return hand_over(cb_train_update(trainer->core, &done), &done, report);
}

cribo_status cribo_trainer_losses(
    const cribo_trainer *trainer, double *loss, double *global, double *cross_view, double *cross_image)
{
    CB_REQUIRE_POINTER(trainer);
    CB_TRY(check_phase(trainer, CB_PHASE_LEARNED, "losses", "learn"));
    const cb_tally *tally = &trainer->core->tally;
    if (loss) *loss = tally->global + tally->cross_view + tally->cross_image;
    if (global) *global = tally->global;
    if (cross_view) *cross_view = tally->cross_view;
    if (cross_image) *cross_image = tally->cross_image;
    return CRIBO_OK;
}

cribo_status cribo_trainer_forget(cribo_trainer *trainer)
{
    CB_REQUIRE_POINTER(trainer);
    trainer->core->phase = CB_PHASE_IDLE;
    return CRIBO_OK;
}

static void copy_match(const cb_step_targets *t, int v, int64_t *index, uint8_t *match)
{
    if (index) memcpy(index, t->index[v], t->objects * sizeof *index);
    if (match) memcpy(match, t->match[v], t->objects * sizeof *match);
}

cribo_status cribo_trainer_targets(const cribo_trainer *trainer, const cribo_targets *targets)
{
    cribo_targets wanted = {0};
    CB_REQUIRE_POINTER(trainer);
    CB_TRY(CB_IMPORT(wanted, targets, match2));
    const cb_trainer *core = trainer->core;
    const cb_step_targets *t = &core->targets;
    if (t->images == 0)
        return cb_fail(CRIBO_WRONG_STATE, "there are no targets: cribo_trainer_teach finds them");
    size_t tokens = t->images * 2 * (core->tokens - 1);
    for (size_t i = 0; wanted.labels && i < tokens; i++) wanted.labels[i] = t->labels[i];
    if (wanted.valid) memcpy(wanted.valid, t->valid, t->images * (size_t)core->config.clusters);
    if (wanted.objects_per_image)
        memcpy(wanted.objects_per_image, t->per_image, t->images * sizeof *t->per_image);
    copy_match(t, 0, wanted.index1, wanted.match1);
    copy_match(t, 1, wanted.index2, wanted.match2);
    return CRIBO_OK;
}

/* The student's parameter of that name, which has `count` elements. */
static cribo_status find(
    const cribo_trainer *trainer, const char *name, int64_t count, const cb_parameter **out)
{
    CB_REQUIRE_POINTER(name);
    const cb_parameter *parameter = cb_parameters_find(&trainer->core->student->parameters, name);
    CB_REQUIRE(parameter, "name = \"%s\" is no parameter of the student", name);
    CB_REQUIRE(count == (int64_t)parameter->count, "count = %lld, but %s has %zu elements", (long long)count,
        name, parameter->count);
    *out = parameter;
    return CRIBO_OK;
}

cribo_status cribo_trainer_gradient(
    const cribo_trainer *trainer, const char *name, float *values, int64_t count)
{
    const cb_parameter *parameter = NULL;
    CB_REQUIRE_POINTER(trainer);
    CB_REQUIRE_POINTER(values);
    CB_TRY(find(trainer, name, count, &parameter));
    memcpy(values, trainer->core->student->parameters.gradients + parameter->offset,
        parameter->count * sizeof *values);
    return CRIBO_OK;
}

cribo_status cribo_trainer_moments(const cribo_trainer *trainer, const char *name, float *first,
    float *second, int64_t count, int64_t *updates)
{
    const cb_parameter *parameter = NULL;
    CB_REQUIRE_POINTER(trainer);
    CB_TRY(find(trainer, name, count, &parameter));
    const cb_optimiser *optimiser = &trainer->core->optimiser;
    if (first) memcpy(first, optimiser->first + parameter->offset, parameter->count * sizeof *first);
    if (second) memcpy(second, optimiser->second + parameter->offset, parameter->count * sizeof *second);
    if (updates) *updates = optimiser->updates[parameter - optimiser->student->list];
    return CRIBO_OK;
}

cribo_model *cribo_trainer_student(cribo_trainer *trainer)
{
    return trainer ? &trainer->student : NULL;
}

cribo_model *cribo_trainer_teacher(cribo_trainer *trainer)
{
    return trainer ? &trainer->teacher : NULL;
}

struct cribo_memory_bank *cribo_trainer_memory_bank(cribo_trainer *trainer)
{
    return trainer ? &trainer->bank : NULL;
}

cribo_status cribo_trainer_step_count(const cribo_trainer *trainer, int64_t *steps)
{
    CB_REQUIRE_POINTER(trainer);
    CB_REQUIRE_POINTER(steps);
    *steps = trainer->core->step;
    return CRIBO_OK;
}

cribo_status cribo_trainer_get_centres(const cribo_trainer *trainer, float *centre, float *object_centre)
{
    CB_REQUIRE_POINTER(trainer);
    const cb_trainer *core = trainer->core;
    if (centre) memcpy(centre, core->centre, core->teacher_layers.cls.count * sizeof *centre);
    if (object_centre)
        memcpy(
            object_centre, core->object_centre, core->teacher_layers.objects.count * sizeof *object_centre);
    return CRIBO_OK;
}

cribo_status cribo_trainer_set_centres(
    cribo_trainer *trainer, const float *centre, const float *object_centre)
{
    CB_REQUIRE_POINTER(trainer);
    cb_trainer *core = trainer->core;
    size_t prototypes = core->teacher_layers.cls.count,
           object_prototypes = core->teacher_layers.objects.count;
    CB_TRY(cb_check_finite(core->runtime->pool, "centre", centre, prototypes));
    CB_TRY(cb_check_finite(core->runtime->pool, "object_centre", object_centre, object_prototypes));
    if (centre) memcpy(core->centre, centre, prototypes * sizeof *centre);
    if (object_centre) memcpy(core->object_centre, object_centre, object_prototypes * sizeof *object_centre);
    return CRIBO_OK;
}
