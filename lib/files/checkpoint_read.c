/* Reading a checkpoint. See checkpoint.h. */
#include "base/text.h"
#include "files/checkpoint.h"
#include "files/metadata.h"
#include "io/safetensors_checksums.h"
#include "training/settings.h"

#include <stdio.h>
#include <string.h>

const cb_run_kind cb_trainer_run = {"trainer", CB_KIND_CHECKPOINT, &cb_trainer_settings};
const cb_run_kind cb_objective_run = {"objective", CB_KIND_OBJECTIVE, &cb_objective_settings};

/* The file's kind and its version; NULL: not one of ours. */
static const char *kind_of(const cb_checkpoint *c)
{
    const char *kind = cb_safetensors_metadata(c->file, CB_KIND_KEY);
    const char *format = cb_safetensors_metadata(c->file, CB_FORMAT_KEY);
    bool old = !kind && format && cb_starts_with(format, CB_OLD_FORMAT_BEGIN);
    return old ? format + strlen(CB_OLD_FORMAT_BEGIN) : kind;
}

/* Whether the file has the weights of a run; early ones have no kind, but the step. */
static bool is_weights(const cb_checkpoint *c)
{
    const char *kind = kind_of(c);
    if (!kind) return cb_safetensors_metadata(c->file, CB_CHECKPOINT_STEP_KEY) != NULL;
    return strcmp(kind, CB_KIND_WEIGHTS) == 0;
}

/* The kind of run with this name; a trainer's where there is none. */
static const cb_run_kind *run_kind(const char *kind)
{
    return kind && strcmp(kind, cb_objective_run.format) == 0 ? &cb_objective_run : &cb_trainer_run;
}

static cribo_status check_format(cb_checkpoint *c)
{
    const char *kind = kind_of(c);
    if (!c->kind) c->kind = run_kind(kind);
    if (!kind)
        return cb_fail(
            CRIBO_CORRUPT, "%.200s: this is no checkpoint: its metadata lack \"" CB_KIND_KEY "\"", c->path);
    if (strcmp(kind, c->kind->format) != 0)
        return cb_fail(CRIBO_CORRUPT,
            "%.200s: this is no checkpoint of a %s: it is \"%.100s\", but this version reads \"%s\"", c->path,
            c->kind->noun, kind, c->kind->format);
    if (!cb_safetensors_has_checksums(c->file))
        return cb_fail(CRIBO_CORRUPT, "%.200s: checksums are missing", c->path);
    return CRIBO_OK;
}

cribo_status cb_checkpoint_open(
    const cb_allocator *allocator, cb_checkpoint *c, const cb_run_kind *kind, cb_place place)
{
    c->kind = kind;
    c->path = place.path;
    CB_TRY(cb_safetensors_open(allocator, &c->file, place));
    cribo_status status = !kind && is_weights(c) ? CRIBO_OK : check_format(c);
    if (status != CRIBO_OK) cb_checkpoint_close(c);
    return status;
}

void cb_checkpoint_close(cb_checkpoint *c)
{
    cb_safetensors_close(c->file);
    c->file = NULL;
}

/* --- settings --- */

/* Whether a metadata key is not a setting. */
static bool is_other(const char *key)
{
    return cb_starts_with(key, CB_CHECKPOINT_CALLER) || cb_starts_with(key, CB_CHECKSUM_PREFIX) ||
           strcmp(key, "crc32") == 0 || strcmp(key, CB_FORMAT_KEY) == 0 || strcmp(key, CB_KIND_KEY) == 0 ||
           strcmp(key, CB_CHECKPOINT_STEP_KEY) == 0;
}

cribo_status cb_checkpoint_settings(const cb_checkpoint *c, void *config)
{
    char problem[200];
    CB_TRY(cb_config_init(c->kind->settings, config, c->kind->settings->size));
    for (size_t i = 0; i < cb_safetensors_pair_count(c->file); i++) {
        const cb_metadata_pair *pair = cb_safetensors_pair(c->file, i);
        if (is_other(pair->key) ||
            cb_config_set(c->kind->settings, config, pair->key, pair->value) == CRIBO_OK)
            continue;
        snprintf(problem, sizeof problem, "%s", cribo_last_error());
        return cb_fail(CRIBO_CORRUPT, "%.200s: metadata: %s", c->path, problem);
    }
    return CRIBO_OK;
}

/* The largest of the kinds' settings. */
typedef union any_config {
    cribo_trainer_config trainer;
    cribo_objective_config objective;
} any_config;

static cribo_status compare_settings(const cb_checkpoint *c, const void *own, const char *overrides)
{
    any_config saved;
    CB_TRY(cb_checkpoint_settings(c, &saved));
    for (size_t i = 0; i < c->kind->settings->count; i++) {
        const cb_field *field = &c->kind->settings->fields[i];
        char in_file[CB_NUMBER_BYTES], in_run[CB_NUMBER_BYTES];
        if (cb_config_get(field, &saved) == cb_config_get(field, own) ||
            cb_list_has(overrides, field->setting.name))
            continue;
        cb_config_text(field, &saved, in_file);
        cb_config_text(field, own, in_run);
        return cb_fail(CRIBO_INVALID_ARGUMENT, "%.200s: %s = %s in the file, but %s in the %s", c->path,
            field->setting.name, in_file, in_run, c->kind->noun);
    }
    return CRIBO_OK;
}

static cribo_status read_step(const cb_checkpoint *c, int64_t *step)
{
    const char *text = cb_safetensors_metadata(c->file, CB_CHECKPOINT_STEP_KEY);
    size_t digits = text ? strspn(text, "0123456789") : 0;
    if (digits == 0 || text[digits] != 0 || digits > 18)
        return cb_fail(CRIBO_CORRUPT, "%.200s: metadata: step = \"%.50s\" is no number of steps", c->path,
            text ? text : "");
    *step = 0;
    for (size_t i = 0; i < digits; i++) *step = 10 * *step + (text[i] - '0');
    return CRIBO_OK;
}

cribo_status cb_run_settings(
    const cb_allocator *allocator, const cb_run_kind *kind, cb_place place, void *config)
{
    cb_checkpoint c = {.kind = kind, .path = place.path};
    CB_TRY(cb_safetensors_open(allocator, &c.file, place));
    cribo_status status = is_weights(&c) ? CRIBO_OK : check_format(&c);
    if (status == CRIBO_OK) status = cb_checkpoint_settings(&c, config);
    cb_checkpoint_close(&c);
    return status;
}

/* --- arrays --- */

static cribo_status check_axis(
    const cb_checkpoint *c, const cb_tensor_info *tensor, size_t axis, size_t expected)
{
    CB_REQUIRE(tensor->shape[axis] == expected,
        "%.200s: tensor \"%.100s\": axis %zu has length %llu in the file, but %zu in the %s", c->path,
        tensor->name, axis, (unsigned long long)tensor->shape[axis], expected, c->kind->noun);
    return CRIBO_OK;
}

static cribo_status check_array(const cb_checkpoint *c, const cb_state_array *array)
{
    const cb_tensor_info *tensor = cb_safetensors_find(c->file, array->prefix, array->name);
    if (!tensor)
        return cb_fail(
            CRIBO_CORRUPT, "%.200s: there is no tensor \"%s%.100s\"", c->path, array->prefix, array->name);
    if (!cb_tensor_is(tensor, array->integers ? CB_I64 : CB_F32) || tensor->axes != array->axes)
        return cb_fail(CRIBO_CORRUPT,
            "%.200s: tensor \"%.100s\" has dtype %s and %zu axes, which is not as expected", c->path,
            tensor->name, tensor->dtype, tensor->axes);
    for (size_t i = 0; i < array->axes; i++) CB_TRY(check_axis(c, tensor, i, array->shape[i]));
    return CRIBO_OK;
}

/* The length of a tensor's first axis, which may be at most `most`. */
static cribo_status read_length(const cb_checkpoint *c, const char *name, size_t most, size_t *length)
{
    const cb_tensor_info *tensor = cb_safetensors_find(c->file, NULL, name);
    if (!tensor || tensor->axes == 0)
        return cb_fail(CRIBO_CORRUPT, "%.200s: there is no tensor \"%s\"", c->path, name);
    CB_REQUIRE(tensor->shape[0] <= most,
        "%.200s: %s: length %llu in the file, but the %s's bank has room for %zu", c->path, name,
        (unsigned long long)tensor->shape[0], c->kind->noun, most);
    *length = (size_t)tensor->shape[0];
    return CRIBO_OK;
}

/* A divided array of a stage. */
typedef struct storing {
    const cb_learner *learner;
    const cb_state *stage;
    const cb_state_array *array;
} storing;

static void store(void *context, size_t first, const float *piece, size_t count)
{
    const storing *s = context;
    cb_state_store(s->learner, s->stage, s->array, first, count, piece);
}

static cribo_status read_array(
    const cb_checkpoint *c, const cb_learner *learner, const cb_state *stage, const cb_tensor_info *tensor)
{
    const cb_state_array *array = cb_state_find(stage, tensor->name);
    storing to = {learner, stage, array};
    if (array->divided)
        return cb_safetensors_read_pieces(c->file, tensor, stage->piece, cb_state_piece(array), store, &to);
    return cb_safetensors_read_as(
        c->file, tensor, array->integers ? CB_I64 : CB_F32, array->values, array->count);
}

/*
 * Reads in the order of the file, so that one pass over it is enough. Names in a file are unique: if the file
 * has the same number of tensors as the stage and all tensors of the stage, it has no others.
 */
static cribo_status read_arrays(const cb_checkpoint *c, const cb_learner *learner, const cb_state *stage)
{
    for (size_t i = 0; i < stage->count; i++) CB_TRY(check_array(c, &stage->arrays[i]));
    if (cb_safetensors_count(c->file) != stage->count)
        return cb_fail(CRIBO_CORRUPT, "%.200s: there are %zu tensors, not %zu", c->path,
            cb_safetensors_count(c->file), stage->count);
    for (size_t i = 0; i < stage->count; i++)
        CB_TRY(read_array(c, learner, stage, cb_safetensors_tensor(c->file, i)));
    return cb_safetensors_finish(c->file);
}

/* Reads the state into a stage; free it with cb_state_free, also after a failure. */
static cribo_status read_state(const cb_checkpoint *c, cb_learner *learner, cb_state *stage, int64_t *step)
{
    const cb_objective *objective = learner->objective;
    size_t images = 0, objects = 0, most = cb_memory_bank_capacity(objective->bank);
    CB_TRY(read_step(c, step));
    CB_TRY(read_length(c, "bank.objects_per_image", most, &images));
    CB_TRY(read_length(c, "bank.view1", most * objective->sizes.clusters, &objects));
    CB_TRY(cb_state_stage(learner, images, objects, stage));
    CB_TRY(read_arrays(c, learner, stage));
    return cb_state_check(learner, stage, c->path);
}

/* --- the calls --- */

cribo_status cb_checkpoint_restore(
    const cb_checkpoint *c, cb_learner *learner, const void *config, const char *overrides)
{
    cb_state stage = {.allocator = &learner->runtime->allocator};
    int64_t step = 0;
    cribo_status status = compare_settings(c, config, overrides);
    if (status == CRIBO_OK) status = read_state(c, learner, &stage, &step);
    status = cb_ranks_agree(learner->ranks, status); /* all ranks change, or none */
    if (status == CRIBO_OK) cb_state_adopt(learner, &stage, step);
    cb_state_free(&stage);
    return status;
}

const char *cb_checkpoint_text(const cb_checkpoint *c, const char *key)
{
    const size_t prefix = sizeof CB_CHECKPOINT_CALLER - 1;
    for (size_t i = 0; i < cb_safetensors_pair_count(c->file); i++) {
        const cb_metadata_pair *pair = cb_safetensors_pair(c->file, i);
        if (cb_starts_with(pair->key, CB_CHECKPOINT_CALLER) && strcmp(pair->key + prefix, key) == 0)
            return pair->value;
    }
    return NULL;
}
