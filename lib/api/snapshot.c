/* A trainer's state at one moment, to be saved while training continues. See cribo/trainer.h. */
#include "cribo/trainer.h"

#include "api/checkpoint.h"
#include "api/create.h"
#include "api/learner.h"
#include "api/streams.h"
#include "api/trainer.h"

struct cribo_snapshot {
    cb_runtime runtime;
    cribo_trainer_config config;
    int64_t step;
    cb_state state; /* a copy; without arrays on the ranks that do not write */
};

static cribo_status take(cribo_snapshot *snapshot, const cribo_trainer *trainer)
{
    snapshot->config = trainer->core->config;
    snapshot->step = trainer->core->learner.step;
    return cb_state_copy(&trainer->core->learner, &snapshot->runtime.allocator, &snapshot->state);
}

cribo_status cribo_snapshot_create(
    cribo_snapshot **out, const cribo_trainer *trainer, const cribo_runtime *runtime)
{
    cribo_snapshot *snapshot;
    cb_runtime own;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_ENTER(trainer);
    cribo_status begun = cb_check_idle(&trainer->core->learner, "a snapshot is taken");
    if (begun == CRIBO_OK) begun = cb_handle_begin(&own, runtime, &snapshot, sizeof *snapshot, "snapshot");
    cribo_status status = cb_trainer_meet(trainer->core, "cribo_snapshot_create", begun);
    if (begun != CRIBO_OK) return status;
    snapshot->runtime = own;
    if (status == CRIBO_OK) status = take(snapshot, trainer);
    if (status == CRIBO_OK)
        *out = snapshot;
    else
        cribo_snapshot_free(snapshot);
    return status;
}

void cribo_snapshot_free(cribo_snapshot *snapshot)
{
    if (!snapshot) return;
    cb_runtime runtime = snapshot->runtime;
    if (snapshot->state.arrays) cb_state_free(&snapshot->state);
    cb_release(&runtime.allocator, snapshot);
    cb_runtime_end(&runtime);
}

static cb_subject subject_of(const cribo_snapshot *snapshot)
{
    return (cb_subject){
        &snapshot->runtime, &cb_trainer_run, &snapshot->config, snapshot->step, &snapshot->state, NULL};
}

static cribo_status save(const cribo_snapshot *snapshot, cb_place place, const cribo_save_options *options)
{
    if (!snapshot->state.arrays) return CRIBO_OK;
    cb_subject subject = subject_of(snapshot);
    return cb_save_checkpoint(&subject, place, options);
}

cribo_status cribo_snapshot_save(
    const cribo_snapshot *snapshot, const char *path, const cribo_save_options *options)
{
    CB_REQUIRE_POINTER(snapshot);
    CB_REQUIRE_POINTER(path);
    return save(snapshot, cb_at(path), options);
}

cribo_status cribo_snapshot_save_to(
    const cribo_snapshot *snapshot, const cribo_writer *writer, const cribo_save_options *options)
{
    cb_stream to;
    CB_REQUIRE_POINTER(snapshot);
    CB_TRY(cb_import_writer(&to, writer));
    return save(snapshot, to.place, options);
}

static cribo_status save_weights(
    const cribo_snapshot *snapshot, cb_place place, const cribo_save_options *options)
{
    if (!snapshot->state.arrays) return CRIBO_OK;
    cb_subject subject = subject_of(snapshot);
    return cb_save_weights(&subject, place, options);
}

cribo_status cribo_snapshot_save_weights_with(
    const cribo_snapshot *snapshot, const char *path, const cribo_save_options *options)
{
    CB_REQUIRE_POINTER(snapshot);
    CB_REQUIRE_POINTER(path);
    return save_weights(snapshot, cb_at(path), options);
}

cribo_status cribo_snapshot_save_weights(const cribo_snapshot *snapshot, const char *path)
{
    return cribo_snapshot_save_weights_with(snapshot, path, NULL);
}

cribo_status cribo_snapshot_save_weights_to(const cribo_snapshot *snapshot, const cribo_writer *writer)
{
    cb_stream to;
    CB_REQUIRE_POINTER(snapshot);
    CB_TRY(cb_import_writer(&to, writer));
    return save_weights(snapshot, to.place, NULL);
}
