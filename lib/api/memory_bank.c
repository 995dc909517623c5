/* cribo/memory_bank.h: arguments checked, then distillation/memory_bank.h. */
#include "api/checks.h"
#include "api/create.h"
#include "api/handles.h"
#include "api/settings.h"
#include "api/streams.h"
#include "base/structs.h"
#include "files/bank.h"
#include "tensor/gemm.h"

CB_CONFIG_FUNCTIONS(memory_bank, &cb_memory_bank_settings)
CB_SETTING_GETTERS(memory_bank, &cb_memory_bank_settings, cb_memory_bank_config(memory_bank->bank))

static cribo_status build(cribo_memory_bank *bank, const cribo_memory_bank_config *config)
{
    CB_TRY(cb_gemm_begin(&bank->runtime));
    return cb_memory_bank_create(&bank->runtime, &bank->bank, config, NULL);
}

cribo_status cribo_memory_bank_create(
    cribo_memory_bank **out, const cribo_memory_bank_config *config, const cribo_runtime *runtime)
{
    cribo_memory_bank_config full;
    cribo_memory_bank *bank;
    cb_runtime own;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_TRY(cb_config_import(&cb_memory_bank_settings, &full, config));
    CB_TRY(cb_handle_begin(&own, runtime, &bank, sizeof *bank, "memory bank"));
    bank->guard = &bank->own_guard;
    bank->runtime = own;
    cribo_status status = build(bank, &full);
    if (status == CRIBO_OK)
        *out = bank;
    else
        cribo_memory_bank_free(bank);
    return status;
}

CB_MEMORY_ESTIMATE(memory_bank)

void cribo_memory_bank_free(cribo_memory_bank *bank)
{
    if (!bank || bank->guard != &bank->own_guard) return; /* a lent one ends with its lender */
    if (!CB_MAY_FREE(bank)) return;
    cb_runtime runtime = bank->runtime;
    cb_memory_bank_free(&runtime, bank->bank);
    cb_release(&runtime.allocator, bank);
    cb_runtime_end(&runtime);
}

/* The caller's batch as ours; its content is not checked yet. */
static cribo_status translate(cb_objects *to, const cribo_object_batch *objects)
{
    cribo_object_batch given = {0};
    CB_TRY(CB_IMPORT(given, objects, ids));
    CB_REQUIRE(given.images >= 0, "objects.images = %lld must not be negative", (long long)given.images);
    *to = (cb_objects){(size_t)given.images, given.objects_per_image, {given.view1, given.view2}, given.ids};
    return CRIBO_OK;
}

/* A batch of a step: its objects are bounded, its images are not. */
static cribo_status check_batch(const cribo_memory_bank *bank, const cribo_object_batch *from, cb_objects *to)
{
    CB_TRY(translate(to, from));
    return cb_memory_bank_check(bank->bank, to, SIZE_MAX, cb_memory_bank_max_objects(bank->bank));
}

/* Of several ranks each has a part only. */
static cribo_status check_whole(const cribo_memory_bank *bank)
{
    size_t ranks = cb_memory_bank_ranks(bank->bank);
    if (ranks == 1) return CRIBO_OK;
    return cb_fail(CRIBO_WRONG_STATE, "the memory bank is divided over %zu ranks", ranks);
}

cribo_status cribo_memory_bank_query(
    cribo_memory_bank *bank, const cribo_object_batch *objects, const cribo_match *match)
{
    cb_objects batch;
    cribo_match wanted = {0};
    CB_ENTER(bank);
    CB_TRY(check_whole(bank));
    CB_TRY(check_batch(bank, objects, &batch));
    CB_TRY(CB_IMPORT(wanted, match, neighbours2));
    cb_match found = {{wanted.index1, wanted.index2}, {wanted.match1, wanted.match2},
        {wanted.neighbours1, wanted.neighbours2}};
    cb_memory_bank_query(bank->bank, &batch, &found);
    return CRIBO_OK;
}

cribo_status cribo_memory_bank_push(cribo_memory_bank *bank, const cribo_object_batch *objects)
{
    cb_objects batch;
    CB_ENTER(bank);
    CB_TRY(check_batch(bank, objects, &batch));
    CB_TRY(cb_begin_writing(bank->guard, "objects are pushed"));
    cb_memory_bank_push(bank->bank, &batch);
    return CRIBO_OK;
}

cribo_status cribo_memory_bank_count(const cribo_memory_bank *bank, int64_t *images, int64_t *objects)
{
    CB_ENTER(bank);
    if (images) *images = (int64_t)cb_memory_bank_images(bank->bank);
    if (objects) *objects = (int64_t)cb_memory_bank_count(bank->bank);
    return CRIBO_OK;
}

cribo_status cribo_memory_bank_export(
    const cribo_memory_bank *bank, int64_t *objects_per_image, int64_t *ids, float *view1, float *view2)
{
    CB_ENTER(bank);
    if (view1 || view2) CB_TRY(check_whole(bank));
    cb_memory_bank_export(bank->bank, objects_per_image, ids, view1, view2);
    return CRIBO_OK;
}

cribo_status cribo_memory_bank_copy(const cribo_memory_bank *bank, const cribo_bank_arrays *arrays)
{
    cribo_bank_arrays to = {0};
    CB_ENTER(bank);
    CB_TRY(CB_IMPORT(to, arrays, view2));
    if (to.objects_per_image || to.ids)
        CB_TRY(
            cb_check_capacity("arrays.image_capacity", to.image_capacity, cb_memory_bank_images(bank->bank)));
    if (to.view1 || to.view2)
        CB_TRY(cb_check_capacity(
            "arrays.object_capacity", to.object_capacity, cb_memory_bank_count(bank->bank)));
    if (to.view1 || to.view2) CB_TRY(check_whole(bank));
    cb_memory_bank_export(bank->bank, to.objects_per_image, to.ids, to.view1, to.view2);
    return CRIBO_OK;
}

cribo_status cribo_memory_bank_sizes(const cribo_memory_bank *bank, cribo_sizes *sizes)
{
    CB_ENTER(bank);
    const cribo_memory_bank_config *config = cb_memory_bank_config(bank->bank);
    const cribo_sizes full = {.width = config->width,
        .clusters = config->objects_per_image,
        .bank_capacity = config->bank_images,
        .bank_images = (int64_t)cb_memory_bank_images(bank->bank),
        .bank_objects = (int64_t)cb_memory_bank_count(bank->bank)};
    return cb_export_sizes(&full, sizes);
}

cribo_status cribo_memory_bank_import(cribo_memory_bank *bank, const cribo_object_batch *objects)
{
    cb_objects batch;
    CB_ENTER(bank);
    CB_TRY(translate(&batch, objects));
    CB_TRY(cb_begin_writing(bank->guard, "the memory bank is replaced"));
    return cb_memory_bank_import(bank->bank, &batch);
}

static cribo_status save(const cribo_memory_bank *bank, cb_place place, const char *prefix)
{
    CB_TRY(check_whole(bank));
    return cb_bank_write(&bank->runtime.allocator, bank->bank, place, prefix);
}

cribo_status cribo_memory_bank_save(const cribo_memory_bank *bank, const char *path, const char *prefix)
{
    CB_ENTER(bank);
    CB_REQUIRE_POINTER(path);
    return save(bank, cb_at(path), prefix);
}

cribo_status cribo_memory_bank_save_to(
    const cribo_memory_bank *bank, const cribo_writer *writer, const char *prefix)
{
    cb_stream to;
    CB_ENTER(bank);
    CB_TRY(cb_import_writer(&to, writer));
    return save(bank, to.place, prefix);
}

static cribo_status load(cribo_memory_bank *bank, cb_place place, const char *prefix)
{
    CB_TRY(cb_begin_writing(bank->guard, "the memory bank is replaced"));
    return cb_bank_read(&bank->runtime.allocator, bank->bank, place, prefix ? prefix : "");
}

cribo_status cribo_memory_bank_load(cribo_memory_bank *bank, const char *path, const char *prefix)
{
    CB_ENTER(bank);
    CB_REQUIRE_POINTER(path);
    return load(bank, cb_at(path), prefix);
}

cribo_status cribo_memory_bank_load_from(
    cribo_memory_bank *bank, const cribo_reader *reader, const char *prefix)
{
    cb_stream from;
    CB_ENTER(bank);
    CB_TRY(cb_import_reader(&from, reader));
    return load(bank, from.place, prefix);
}
