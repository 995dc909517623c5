/*
 * The files of a trainer: checks of the arguments, then files/checkpoint.h. See cribo/trainer.h.
 */
#include "api/checkpoint.h"

#include "api/learner.h"
#include "api/streams.h"
#include "api/trainer.h"
#include "base/structs.h"
#include "base/text.h"
#include "communication/meeting.h"
#include "training/settings.h"

#include <stdio.h>
#include <string.h>

#define MAX_METADATA 10000 /* more is a mistake; the header stays far below the limit of the format */

/* --- saving --- */

static cribo_status check_keys(const cribo_save_options *options)
{
    for (int64_t i = 0; i < options->metadata_count; i++) {
        const char *key = options->metadata_keys[i];
        CB_REQUIRE(key && options->metadata_values[i], "options.metadata_%s[%lld] is NULL",
            key ? "values" : "keys", (long long)i);
        CB_REQUIRE(*key, "options.metadata_keys[%lld] is empty", (long long)i);
        for (int64_t j = 0; j < i; j++)
            CB_REQUIRE(strcmp(key, options->metadata_keys[j]) != 0,
                "options.metadata_keys[%lld] = \"%.100s\" stands twice", (long long)i, key);
    }
    return CRIBO_OK;
}

static cribo_status check_options(const cribo_save_options *options)
{
    CB_REQUIRE(options->level >= 0 && options->level <= 9, "options.level = %lld must be in 0 ... 9",
        (long long)options->level);
    CB_REQUIRE(options->metadata_count >= 0 && options->metadata_count <= MAX_METADATA,
        "options.metadata_count = %lld must be in 0 ... %d", (long long)options->metadata_count,
        MAX_METADATA);
    CB_REQUIRE(options->metadata_count == 0 || (options->metadata_keys && options->metadata_values),
        "options.metadata_%s is NULL", options->metadata_keys ? "values" : "keys");
    return check_keys(options);
}

static cribo_status choose_options(cribo_save_options *chosen, const cribo_save_options *options)
{
    *chosen = (cribo_save_options){.level = CB_DEFAULT_LEVEL};
    if (options) CB_TRY(CB_IMPORT(*chosen, options, metadata_values));
    return check_options(chosen);
}

cribo_status cb_save_checkpoint(const cb_subject *subject, cb_place place, const cribo_save_options *options)
{
    cribo_save_options chosen;
    cribo_status status = choose_options(&chosen, options);
    CB_TRY(cb_ranks_agree(subject->learner ? subject->learner->ranks : NULL, status));
    return cb_checkpoint_write(subject, place, &chosen);
}

cribo_status cb_save_weights(const cb_subject *subject, cb_place place, const cribo_save_options *options)
{
    cribo_save_options chosen;
    cribo_status status = choose_options(&chosen, options);
    CB_TRY(cb_ranks_agree(subject->learner ? subject->learner->ranks : NULL, status));
    return cb_run_weights_write(subject, place, &chosen);
}

/* A trainer's state in place; free with cb_state_free. */
static cribo_status subject_of(
    const cribo_trainer *trainer, const char *call, cb_state *state, cb_subject *subject)
{
    cb_trainer *core = trainer->core;
    cribo_status own = cb_state_of(&core->learner, state), status = cb_trainer_meet(core, call, own);
    if (status != CRIBO_OK && own == CRIBO_OK) cb_state_free(state);
    CB_TRY(status);
    *subject = (cb_subject){
        &trainer->runtime, &cb_trainer_run, &core->config, core->learner.step, state, &core->learner};
    return CRIBO_OK;
}

static cribo_status save_weights(
    const cribo_trainer *trainer, cb_place place, const cribo_save_options *options)
{
    cb_state state;
    cb_subject subject;
    CB_TRY(subject_of(trainer, "cribo_trainer_save_weights", &state, &subject));
    cribo_status status = cb_save_weights(&subject, place, options);
    cb_state_free(&state);
    return cb_ranks_agree(trainer->core->ranks, status);
}

cribo_status cribo_trainer_save_weights_with(
    const cribo_trainer *trainer, const char *path, const cribo_save_options *options)
{
    CB_ENTER(trainer);
    CB_REQUIRE_POINTER(path);
    return save_weights(trainer, cb_at(path), options);
}

cribo_status cribo_trainer_save_weights(const cribo_trainer *trainer, const char *path)
{
    return cribo_trainer_save_weights_with(trainer, path, NULL);
}

cribo_status cribo_trainer_save_weights_to(const cribo_trainer *trainer, const cribo_writer *writer)
{
    cb_stream to;
    CB_ENTER(trainer);
    CB_TRY(cb_import_writer(&to, writer));
    return save_weights(trainer, to.place, NULL);
}

static cribo_status save(const cribo_trainer *trainer, cb_place place, const cribo_save_options *options)
{
    cb_state state;
    cb_subject subject;
    CB_TRY(cb_check_idle(&trainer->core->learner, "a checkpoint is written"));
    CB_TRY(subject_of(trainer, "cribo_trainer_save", &state, &subject));
    cribo_status status = cb_save_checkpoint(&subject, place, options);
    cb_state_free(&state);
    return cb_ranks_agree(trainer->core->ranks, status);
}

cribo_status cribo_trainer_save(
    const cribo_trainer *trainer, const char *path, const cribo_save_options *options)
{
    CB_ENTER(trainer);
    CB_REQUIRE_POINTER(path);
    return save(trainer, cb_at(path), options);
}

cribo_status cribo_trainer_save_to(
    const cribo_trainer *trainer, const cribo_writer *writer, const cribo_save_options *options)
{
    cb_stream to;
    CB_ENTER(trainer);
    CB_TRY(cb_import_writer(&to, writer));
    return save(trainer, to.place, options);
}

/* --- loading --- */

static cribo_status check_overrides(const cb_config_table *settings, const char *list)
{
    size_t length;
    char name[64];
    for (const char *item; (item = cb_next_name(&list, &length));) {
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), item);
        CB_REQUIRE(length < sizeof name && cb_config_find(settings, name),
            "options.overrides: \"%s\" is no setting", name);
    }
    return CRIBO_OK;
}

static cribo_status open_checked(const cb_run_kind *kind, const cb_learner *learner, cb_place place,
    const cribo_load_options *options, const char **overrides, cb_checkpoint *checkpoint)
{
    cribo_load_options chosen = {0};
    if (options) CB_TRY(CB_IMPORT(chosen, options, overrides));
    if (chosen.overrides) *overrides = chosen.overrides;
    CB_TRY(check_overrides(kind->settings, *overrides));
    return cb_checkpoint_open(&learner->runtime->allocator, checkpoint, kind, place);
}

cribo_status cb_load_checkpoint(const cb_run_kind *kind, cb_learner *learner, const void *config,
    const char *call, cb_place place, const cribo_load_options *options)
{
    cb_checkpoint checkpoint;
    const char *overrides = "";
    const cb_meeting meeting = {call, kind->settings, config};
    cribo_status opened = open_checked(kind, learner, place, options, &overrides, &checkpoint),
                 status = cb_ranks_meet(learner->ranks, &meeting, opened);
    if (status != CRIBO_OK && opened == CRIBO_OK) cb_checkpoint_close(&checkpoint);
    CB_TRY(status);
    status = cb_checkpoint_restore(&checkpoint, learner, config, overrides);
    cb_checkpoint_close(&checkpoint);
    return status;
}

static cribo_status load(cribo_trainer *trainer, cb_place place, const cribo_load_options *options)
{
    return cb_load_checkpoint(&cb_trainer_run, &trainer->core->learner, &trainer->core->config,
        "cribo_trainer_load", place, options);
}

cribo_status cribo_trainer_load(cribo_trainer *trainer, const char *path, const cribo_load_options *options)
{
    CB_ENTER(trainer);
    CB_REQUIRE_POINTER(path);
    return load(trainer, cb_at(path), options);
}

cribo_status cribo_trainer_load_from(
    cribo_trainer *trainer, const cribo_reader *reader, const cribo_load_options *options)
{
    cb_stream from;
    CB_ENTER(trainer);
    CB_TRY(cb_import_reader(&from, reader));
    return load(trainer, from.place, options);
}

/* --- looking into a file --- */

static const cb_allocator plain = {0};

static cribo_status config_in(cb_place place, cribo_trainer_config *out)
{
    cribo_trainer_config saved;
    CB_REQUIRE_POINTER(out);
    CB_TRY(cb_run_settings(&plain, &cb_trainer_run, place, &saved));
    CB_TRY(cb_check_size("out", out->struct_size, cb_trainer_settings.first_size, sizeof saved));
    cb_struct_export(out, &saved, sizeof saved);
    return CRIBO_OK;
}

cribo_status cribo_checkpoint_config(const char *path, cribo_trainer_config *out)
{
    CB_REQUIRE_POINTER(path);
    return config_in(cb_at(path), out);
}

cribo_status cribo_checkpoint_config_from(const cribo_reader *reader, cribo_trainer_config *out)
{
    cb_stream from;
    CB_TRY(cb_import_reader(&from, reader));
    return config_in(from.place, out);
}

static cribo_status copy_metadata(const cb_checkpoint *checkpoint, const char *key, char *buffer, size_t size)
{
    const char *value = cb_checkpoint_text(checkpoint, key);
    CB_REQUIRE(value, "%.200s: key = \"%.100s\" is not in its metadata", checkpoint->path, key);
    size_t bytes = strlen(value) + 1;
    CB_REQUIRE(bytes <= size, "size = %zu, but \"%.100s\" takes %zu bytes", size, key, bytes);
    memcpy(buffer, value, bytes);
    return CRIBO_OK;
}

static cribo_status metadata_in(cb_place place, const char *key, char *buffer, size_t size)
{
    cb_checkpoint checkpoint;
    CB_REQUIRE_POINTER(key);
    CB_REQUIRE_POINTER(buffer);
    CB_TRY(cb_checkpoint_open(&plain, &checkpoint, NULL, place));
    cribo_status status = copy_metadata(&checkpoint, key, buffer, size);
    cb_checkpoint_close(&checkpoint);
    return status;
}

cribo_status cribo_checkpoint_metadata(const char *path, const char *key, char *buffer, size_t size)
{
    CB_REQUIRE_POINTER(path);
    return metadata_in(cb_at(path), key, buffer, size);
}

cribo_status cribo_checkpoint_metadata_from(
    const cribo_reader *reader, const char *key, char *buffer, size_t size)
{
    cb_stream from;
    CB_TRY(cb_import_reader(&from, reader));
    return metadata_in(from.place, key, buffer, size);
}
