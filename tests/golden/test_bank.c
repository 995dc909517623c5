/* The memory bank against the authors' code: neighbours, cycle tests and contents, call after call. */
#include "cribo/memory_bank.h"
#include "support/golden.h"
#include "support/suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

typedef struct shapes {
    int64_t images, objects_per_image;
    size_t width;
} shapes;

/* Rows of view 2 in a tensor [2, rows, D]. */
static const float *second_half(const float *both, size_t count)
{
    return both + count / 2;
}

static cribo_memory_bank *bank_of(const golden *file, const shapes *s, int64_t threads)
{
    cribo_memory_bank_config config;
    cribo_runtime runtime;
    cribo_memory_bank *bank;
    ck_assert_int_eq(cribo_memory_bank_config_init(&config, sizeof config), CRIBO_OK);
    ck_assert_int_eq(cribo_runtime_init(&runtime, sizeof runtime), CRIBO_OK);
    config.bank_images = s->images;
    config.objects_per_image = s->objects_per_image;
    config.width = (int64_t)s->width;
    runtime.threads = threads;
    ck_assert_int_eq(cribo_memory_bank_create(&bank, &config, &runtime), CRIBO_OK);

    size_t count;
    const float *initial = golden_floats(file, &count, "initial.centroids_queue");
    cribo_object_batch content = {sizeof content, s->images, golden_integers(file, NULL, "initial.cpv_queue"),
        initial, second_half(initial, count), NULL};
    ck_assert_int_eq(cribo_memory_bank_import(bank, &content), CRIBO_OK);
    return bank;
}

static void assert_same_floats(const char *what, const float *got, const float *expected, size_t n)
{
    ck_assert_msg(memcmp(got, expected, n * sizeof *got) == 0, "%s differ", what);
}

static void check_query(
    cribo_memory_bank *bank, const golden *file, int call, const cribo_object_batch *batch, size_t width)
{
    size_t rows;
    const int64_t *index[2] = {golden_integers(file, &rows, "call%d.index1", call),
        golden_integers(file, NULL, "call%d.index2", call)};
    const uint8_t *mask[2] = {
        golden_bytes(file, NULL, "call%d.mask1", call), golden_bytes(file, NULL, "call%d.mask2", call)};
    int64_t *got = malloc(2 * rows * sizeof *got);
    uint8_t *matches = malloc(2 * rows);
    float *neighbours = malloc(2 * rows * width * sizeof *neighbours);
    cribo_match match = {
        sizeof match, got, got + rows, matches, matches + rows, neighbours, neighbours + rows * width};
    ck_assert_int_eq(cribo_memory_bank_query(bank, batch, &match), CRIBO_OK);

    for (size_t v = 0; v < 2; v++)
        for (size_t k = 0; k < rows; k++) {
            ck_assert_int_eq(got[v * rows + k], index[v][k]);
            ck_assert_int_eq(matches[v * rows + k], mask[v][k]);
        }
    /*
     * The authors fetch both views of both neighbours; those that teach are view 1 of nn and view 2 of nn2.
     */
    assert_same_floats("neighbours of view 1", match.neighbours1,
        golden_floats(file, NULL, "call%d.nn", call), rows * width);
    assert_same_floats("neighbours of view 2", match.neighbours2,
        golden_floats(file, NULL, "call%d.nn2", call) + rows * width, rows * width);
    free(neighbours);
    free(matches);
    free(got);
}

static void check_content(const cribo_memory_bank *bank, const golden *file, int call, size_t width)
{
    size_t slots, count;
    const int64_t *per_image = golden_integers(file, &slots, "call%d.after_cpv_queue", call);
    const float *expected = golden_floats(file, &count, "call%d.after_centroids_queue", call);
    int64_t images, objects;
    ck_assert_int_eq(cribo_memory_bank_count(bank, &images, &objects), CRIBO_OK);
    ck_assert_int_eq(images, (int64_t)slots);

    size_t numbers = (size_t)objects * width;
    int64_t *got_per_image = malloc(slots * sizeof *got_per_image);
    float *got = malloc(2 * numbers * sizeof *got);
    ck_assert_int_eq(cribo_memory_bank_export(bank, got_per_image, NULL, got, got + numbers), CRIBO_OK);
    ck_assert_msg(memcmp(got_per_image, per_image, slots * sizeof *per_image) == 0, "counts differ");
    assert_same_floats("entries of view 1", got, expected, numbers);
    assert_same_floats("entries of view 2", got + numbers, second_half(expected, count), numbers);
    free(got);
    free(got_per_image);
}

static void check_file(const char *name, int64_t threads)
{
    golden file = golden_open(name);
    shapes s = {golden_integer(&file, "queue_size"), golden_integer(&file, "clusters"),
        (size_t)golden_integer(&file, "dim")};
    cribo_memory_bank *bank = bank_of(&file, &s, threads);
    for (int call = 0; call < 3; call++) {
        size_t images;
        cribo_object_batch batch = {.struct_size = sizeof batch,
            .objects_per_image = golden_integers(&file, &images, "call%d.centroids_per_view", call),
            .view1 = golden_floats(&file, NULL, "call%d.centroids_v1", call),
            .view2 = golden_floats(&file, NULL, "call%d.centroids_v2", call)};
        batch.images = (int64_t)images;
        check_query(bank, &file, call, &batch, s.width);
        ck_assert_int_eq(cribo_memory_bank_push(bank, &batch), CRIBO_OK);
        check_content(bank, &file, call, s.width);
    }
    cribo_memory_bank_free(bank);
    golden_close(&file);
}

START_TEST(test_bank_overflowing_matches_authors)
{
    check_file("bank_overflow", 1);
    check_file("bank_overflow", 3);
}
END_TEST

START_TEST(test_bank_large_batches_match_authors)
{
    check_file("bank_large_batch", 1);
    check_file("bank_large_batch", 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("golden bank");
    TCase *group = tcase_create("bank");
    tcase_add_test(group, test_bank_overflowing_matches_authors);
    tcase_add_test(group, test_bank_large_batches_match_authors);
    suite_add_tcase(suite, group);
    return run_suite(suite);
}
