/* cribo/trainer.h: checks, then the step of lib/training. */
#include "cribo/trainer.h"

#include "api/checks.h"
#include "api/create.h"
#include "api/learner.h"
#include "api/parameters.h"
#include "api/settings.h"
#include "api/trainer.h"
#include "base/structs.h"
#include "training/live.h"
#include "training/presets.h"
#include "training/settings.h"
#include "training/step.h"

#include <string.h>

CB_CONFIG_FUNCTIONS(trainer, &cb_trainer_settings)
CB_SETTING_GETTERS(trainer, &cb_trainer_settings, &trainer->core->config)

static cribo_status check_set_setting(const cribo_trainer *trainer, const char *name)
{
    CB_REQUIRE_POINTER(name);
    return cb_check_between_steps(trainer->guard, "settings are changed");
}

cribo_status cribo_trainer_set_setting(cribo_trainer *trainer, const char *name, double value)
{
    CB_ENTER(trainer);
    return cb_trainer_change(trainer->core, check_set_setting(trainer, name), name, value);
}

cribo_status cribo_trainer_config_preset(cribo_trainer_config *config, const char *name)
{
    cribo_trainer_config full;
    return cb_preset_apply(&cb_trainer_settings, &full, config, config ? config->struct_size : 0, name);
}

static void lend_model(cribo_trainer *trainer, struct cribo_model *model, cb_model *core)
{
    model->guard = trainer->guard;
    model->runtime = &trainer->runtime;
    model->model = core;
}

static cribo_status build(
    cribo_trainer *trainer, const cribo_trainer_config *config, const cribo_communicator *communicator)
{
    cribo_trainer_config full = {0};
    cribo_status checked = cb_config_import(&cb_trainer_settings, &full, config);
    CB_TRY(cb_trainer_create(&trainer->runtime, &trainer->core, checked, &full, communicator));
    trainer->own_guard.learner = &trainer->core->learner;
    lend_model(trainer, &trainer->student, trainer->core->student);
    lend_model(trainer, &trainer->teacher, trainer->core->teacher);
    lend_model(trainer, &trainer->average, trainer->core->average);
    trainer->bank.guard = trainer->guard;
    trainer->bank.runtime = trainer->runtime;
    trainer->bank.bank = trainer->core->learner.objective->bank;
    return CRIBO_OK;
}

cribo_status cribo_trainer_create(
    cribo_trainer **out, const cribo_trainer_config *config, const cribo_runtime *runtime)
{
    return cribo_trainer_create_distributed(out, config, runtime, NULL);
}

cribo_status cribo_trainer_create_distributed(cribo_trainer **out, const cribo_trainer_config *config,
    const cribo_runtime *runtime, const cribo_communicator *communicator)
{
    cribo_trainer *trainer;
    cb_runtime own;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_TRY(cb_handle_begin(&own, runtime, &trainer, sizeof *trainer, "trainer"));
    trainer->guard = &trainer->own_guard;
    trainer->runtime = own;
    cribo_status status = build(trainer, config, communicator);
    if (status == CRIBO_OK)
        *out = trainer;
    else
        cribo_trainer_free(trainer);
    return status;
}

CB_MEMORY_ESTIMATE(trainer)

void cribo_trainer_free(cribo_trainer *trainer)
{
    if (!CB_MAY_FREE(trainer)) return;
    cb_runtime runtime = trainer->runtime;
    cb_features_free(&runtime, &trainer->average.features);
    cb_features_free(&runtime, &trainer->teacher.features);
    cb_features_free(&runtime, &trainer->student.features);
    cb_trainer_free(&runtime, trainer->core);
    cb_release(&runtime.allocator, trainer);
    cb_runtime_end(&runtime);
}

static cribo_status import_step(
    const cribo_trainer *trainer, cribo_batch *full, const cribo_batch *batch, const cribo_report *report)
{
    CB_TRY(cb_check_report(report));
    return cb_import_batch(trainer->core, full, batch);
}

cribo_status cribo_trainer_step(cribo_trainer *trainer, const cribo_batch *batch, cribo_report *report)
{
    cribo_batch given;
    cribo_report done;
    CB_ENTER(trainer);
    cb_learner_forget_targets(&trainer->core->learner);
    CB_TRY(cb_trainer_meet(trainer->core, "cribo_trainer_step", import_step(trainer, &given, batch, report)));
    CB_TRY(cb_train_step(trainer->core, &given, &done));
    cb_export_report(&done, report);
    return CRIBO_OK;
}

cribo_status cribo_trainer_teach(cribo_trainer *trainer, const cribo_batch *batch)
{
    cribo_batch given;
    CB_ENTER(trainer);
    cb_learner_forget_targets(&trainer->core->learner);
    CB_TRY(
        cb_trainer_meet(trainer->core, "cribo_trainer_teach", cb_import_batch(trainer->core, &given, batch)));
    CB_TRY(cb_train_teach(trainer->core, &given));
    cb_train_note_batch(trainer->core, &given);
    return CRIBO_OK;
}

static cribo_status check_learn(const cribo_trainer *trainer, cribo_batch *full, const cribo_batch *batch)
{
    const cb_learner *learner = &trainer->core->learner;
    CB_TRY(cb_check_phase(learner, CB_PHASE_TAUGHT, "cribo_trainer_learn", "cribo_trainer_teach"));
    CB_TRY(cb_import_batch(trainer->core, full, batch));
    return cb_train_check_batch(trainer->core, full);
}

cribo_status cribo_trainer_learn(cribo_trainer *trainer, const cribo_batch *batch)
{
    cribo_batch given;
    CB_ENTER(trainer);
    CB_TRY(cb_trainer_meet(trainer->core, "cribo_trainer_learn", check_learn(trainer, &given, batch)));
    return cb_train_learn(trainer->core, &given);
}

static cribo_status check_update(const cribo_trainer *trainer, const cribo_report *report)
{
    CB_TRY(cb_check_report(report));
    return cb_check_phase(
        &trainer->core->learner, CB_PHASE_LEARNED, "cribo_trainer_update", "cribo_trainer_learn");
}

cribo_status cribo_trainer_update(cribo_trainer *trainer, cribo_report *report)
{
    cribo_report done;
    CB_ENTER(trainer);
    CB_TRY(cb_trainer_meet(trainer->core, "cribo_trainer_update", check_update(trainer, report)));
    CB_TRY(cb_train_update(trainer->core, &done));
    cb_export_report(&done, report);
    return CRIBO_OK;
}

cribo_status cribo_trainer_losses(
    const cribo_trainer *trainer, double *loss, double *global, double *cross_view, double *cross_image)
{
    CB_ENTER(trainer);
    CB_TRY(cb_check_phase(
        &trainer->core->learner, CB_PHASE_LEARNED, "cribo_trainer_losses", "cribo_trainer_learn"));
    cb_export_losses(&trainer->core->learner, loss, global, cross_view, cross_image);
    return CRIBO_OK;
}

cribo_status cribo_trainer_forget(cribo_trainer *trainer)
{
    CB_ENTER(trainer);
    cb_learner_forget(&trainer->core->learner);
    return CRIBO_OK;
}

cribo_status cribo_trainer_targets(const cribo_trainer *trainer, const cribo_targets *targets)
{
    CB_ENTER(trainer);
    return cb_export_targets(&trainer->core->learner, "cribo_trainer_teach", targets);
}

cribo_status cribo_trainer_gradient(
    const cribo_trainer *trainer, const char *name, float *values, int64_t count)
{
    const cb_parameter *parameter = NULL;
    CB_ENTER(trainer);
    CB_REQUIRE_POINTER(values);
    const cb_parameters *student = &trainer->core->student->parameters;
    CB_TRY(cb_find_counted(student, "the student", name, count, &parameter));
    CB_TRY(cb_check_whole(&trainer->core->learner, "gradients"));
    memcpy(values, student->gradients + parameter->offset, parameter->count * sizeof *values);
    return CRIBO_OK;
}

static cribo_status change_gradient(cribo_trainer *trainer, const char *call, const char *name,
    const float *values, int64_t count, cb_gradient_change change)
{
    const cb_parameter *parameter = NULL;
    cb_learner *learner = &trainer->core->learner;
    CB_REQUIRE_POINTER(values);
    CB_TRY(cb_find_counted(learner->student, "the student", name, count, &parameter));
    CB_TRY(cb_check_whole(&trainer->core->learner, "gradients"));
    CB_TRY(cb_check_phase(learner, CB_PHASE_LEARNED, call, "cribo_trainer_learn"));
    return cb_import_gradient(learner, parameter, values, change);
}

cribo_status cribo_trainer_set_gradient(
    cribo_trainer *trainer, const char *name, const float *values, int64_t count)
{
    CB_ENTER(trainer);
    return change_gradient(trainer, "cribo_trainer_set_gradient", name, values, count, CB_GRADIENT_SET);
}

cribo_status cribo_trainer_add_gradient(
    cribo_trainer *trainer, const char *name, const float *values, int64_t count)
{
    CB_ENTER(trainer);
    return change_gradient(trainer, "cribo_trainer_add_gradient", name, values, count, CB_GRADIENT_ADD);
}

cribo_status cribo_trainer_moments(const cribo_trainer *trainer, const char *name, float *first,
    float *second, int64_t count, int64_t *updates)
{
    const cb_parameter *parameter = NULL;
    CB_ENTER(trainer);
    CB_TRY(cb_find_counted(&trainer->core->student->parameters, "the student", name, count, &parameter));
    CB_TRY(cb_check_whole(&trainer->core->learner, "moments"));
    cb_export_moments(&trainer->core->learner, parameter, first, second, updates);
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

cribo_model *cribo_trainer_average(cribo_trainer *trainer)
{
    return trainer && trainer->core->learner.averaged > 0 ? &trainer->average : NULL;
}

struct cribo_memory_bank *cribo_trainer_memory_bank(cribo_trainer *trainer)
{
    return trainer ? &trainer->bank : NULL;
}

cribo_status cribo_trainer_step_count(const cribo_trainer *trainer, int64_t *steps)
{
    CB_ENTER(trainer);
    CB_REQUIRE_POINTER(steps);
    *steps = trainer->core->learner.step;
    return CRIBO_OK;
}

cribo_status cribo_trainer_get_centres(const cribo_trainer *trainer, float *centre, float *object_centre)
{
    CB_ENTER(trainer);
    cb_export_centres(&trainer->core->learner, centre, object_centre);
    return CRIBO_OK;
}

cribo_status cribo_trainer_read_centres(
    const cribo_trainer *trainer, float *centre, int64_t count, float *object_centre, int64_t object_count)
{
    CB_ENTER(trainer);
    return cb_read_centres(&trainer->core->learner, centre, count, object_centre, object_count);
}

cribo_status cribo_trainer_sizes(const cribo_trainer *trainer, cribo_sizes *sizes)
{
    CB_ENTER(trainer);
    cribo_sizes full = cb_learner_sizes(&trainer->core->learner);
    full.attention_heads = trainer->core->config.heads;
    return cb_export_sizes(&full, sizes);
}

cribo_status cribo_trainer_set_centres(
    cribo_trainer *trainer, const float *centre, const float *object_centre)
{
    CB_ENTER(trainer);
    CB_TRY(cb_begin_writing(trainer->guard, "centres are written"));
    return cb_import_centres(&trainer->core->learner, centre, object_centre);
}
