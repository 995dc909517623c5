/*
 * Memory banks to and from files: round trips, a trainer's checkpoint as the source, and files that are
 * refused.
 */
#include "io/safetensors.h"
#include "support/faulty.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <stdlib.h>
#include <string.h>

enum { Q = 4, K = 3, D = 5, IMAGES = 6, ROWS = 9 };

static const int64_t per_image[IMAGES] = {2, 0, 3, 1, 1, 2};
static const int64_t ids[IMAGES] = {7, -1, 9, INT64_MAX, 0, 4};

static cribo_memory_bank *make_bank_with(
    const cribo_runtime *runtime, int64_t images, int64_t objects, int64_t width)
{
    cribo_memory_bank_config c;
    cribo_memory_bank *bank;
    OK(cribo_memory_bank_config_init(&c, sizeof c));
    c.bank_images = images;
    c.objects_per_image = objects;
    c.width = width;
    OK(cribo_memory_bank_create(&bank, &c, runtime));
    return bank;
}

static cribo_memory_bank *make_bank(int64_t images, int64_t objects, int64_t width)
{
    return make_bank_with(NULL, images, objects, width);
}

/* A bank that has forgotten images and so begins in the middle of its memory. */
static cribo_memory_bank *full_bank(void)
{
    cribo_memory_bank *bank = make_bank(Q, K, D);
    float view[2][ROWS * D];
    for (int i = 0; i < 2 * ROWS * D; i++) view[i / (ROWS * D)][i % (ROWS * D)] = (float)(i % 13) - 5.5f;
    for (int round = 0; round < 3; round++) {
        cribo_object_batch batch = {.struct_size = sizeof batch,
            .images = IMAGES - round,
            .objects_per_image = per_image + round,
            .view1 = view[round % 2],
            .view2 = view[1 - round % 2],
            .ids = ids + round};
        OK(cribo_memory_bank_push(bank, &batch));
    }
    return bank;
}

typedef struct content {
    int64_t images, objects, per_image[Q], ids[Q];
    float view[2][Q * K * D];
} content;

static content content_of(const cribo_memory_bank *bank)
{
    content c = {0};
    OK(cribo_memory_bank_count(bank, &c.images, &c.objects));
    OK(cribo_memory_bank_export(bank, c.per_image, c.ids, c.view[0], c.view[1]));
    return c;
}

static void assert_same(const cribo_memory_bank *a, const cribo_memory_bank *b)
{
    content first = content_of(a), second = content_of(b);
    ck_assert(memcmp(&first, &second, sizeof first) == 0);
}

START_TEST(test_bank_file_gives_the_bank_back)
{
    cribo_memory_bank *bank = full_bank(), *other = make_bank(Q, K, D);
    OK(cribo_memory_bank_save(bank, scratch_path("bank"), _i ? "some." : NULL));
    OK(cribo_memory_bank_load(other, scratch_path("bank"), _i ? "some." : NULL));
    ck_assert_int_eq(content_of(other).images, Q);
    assert_same(bank, other);
    ck_assert_uint_eq(scratch_count(), 1);
    cribo_memory_bank_free(other);
    cribo_memory_bank_free(bank);
}
END_TEST

START_TEST(test_bank_file_of_an_empty_bank_empties)
{
    cribo_memory_bank *bank = full_bank(), *empty = make_bank(Q, K, D);
    OK(cribo_memory_bank_save(empty, scratch_path("bank"), NULL));
    OK(cribo_memory_bank_load(bank, scratch_path("bank"), NULL));
    ck_assert_int_eq(content_of(bank).images, 0);
    cribo_memory_bank_free(empty);
    cribo_memory_bank_free(bank);
}
END_TEST

START_TEST(test_bank_file_may_be_a_checkpoint)
{
    cribo_trainer_config config = training_config();
    cribo_trainer *trainer = training_begin(&config, 1);
    training_steps(trainer, &config, 2);
    OK(cribo_trainer_save(trainer, scratch_path("checkpoint"), NULL));
    cribo_memory_bank *bank = make_bank(config.bank_images, config.clusters, config.width);
    OK(cribo_memory_bank_load(bank, scratch_path("checkpoint"), "bank."));

    int64_t images, objects, max_images, max_objects;
    OK(cribo_memory_bank_count(bank, &images, &objects));
    OK(cribo_memory_bank_count(cribo_trainer_memory_bank(trainer), &max_images, &max_objects));
    ck_assert_int_gt(objects, 0);
    ck_assert(images == max_images && objects == max_objects);
    size_t count = (size_t)(objects * config.width);
    float *a = calloc(count, sizeof *a), *b = calloc(count, sizeof *b);
    OK(cribo_memory_bank_export(bank, NULL, NULL, NULL, a));
    OK(cribo_memory_bank_export(cribo_trainer_memory_bank(trainer), NULL, NULL, NULL, b));
    ck_assert(memcmp(a, b, count * sizeof *a) == 0);
    free(a);
    free(b);
    cribo_memory_bank_free(bank);
    cribo_trainer_free(trainer);
}
END_TEST

/* Writes a file of two images with one object each, but for one thing that is wrong. */
static void write_wrong(int what)
{
    static const int64_t counts[][3] = {{1, 1, 0}, {2, 1, 0}, {-1, 3, 0}, {4, -2, 0}};
    static float vectors[3 * D];
    static const float strange[2 * D] = {0, 0, 1e38f * 1e38f};
    cb_allocator plain = {0};
    cb_tensor_entry entries[4] = {
        {.name = "objects_per_image", .axes = 1, .shape = {2}, .values = counts[0], .dtype = CB_I64},
        {.name = "ids", .axes = 1, .shape = {2}, .values = ids, .dtype = CB_I64},
        {.name = "view1", .axes = 2, .shape = {2, D}, .values = vectors, .dtype = CB_F32},
        {.name = "view2", .axes = 2, .shape = {2, D}, .values = vectors, .dtype = CB_F32}};
    size_t count = 4;
    if (what == 0) count = 3;
    if (what == 1) entries[0].dtype = CB_F32;
    if (what == 2) entries[1].shape[0] = 1;
    if (what == 3) entries[3].shape[0] = 3;
    if (what == 4) entries[2].shape[1] = D - 1;
    if (what == 5) entries[2].axes = 1;
    if (what >= 6 && what < 9) entries[0].values = counts[what - 5];
    if (what == 9) entries[2].values = strange;
    OK(cb_safetensors_write(&plain, cb_at(scratch_path("wrong")), entries, count, NULL, 0));
}

START_TEST(test_bank_file_that_does_not_fit_is_refused)
{
    static const char *const named[] = {"\"view2\"", "\"objects_per_image\"", "\"ids\": axis 0",
        "\"view2\": axis 0", "\"view1\": axis 1", "\"view1\"", "\"view1\": axis 0", "objects_per_image",
        "objects_per_image", "view1"};
    cribo_memory_bank *bank = full_bank(), *untouched = full_bank();
    for (int what = 0; what < 10; what++) {
        write_wrong(what);
        REFUSED(
            cribo_memory_bank_load(bank, scratch_path("wrong"), NULL), CRIBO_INVALID_ARGUMENT, named[what]);
        ck_assert_ptr_nonnull(strstr(cribo_last_error(), "wrong: "));
        assert_same(bank, untouched);
    }
    OK(cribo_memory_bank_save(bank, scratch_path("bank"), NULL));
    cribo_memory_bank *small = make_bank(Q - 1, K, D), *narrow = make_bank(Q, K - 1, D);
    REFUSED(
        cribo_memory_bank_load(small, scratch_path("bank"), NULL), CRIBO_INVALID_ARGUMENT, "bank_images = 3");
    REFUSED(cribo_memory_bank_load(narrow, scratch_path("bank"), NULL), CRIBO_INVALID_ARGUMENT,
        "objects_per_image");
    REFUSED(cribo_memory_bank_load(bank, scratch_path("bank"), "x."), CRIBO_INVALID_ARGUMENT,
        "x.objects_per_image");
    cribo_memory_bank_free(narrow);
    cribo_memory_bank_free(small);
    cribo_memory_bank_free(untouched);
    cribo_memory_bank_free(bank);
}
END_TEST

START_TEST(test_bank_file_cut_short_is_corrupt)
{
    cribo_memory_bank *bank = full_bank(), *untouched = full_bank();
    size_t count;
    OK(cribo_memory_bank_save(bank, scratch_path("bank"), NULL));
    char *bytes = read_bytes(scratch_path("bank"), &count);
    for (size_t length = 0; length < count; length++) {
        write_bytes(scratch_path("short"), bytes, length);
        ck_assert_int_eq(cribo_memory_bank_load(bank, scratch_path("short"), NULL), CRIBO_CORRUPT);
    }
    assert_same(bank, untouched);
    free(bytes);
    cribo_memory_bank_free(untouched);
    cribo_memory_bank_free(bank);
}
END_TEST

static cribo_status save_or_load(cribo_memory_bank *bank, bool save)
{
    return save ? cribo_memory_bank_save(bank, scratch_path("bank"), NULL)
                : cribo_memory_bank_load(bank, scratch_path("bank"), NULL);
}

START_TEST(test_bank_file_without_memory_changes_nothing)
{
    const bool save = _i == 0;
    cribo_memory_bank *full = full_bank(), *untouched = make_bank(Q, K, D);
    OK(cribo_memory_bank_save(full, scratch_path("bank"), NULL));
    faulty memory = {0};
    cribo_runtime runtime = training_runtime(1);
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = &memory;
    cribo_memory_bank *bank = make_bank_with(&runtime, Q, K, D);
    const size_t held = memory.held;
    size_t refusals = 0;
    for (cribo_status status = CRIBO_OUT_OF_MEMORY; status != CRIBO_OK; refusals++) {
        memory.fail_at = memory.calls + refusals + 1;
        status = save_or_load(bank, save);
        if (status != CRIBO_OK) {
            REFUSED(status, CRIBO_OUT_OF_MEMORY, "memory");
            assert_same(bank, untouched);
        }
        ck_assert_uint_eq(memory.held, held);
        ck_assert_uint_eq(scratch_count(), 1);
        ck_assert_uint_lt(refusals, 1000);
    }
    ck_assert_uint_gt(refusals, 3);
    assert_same(bank, save ? untouched : full);
    cribo_memory_bank_free(bank);
    ck_assert_uint_eq(memory.held, 0);
    cribo_memory_bank_free(untouched);
    cribo_memory_bank_free(full);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bank_file");
    TCase *tests = tcase_create("bank_file");
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    tcase_add_loop_test(tests, test_bank_file_gives_the_bank_back, 0, 2);
    tcase_add_test(tests, test_bank_file_of_an_empty_bank_empties);
    tcase_add_test(tests, test_bank_file_may_be_a_checkpoint);
    tcase_add_test(tests, test_bank_file_that_does_not_fit_is_refused);
    tcase_add_test(tests, test_bank_file_cut_short_is_corrupt);
    tcase_add_loop_test(tests, test_bank_file_without_memory_changes_nothing, 0, 2);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
