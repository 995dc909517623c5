/* Writing a run's state: its weights, or all of it. See checkpoint.h. */
#include "files/bank.h"
#include "files/checkpoint.h"
#include "files/led_file.h"
#include "files/metadata.h"

#include <stdio.h>
#include <string.h>

/* --- metadata --- */

typedef char number_text[CB_NUMBER_BYTES];

/* The number of pairs of describe_run: the settings, the step, format and kind. */
static size_t described_pairs(const cb_subject *subject)
{
    return subject->kind->settings->count + 3;
}

/* Every setting by name, and the steps done, as text. */
static void describe_run(
    const cb_subject *subject, const char *kind, cb_metadata_pair *pairs, number_text *text)
{
    size_t count = subject->kind->settings->count;
    for (size_t i = 0; i < count; i++) {
        const cb_field *field = &subject->kind->settings->fields[i];
        cb_config_text(field, subject->config, text[i]);
        pairs[i] = (cb_metadata_pair){field->setting.name, text[i]};
    }
    snprintf(text[count], CB_NUMBER_BYTES, "%lld", (long long)subject->step);
    pairs[count] = (cb_metadata_pair){CB_CHECKPOINT_STEP_KEY, text[count]};
    pairs[count + 1] = (cb_metadata_pair){CB_FORMAT_KEY, CB_FORMAT};
    pairs[count + 2] = (cb_metadata_pair){CB_KIND_KEY, kind};
}

/* A divided array that is fetched from the ranks. */
typedef struct fetching {
    cb_learner *learner;
    const cb_state *state;
    const cb_state_array *array;
} fetching;

/* The tensors and metadata of a file, in separate memory. */
typedef struct document {
    const cb_allocator *allocator;
    cb_tensor_entry *entries;
    cb_stretch *stretches;
    cb_fetched *fetched;
    fetching *fetching;
    cb_real *piece;
    cb_metadata_pair *pairs;
    number_text *text;
    char *keys;
    size_t count, pair_count;
} document;

static void free_document(document *d)
{
    cb_release(d->allocator, d->keys);
    cb_release(d->allocator, d->text);
    cb_release(d->allocator, d->pairs);
    cb_release(d->allocator, d->piece);
    cb_release(d->allocator, d->fetching);
    cb_release(d->allocator, d->fetched);
    cb_release(d->allocator, d->stretches);
    cb_release(d->allocator, d->entries);
}

/* With room for every array of the state. */
static cribo_status begin_document(
    document *d, const cb_subject *subject, const char *kind, size_t further_pairs)
{
    size_t pairs = described_pairs(subject) + further_pairs, entries = subject->state->count;
    d->allocator = &subject->runtime->allocator;
    CB_TRY(CB_ALLOCATE(d->allocator, &d->entries, entries, "list of tensors"));
    CB_TRY(CB_ALLOCATE(d->allocator, &d->pairs, pairs, "metadata"));
    CB_TRY(CB_ALLOCATE(d->allocator, &d->text, described_pairs(subject), "metadata"));
    describe_run(subject, kind, d->pairs, d->text);
    d->pair_count = described_pairs(subject);
    return CRIBO_OK;
}

/* The caller's strings; their keys get a prefix. */
static cribo_status add_metadata(document *d, const cribo_save_options *options)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < options->metadata_count; i++)
        bytes += sizeof CB_CHECKPOINT_CALLER + strlen(options->metadata_keys[i]);
    CB_TRY(CB_ALLOCATE(d->allocator, &d->keys, bytes, "metadata"));
    char *key = d->keys;
    for (int64_t i = 0; i < options->metadata_count; i++) {
        size_t length = sizeof CB_CHECKPOINT_CALLER + strlen(options->metadata_keys[i]);
        snprintf(key, length, "%s%s", CB_CHECKPOINT_CALLER, options->metadata_keys[i]);
        d->pairs[d->pair_count++] = (cb_metadata_pair){key, options->metadata_values[i]};
        key += length;
    }
    return CRIBO_OK;
}

static cb_tensor_entry *add_array(document *d, const cb_state_array *array)
{
    cb_tensor_entry *entry = &d->entries[d->count++];
    *entry = (cb_tensor_entry){.prefix = array->prefix,
        .name = array->name,
        .axes = (int64_t)array->axes,
        .values = array->values,
        .dtype = array->integers ? CB_I64 : CB_F32};
    for (size_t i = 0; i < array->axes; i++) entry->shape[i] = (int64_t)array->shape[i];
    return entry;
}

/* --- weights --- */

/* Parameters of a network; the average once it has begun. */
static bool is_weight(const cb_state *state, const cb_state_array *array)
{
    if (strcmp(array->prefix, CB_AVERAGE_PREFIX) == 0)
        return *(const int64_t *)cb_state_find(state, "average_steps")->values > 0;
    return strcmp(array->prefix, CB_STUDENT_PREFIX) == 0 || strcmp(array->prefix, CB_TEACHER_PREFIX) == 0;
}

static cribo_status list_weights(document *d, const cb_subject *subject, const cribo_save_options *options)
{
    CB_TRY(begin_document(d, subject, CB_KIND_WEIGHTS, (size_t)options->metadata_count));
    CB_TRY(add_metadata(d, options));
    for (size_t i = 0; i < subject->state->count; i++) {
        const cb_state_array *array = &subject->state->arrays[i];
        if (is_weight(subject->state, array)) add_array(d, array);
    }
    return CRIBO_OK;
}

/* The weights are the same on all ranks: rank 0 writes them. */
static cribo_status write_weights(
    document *d, const cb_subject *subject, cb_place place, const cribo_save_options *options)
{
    cb_ranks *ranks = subject->learner ? subject->learner->ranks : NULL;
    cb_led_file file;
    CB_TRY(list_weights(d, subject, options));
    CB_TRY(cb_led_file_begin(&file, ranks, &place));
    return cb_led_file_end(
        &file, cb_safetensors_write(d->allocator, place, d->entries, d->count, d->pairs, d->pair_count));
}

cribo_status cb_run_weights_write(
    const cb_subject *subject, cb_place place, const cribo_save_options *options)
{
    document d = {0};
    cb_ranks *ranks = subject->learner ? subject->learner->ranks : NULL;
    cb_ranks_lead(ranks);
    cribo_status status = cb_ranks_own(ranks) == 0 ? write_weights(&d, subject, place, options) : CRIBO_OK;
    status = cb_ranks_release(ranks, status);
    free_document(&d);
    return status;
}

/* --- the whole state --- */

static cribo_status fetch(void *context, size_t offset, size_t bytes, void *piece)
{
    const fetching *f = context;
    return cb_state_fetch(
        f->learner, f->state, f->array, offset / sizeof(cb_real), bytes / sizeof(cb_real), piece);
}

/* Memory for the values that are not in the state. */
static cribo_status prepare_values(document *d, const cb_subject *subject)
{
    size_t count = subject->state->count, most = 0;
    if (!subject->learner) return CRIBO_OK;
    const cb_memory_bank *bank = subject->learner->objective->bank;
    CB_TRY(CB_ALLOCATE(d->allocator, &d->stretches, 2 * cb_memory_bank_stretches(bank), "list of tensors"));
    if (!subject->learner->ranks) return CRIBO_OK;
    for (size_t i = 0; i < count; i++) most = cb_max(most, cb_state_piece(&subject->state->arrays[i]));
    CB_TRY(CB_ALLOCATE(d->allocator, &d->fetched, count, "list of tensors"));
    CB_TRY(CB_ALLOCATE(d->allocator, &d->fetching, count, "list of tensors"));
    return CB_ALLOCATE(d->allocator, &d->piece, most, "piece of a state");
}

/* The values of array `i`, which are not in the state. */
static void find_values(document *d, const cb_subject *subject, size_t i, cb_tensor_entry *entry)
{
    const cb_state_array *array = &subject->state->arrays[i];
    const cb_memory_bank *bank = subject->learner->objective->bank;
    if (!array->divided) {
        int view = array->kind == CB_STATE_VIEW2;
        cb_bank_list_stretches(
            bank, entry, view, d->stretches + (size_t)view * cb_memory_bank_stretches(bank));
        return;
    }
    d->fetching[i] = (fetching){subject->learner, subject->state, array};
    d->fetched[i] = (cb_fetched){fetch, &d->fetching[i], d->piece, cb_state_piece(array) * sizeof(cb_real)};
    entry->fetched = &d->fetched[i];
}

static cribo_status list_state(document *d, const cb_subject *subject, const cribo_save_options *options)
{
    CB_TRY(begin_document(d, subject, subject->kind->format, (size_t)options->metadata_count));
    CB_TRY(add_metadata(d, options));
    CB_TRY(prepare_values(d, subject));
    for (size_t i = 0; i < subject->state->count; i++) {
        cb_tensor_entry *entry = add_array(d, &subject->state->arrays[i]);
        if (!entry->values) find_values(d, subject, i, entry);
    }
    return CRIBO_OK;
}

/* All pieces are fetched, also where the file cannot begin. */
static cribo_status write_file(const document *d, cb_ranks *ranks, cb_compression compression, cb_place place)
{
    cb_led_file file;
    cribo_status begun = cb_led_file_begin(&file, ranks, &place);
    if (begun != CRIBO_OK) {
        CB_TRY(cb_safetensors_fetch_only(d->entries, d->count));
        return begun;
    }
    return cb_led_file_end(&file, cb_safetensors_write_gzip(d->allocator, &compression, place, d->entries,
                                      d->count, d->pairs, d->pair_count));
}

static cribo_status write_state(
    document *d, const cb_subject *subject, cb_place place, const cribo_save_options *options)
{
    const cb_compression compression = {subject->runtime->pool, (int)options->level};
    cb_ranks *ranks = subject->learner ? subject->learner->ranks : NULL;
    CB_TRY(cb_ranks_agree(ranks, list_state(d, subject, options)));
    cb_ranks_lead(ranks);
    cribo_status status = cb_ranks_own(ranks) == 0 ? write_file(d, ranks, compression, place)
                                                   : cb_safetensors_fetch_only(d->entries, d->count);
    return cb_ranks_release(ranks, status);
}

cribo_status cb_checkpoint_write(const cb_subject *subject, cb_place place, const cribo_save_options *options)
{
    document d = {0};
    cribo_status status = write_state(&d, subject, place, options);
    free_document(&d);
    return status;
}
