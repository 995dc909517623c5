/* cribo/objective.h: checks, then the token trainer of lib/training. */
#include "cribo/objective.h"

#include "api/checkpoint.h"
#include "api/checks.h"
#include "api/create.h"
#include "api/handles.h"
#include "api/learner.h"
#include "api/parameters.h"
#include "api/settings.h"
#include "api/streams.h"
#include "base/structs.h"
#include "clustering/positions.h"
#include "tensor/finite.h"
#include "training/live.h"
#include "training/presets.h"
#include "training/schedule.h"
#include "training/token_trainer.h"

#include <math.h>
#include <string.h>

struct cribo_objective {
    cb_guard own_guard, *guard;
    cb_runtime runtime;
    cb_token_trainer *core;
    struct cribo_memory_bank bank; /* lent */
};

#define HEADS "the heads" /* in messages */

CB_CONFIG_FUNCTIONS(objective, &cb_objective_settings)
CB_SETTING_GETTERS(objective, &cb_objective_settings, &objective->core->config)

static cribo_status check_set_setting(const cribo_objective *objective, const char *name)
{
    CB_REQUIRE_POINTER(name);
    return cb_check_between_steps(objective->guard, "settings are changed");
}

cribo_status cribo_objective_set_setting(cribo_objective *objective, const char *name, double value)
{
    CB_ENTER(objective);
    return cb_token_trainer_change(objective->core, check_set_setting(objective, name), name, value);
}

cribo_status cribo_objective_config_preset(cribo_objective_config *config, const char *name)
{
    cribo_objective_config full;
    return cb_preset_apply(&cb_objective_settings, &full, config, config ? config->struct_size : 0, name);
}

/* --- making --- */

static cribo_status build(
    cribo_objective *objective, const cribo_objective_config *config, const cribo_communicator *communicator)
{
    cribo_objective_config full = {0};
    cribo_status checked = cb_config_import(&cb_objective_settings, &full, config);
    CB_TRY(cb_token_trainer_create(&objective->runtime, &objective->core, checked, &full, communicator));
    objective->own_guard.learner = &objective->core->learner;
    objective->bank.guard = objective->guard;
    objective->bank.runtime = objective->runtime;
    objective->bank.bank = objective->core->learner.objective->bank;
    return CRIBO_OK;
}

cribo_status cribo_objective_create(
    cribo_objective **out, const cribo_objective_config *config, const cribo_runtime *runtime)
{
    return cribo_objective_create_distributed(out, config, runtime, NULL);
}

cribo_status cribo_objective_create_distributed(cribo_objective **out, const cribo_objective_config *config,
    const cribo_runtime *runtime, const cribo_communicator *communicator)
{
    cribo_objective *objective;
    cb_runtime own;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_TRY(cb_handle_begin(&own, runtime, &objective, sizeof *objective, "objective"));
    objective->guard = &objective->own_guard;
    objective->runtime = own;
    cribo_status status = build(objective, config, communicator);
    if (status == CRIBO_OK)
        *out = objective;
    else
        cribo_objective_free(objective);
    return status;
}

CB_MEMORY_ESTIMATE(objective)

void cribo_objective_free(cribo_objective *objective)
{
    if (!CB_MAY_FREE(objective)) return;
    cb_runtime runtime = objective->runtime;
    cb_token_trainer_free(&runtime, objective->core);
    cb_release(&runtime.allocator, objective);
    cb_runtime_end(&runtime);
}

/* --- positions --- */

cribo_status cribo_crop_positions(const cribo_crop *crop, int64_t rows, int64_t columns, float *positions)
{
    const int64_t most = 4096;
    CB_REQUIRE_POINTER(crop);
    CB_REQUIRE_POINTER(positions);
    CB_TRY(cb_check_crop("crop", crop));
    CB_REQUIRE(
        rows >= 1 && rows <= most, "rows = %lld must be in 1 ... %lld", (long long)rows, (long long)most);
    CB_REQUIRE(columns >= 1 && columns <= most, "columns = %lld must be in 1 ... %lld", (long long)columns,
        (long long)most);
    cb_patch_positions(crop, (size_t)rows, (size_t)columns, 1, positions);
    return CRIBO_OK;
}

/* --- schedules --- */

cribo_status cribo_objective_schedule(
    const cribo_objective *objective, int64_t step, cribo_step_values *values)
{
    cribo_step_values full;
    CB_ENTER(objective);
    CB_REQUIRE_POINTER(values);
    CB_TRY(cb_check_size("values", values->struct_size, CB_SIZE_THROUGH(full, epoch), sizeof full));
    CB_REQUIRE(step >= -1, "step = %lld must be at least 0, or -1 for the present one", (long long)step);
    const cb_learner *learner = &objective->core->learner;
    cb_schedule_at(&objective->core->config, step < 0 ? learner->step : step, &full);
    cb_struct_export(values, &full, sizeof full);
    return CRIBO_OK;
}

static cribo_status check_value(const char *name, double value, double minimum, double maximum)
{
    CB_REQUIRE(value >= minimum && value <= maximum, "batch.values.%s = %g must be in %g ... %g", name, value,
        minimum, maximum);
    return CRIBO_OK;
}

static cribo_status import_values(cribo_step_values *full, const cribo_step_values *values)
{
    *full = (cribo_step_values){0};
    CB_TRY(cb_struct_import("batch.values", full, CB_SIZE_THROUGH(*full, epoch), sizeof *full, values));
    CB_TRY(check_value("learning_rate", full->learning_rate, 0, 1e6));
    CB_TRY(check_value("weight_decay", full->weight_decay, 0, 1e6));
    CB_TRY(check_value("ema_momentum", full->ema_momentum, 0, 1));
    CB_TRY(check_value("teacher_temperature", full->teacher_temperature, 1e-4, 1e4));
    CB_TRY(check_value("object_teacher_temperature", full->object_teacher_temperature, 1e-4, 1e4));
    CB_TRY(check_value("position_weight", full->position_weight, 0, 1e6));
    CB_TRY(check_value("last_layer_frozen", (double)full->last_layer_frozen, 0, 1));
    CB_TRY(check_value("cross_image", (double)full->cross_image, 0, 1));
    return check_value("epoch", (double)full->epoch, 0, 1e15);
}

/* --- tokens --- */

/* Arrays of one kind: rows of `row` numbers for each view of each image. */
typedef struct strided {
    const char *name;
    const float *values;
    int64_t image, view; /* strides */
    size_t row;
} strided;

/* Fills in strides that are 0; views must not overlap each other. */
static cribo_status check_strides(strided *s, int64_t images)
{
    int64_t row = (int64_t)s->row;
    CB_REQUIRE(s->values, "%s is NULL", s->name);
    if (s->image == 0 && s->view == 0) s->view = row, s->image = 2 * row;
    CB_REQUIRE(
        s->image >= row && s->view >= row && s->image < INT64_MAX / 4 / images && s->view < INT64_MAX / 4,
        "%s: strides of %lld from image to image and %lld from view to view: both must be at least %lld",
        s->name, (long long)s->image, (long long)s->view, (long long)row);
    bool by_image = s->image >= s->view + row, by_view = s->view >= (images - 1) * s->image + row;
    CB_REQUIRE(by_image || by_view,
        "%s: strides of %lld from image to image and %lld from view to view overlap", s->name,
        (long long)s->image, (long long)s->view);
    return CRIBO_OK;
}

static cribo_status check_rows(cb_pool *pool, const strided *s, int64_t images)
{
    for (int64_t i = 0; i < images; i++)
        for (int64_t v = 0; v < 2; v++) {
            const float *row = s->values + i * s->image + v * s->view;
            size_t at = cb_pool_first_not_finite(pool, row, s->row);
            CB_REQUIRE(at == s->row, "%s: number %zu of view %lld of image %lld = %g is not finite", s->name,
                at, (long long)v + 1, (long long)i, (double)row[at]);
        }
    return CRIBO_OK;
}

static cribo_status import_tokens(
    const cribo_objective *objective, int64_t images, strided dense, strided global, cb_token_view *view)
{
    const cribo_objective_config *c = &objective->core->config;
    dense.row = (size_t)(c->tokens * c->width);
    global.row = (size_t)c->width;
    CB_TRY(check_strides(&dense, images));
    CB_TRY(check_strides(&global, images));
    CB_TRY(check_rows(objective->runtime.pool, &dense, images));
    CB_TRY(check_rows(objective->runtime.pool, &global, images));
    *view = (cb_token_view){dense.values, global.values, (size_t)dense.image, (size_t)dense.view,
        (size_t)global.image, (size_t)global.view};
    return CRIBO_OK;
}

/* --- teach --- */

static cribo_status import_batch(const cribo_objective *objective, cb_token_batch *batch,
    cribo_step_values *values, const cribo_objective_batch *from)
{
    cribo_objective_batch given = {0};
    const cb_token_trainer *core = objective->core;
    CB_TRY(cb_struct_import("batch", &given, CB_SIZE_THROUGH(given, values), sizeof given, from));
    CB_REQUIRE(given.images >= 1 && given.images <= core->config.batch_size,
        "batch.images = %lld must be in 1 ... batch_size = %lld", (long long)given.images,
        (long long)core->config.batch_size);
    size_t images = (size_t)given.images;
    *batch = (cb_token_batch){.images = images,
        .positions = given.positions,
        .ids = given.ids,
        .seed_tokens = given.seed_tokens,
        .values = given.values ? values : NULL};
    if (given.values) CB_TRY(import_values(values, given.values));
    CB_TRY(import_tokens(objective, given.images,
        (strided){"batch.dense", given.dense, given.dense_image_stride, given.dense_view_stride, 0},
        (strided){"batch.global", given.global, given.global_image_stride, given.global_view_stride, 0},
        &batch->teacher));
    CB_REQUIRE(given.positions, "batch.positions is NULL");
    CB_TRY(cb_check_finite(objective->runtime.pool, "batch.positions", given.positions,
        images * 2 * (size_t)core->config.tokens * 2));
    return cb_check_seed_tokens("batch.seed_tokens", given.seed_tokens, images,
        cb_clusterer_shape(core->learner.objective->clusterer));
}

cribo_status cribo_objective_teach(cribo_objective *objective, const cribo_objective_batch *batch)
{
    cb_token_batch given;
    cribo_step_values values;
    CB_ENTER(objective);
    cb_learner_forget_targets(&objective->core->learner);
    CB_TRY(cb_token_trainer_meet(
        objective->core, "cribo_objective_teach", import_batch(objective, &given, &values, batch)));
    return cb_token_teach(objective->core, &given);
}

/* --- learn --- */

static cribo_status check_range(const cb_token_trainer *core, const cribo_objective_chunk *chunk)
{
    int64_t batch = (int64_t)core->learner.objective->targets.own.images,
            next = (int64_t)cb_token_learned(core);
    CB_REQUIRE(chunk->images >= 1 && chunk->images <= batch,
        "chunk.images = %lld must be in 1 ... %lld, the images of the batch", (long long)chunk->images,
        (long long)batch);
    CB_REQUIRE(chunk->first == 0 || chunk->first == next,
        "chunk.first = %lld must be %lld, where the last chunk ended, or 0 to begin anew",
        (long long)chunk->first, (long long)next);
    CB_REQUIRE(chunk->images <= batch - chunk->first &&
                   cb_token_chunk_ends(core, (size_t)(chunk->first + chunk->images)),
        "chunk.images = %lld from image %lld on: a chunk is a whole number of micro-batches of %lld images",
        (long long)chunk->images, (long long)chunk->first, (long long)core->config.micro_batch);
    CB_REQUIRE(!cb_uses_koleo(&core->config) || chunk->images == batch,
        "chunk.images = %lld must be %lld: with koleo_weight or object_koleo_weight above 0 a chunk is the "
        "whole batch",
        (long long)chunk->images, (long long)batch);
    return CRIBO_OK;
}

static cribo_status import_chunk(
    const cribo_objective *objective, cb_token_chunk *chunk, const cribo_objective_chunk *from)
{
    cribo_objective_chunk given = {0};
    CB_TRY(cb_check_phase(
        &objective->core->learner, CB_PHASE_TAUGHT, "cribo_objective_learn", "cribo_objective_teach"));
    CB_TRY(cb_struct_import("chunk", &given, CB_SIZE_THROUGH(given, global_gradient), sizeof given, from));
    CB_TRY(check_range(objective->core, &given));
    *chunk = (cb_token_chunk){.first = (size_t)given.first,
        .images = (size_t)given.images,
        .dense_gradient = given.dense_gradient,
        .global_gradient = given.global_gradient};
    return import_tokens(objective, given.images,
        (strided){"chunk.dense", given.dense, given.dense_image_stride, given.dense_view_stride, 0},
        (strided){"chunk.global", given.global, given.global_image_stride, given.global_view_stride, 0},
        &chunk->student);
}

cribo_status cribo_objective_learn(cribo_objective *objective, const cribo_objective_chunk *chunk)
{
    cb_token_chunk given;
    CB_ENTER(objective);
    return cb_token_learn(objective->core, import_chunk(objective, &given, chunk), &given);
}

/* --- update, and results of a step --- */

static cribo_status check_update(const cribo_objective *objective, const cribo_report *report)
{
    CB_TRY(cb_check_report(report));
    return cb_check_phase(
        &objective->core->learner, CB_PHASE_LEARNED, "cribo_objective_update", "cribo_objective_learn");
}

cribo_status cribo_objective_update(cribo_objective *objective, cribo_report *report)
{
    cribo_report done;
    CB_ENTER(objective);
    CB_TRY(cb_token_trainer_meet(objective->core, "cribo_objective_update", check_update(objective, report)));
    CB_TRY(cb_learner_update(&objective->core->learner, &done));
    cb_export_report(&done, report);
    return CRIBO_OK;
}

cribo_status cribo_objective_losses(
    const cribo_objective *objective, double *loss, double *global, double *cross_view, double *cross_image)
{
    CB_ENTER(objective);
    const cb_token_trainer *core = objective->core;
    if (core->learner.phase == CB_PHASE_IDLE || core->learned == 0)
        return cb_fail(CRIBO_WRONG_STATE,
            "cribo_objective_losses needs what cribo_objective_learn finds: call that first");
    cb_export_losses(&core->learner, loss, global, cross_view, cross_image);
    return CRIBO_OK;
}

cribo_status cribo_objective_forget(cribo_objective *objective)
{
    CB_ENTER(objective);
    cb_learner_forget(&objective->core->learner);
    return CRIBO_OK;
}

cribo_status cribo_objective_targets(const cribo_objective *objective, const cribo_targets *targets)
{
    CB_ENTER(objective);
    return cb_export_targets(&objective->core->learner, "cribo_objective_teach", targets);
}

/* --- heads --- */

cribo_status cribo_objective_parameter_count(const cribo_objective *objective, int64_t *count)
{
    CB_ENTER(objective);
    CB_REQUIRE_POINTER(count);
    *count = (int64_t)objective->core->student.count;
    return CRIBO_OK;
}

cribo_status cribo_objective_parameter(
    const cribo_objective *objective, int64_t index, cribo_parameter *parameter)
{
    CB_ENTER(objective);
    return cb_export_parameter_at(&objective->core->student, index, parameter);
}

cribo_status cribo_objective_find_parameter(
    const cribo_objective *objective, const char *name, cribo_parameter *parameter)
{
    const cb_parameter *found = NULL;
    CB_ENTER(objective);
    CB_TRY(cb_find_parameter(&objective->core->student, HEADS, name, &found));
    return cb_export_parameter(found, parameter);
}

/* A parameter with `count` numbers, which a call is to read or write. */
static cribo_status find_counted(const cribo_objective *objective, const char *name, const float *values,
    int64_t count, const cb_parameter **found)
{
    CB_REQUIRE_POINTER(values);
    return cb_find_counted(&objective->core->student, HEADS, name, count, found);
}

static cribo_status find_values(const cribo_objective *objective, int64_t network, cb_real **values)
{
    CB_REQUIRE(network == CRIBO_STUDENT || network == CRIBO_TEACHER,
        "network = %lld must be CRIBO_STUDENT or CRIBO_TEACHER", (long long)network);
    *values = network == CRIBO_STUDENT ? objective->core->student.values : objective->core->teacher.values;
    return CRIBO_OK;
}

cribo_status cribo_objective_read_parameter(
    const cribo_objective *objective, int64_t network, const char *name, float *values, int64_t count)
{
    const cb_parameter *p = NULL;
    cb_real *from = NULL;
    CB_ENTER(objective);
    CB_TRY(find_counted(objective, name, values, count, &p));
    CB_TRY(find_values(objective, network, &from));
    memcpy(values, from + p->offset, p->count * sizeof *values);
    return CRIBO_OK;
}

cribo_status cribo_objective_write_parameter(
    cribo_objective *objective, int64_t network, const char *name, const float *values, int64_t count)
{
    const cb_parameter *p = NULL;
    cb_real *to = NULL;
    CB_ENTER(objective);
    CB_TRY(find_counted(objective, name, values, count, &p));
    CB_TRY(find_values(objective, network, &to));
    CB_TRY(cb_begin_writing(objective->guard, "parameters are written"));
    CB_TRY(cb_check_finite(objective->runtime.pool, "values", values, p->count));
    memcpy(to + p->offset, values, p->count * sizeof *values);
    return CRIBO_OK;
}

cribo_status cribo_objective_gradient(
    const cribo_objective *objective, const char *name, float *values, int64_t count)
{
    const cb_parameter *p = NULL;
    CB_ENTER(objective);
    CB_TRY(find_counted(objective, name, values, count, &p));
    CB_TRY(cb_check_whole(&objective->core->learner, "gradients"));
    memcpy(values, objective->core->student.gradients + p->offset, p->count * sizeof *values);
    return CRIBO_OK;
}

static cribo_status change_gradient(cribo_objective *objective, const char *call, const char *name,
    const float *values, int64_t count, cb_gradient_change change)
{
    const cb_parameter *p = NULL;
    CB_TRY(find_counted(objective, name, values, count, &p));
    CB_TRY(cb_check_whole(&objective->core->learner, "gradients"));
    CB_TRY(cb_check_phase(&objective->core->learner, CB_PHASE_LEARNED, call, "cribo_objective_learn"));
    return cb_import_gradient(&objective->core->learner, p, values, change);
}

cribo_status cribo_objective_set_gradient(
    cribo_objective *objective, const char *name, const float *values, int64_t count)
{
    CB_ENTER(objective);
    return change_gradient(objective, "cribo_objective_set_gradient", name, values, count, CB_GRADIENT_SET);
}

cribo_status cribo_objective_add_gradient(
    cribo_objective *objective, const char *name, const float *values, int64_t count)
{
    CB_ENTER(objective);
    return change_gradient(objective, "cribo_objective_add_gradient", name, values, count, CB_GRADIENT_ADD);
}

cribo_status cribo_objective_moments(const cribo_objective *objective, const char *name, float *first,
    float *second, int64_t count, int64_t *updates)
{
    const cb_parameter *p = NULL;
    CB_ENTER(objective);
    CB_TRY(cb_find_counted(&objective->core->student, HEADS, name, count, &p));
    CB_TRY(cb_check_whole(&objective->core->learner, "moments"));
    cb_export_moments(&objective->core->learner, p, first, second, updates);
    return CRIBO_OK;
}

/* --- centres, bank, steps --- */

cribo_status cribo_objective_get_centres(
    const cribo_objective *objective, float *centre, float *object_centre)
{
    CB_ENTER(objective);
    cb_export_centres(&objective->core->learner, centre, object_centre);
    return CRIBO_OK;
}

cribo_status cribo_objective_read_centres(const cribo_objective *objective, float *centre, int64_t count,
    float *object_centre, int64_t object_count)
{
    CB_ENTER(objective);
    return cb_read_centres(&objective->core->learner, centre, count, object_centre, object_count);
}

cribo_status cribo_objective_sizes(const cribo_objective *objective, cribo_sizes *sizes)
{
    CB_ENTER(objective);
    const cribo_sizes full = cb_learner_sizes(&objective->core->learner);
    return cb_export_sizes(&full, sizes);
}

cribo_status cribo_objective_set_centres(
    cribo_objective *objective, const float *centre, const float *object_centre)
{
    CB_ENTER(objective);
    CB_TRY(cb_begin_writing(objective->guard, "centres are written"));
    return cb_import_centres(&objective->core->learner, centre, object_centre);
}

cribo_memory_bank *cribo_objective_memory_bank(cribo_objective *objective)
{
    return objective ? &objective->bank : NULL;
}

cribo_status cribo_objective_step_count(const cribo_objective *objective, int64_t *steps)
{
    CB_ENTER(objective);
    CB_REQUIRE_POINTER(steps);
    *steps = objective->core->learner.step;
    return CRIBO_OK;
}

/* --- files --- */

static cribo_status save(const cribo_objective *objective, cb_place place, const cribo_save_options *options)
{
    cb_state state;
    cb_token_trainer *core = objective->core;
    CB_TRY(cb_check_between_steps(objective->guard, "a checkpoint is written"));
    cribo_status own = cb_state_of(&core->learner, &state),
                 status = cb_token_trainer_meet(core, "cribo_objective_save", own);
    if (status != CRIBO_OK && own == CRIBO_OK) cb_state_free(&state);
    CB_TRY(status);
    const cb_subject subject = {
        &objective->runtime, &cb_objective_run, &core->config, core->learner.step, &state, &core->learner};
    status = cb_save_checkpoint(&subject, place, options);
    cb_state_free(&state);
    return cb_ranks_agree(core->ranks, status);
}

cribo_status cribo_objective_save(
    const cribo_objective *objective, const char *path, const cribo_save_options *options)
{
    CB_ENTER(objective);
    CB_REQUIRE_POINTER(path);
    return save(objective, cb_at(path), options);
}

cribo_status cribo_objective_save_to(
    const cribo_objective *objective, const cribo_writer *writer, const cribo_save_options *options)
{
    cb_stream to;
    CB_ENTER(objective);
    CB_TRY(cb_import_writer(&to, writer));
    return save(objective, to.place, options);
}

static cribo_status load(cribo_objective *objective, cb_place place, const cribo_load_options *options)
{
    return cb_load_checkpoint(&cb_objective_run, &objective->core->learner, &objective->core->config,
        "cribo_objective_load", place, options);
}

cribo_status cribo_objective_load(
    cribo_objective *objective, const char *path, const cribo_load_options *options)
{
    CB_ENTER(objective);
    CB_REQUIRE_POINTER(path);
    return load(objective, cb_at(path), options);
}

cribo_status cribo_objective_load_from(
    cribo_objective *objective, const cribo_reader *reader, const cribo_load_options *options)
{
    cb_stream from;
    CB_ENTER(objective);
    CB_TRY(cb_import_reader(&from, reader));
    return load(objective, from.place, options);
}
