/*
 * Sizes of handles, and functions that know how much room their arrays have: no number is written beyond it,
 * and nothing at all where it is too small.
 */
#include "support/objective.h"
#include "support/suite.h"

#include <stdlib.h>
#include <string.h>

enum { GUARD = 77 };

static struct {
    cribo_trainer_config config;
    cribo_trainer *trainer;
} things;

static void begin(void)
{
    things.config = training_config();
    things.trainer = training_begin(&things.config, 1);
    training_steps(things.trainer, &things.config, 2);
}

static void end(void)
{
    cribo_trainer_free(things.trainer);
}

static cribo_sizes trainer_sizes(void)
{
    cribo_sizes sizes = {.struct_size = sizeof sizes};
    OK(cribo_trainer_sizes(things.trainer, &sizes));
    return sizes;
}

/* --- sizes --- */

START_TEST(test_sizes_of_a_trainer_and_its_parts)
{
    cribo_sizes s = trainer_sizes(), student = {.struct_size = sizeof student},
                bank = {.struct_size = sizeof bank};
    int64_t images, objects, parameters, numbers = 0, largest = 0;
    cribo_parameter p;
    OK(cribo_memory_bank_count(cribo_trainer_memory_bank(things.trainer), &images, &objects));
    OK(cribo_model_parameter_count(cribo_trainer_student(things.trainer), &parameters));
    for (int64_t i = 0; training_parameter(things.trainer, i, &p); i++) {
        numbers += p.count;
        if (p.count > largest) largest = p.count;
    }
    ck_assert(s.images == 5 && s.tokens == 9 && s.width == 16 && s.attention_heads == 2 && s.clusters == 5);
    ck_assert(s.prototypes == 24 && s.object_prototypes == 30 && s.bank_capacity == 7);
    ck_assert(s.bank_images == images && s.bank_objects == objects && images == 7 && objects > 0);
    ck_assert(s.parameters == parameters && s.parameter_numbers == numbers && s.largest_parameter == largest);

    OK(cribo_model_sizes(cribo_trainer_student(things.trainer), &student));
    ck_assert(student.tokens == 9 && student.parameter_numbers == numbers && student.images == 0);
    OK(cribo_memory_bank_sizes(cribo_trainer_memory_bank(things.trainer), &bank));
    ck_assert(bank.bank_objects == objects && bank.width == 16 && bank.clusters == 5 && bank.parameters == 0);
}
END_TEST

START_TEST(test_sizes_of_targets_are_those_of_the_latest_teach)
{
    training_batch made = training_batch_of(&things.config, 3, 1);
    int64_t per_image[5] = {0};
    cribo_targets targets = {.struct_size = sizeof targets, .objects_per_image = per_image};
    OK(cribo_trainer_teach(things.trainer, &made.batch));
    OK(cribo_trainer_targets(things.trainer, &targets));
    cribo_sizes s = trainer_sizes();
    ck_assert_int_eq(s.target_images, 3);
    ck_assert_int_eq(s.target_objects, per_image[0] + per_image[1] + per_image[2]);
    made.batch.images = 0;
    if (cribo_trainer_teach(things.trainer, &made.batch) == CRIBO_OK) ck_abort();
    ck_assert_int_eq(trainer_sizes().target_images, 0);
    training_batch_free(&made);
}
END_TEST

START_TEST(test_sizes_of_other_handles)
{
    cribo_objective_config config = objective_config();
    cribo_clusterer_config clusters;
    cribo_loss_config losses;
    cribo_clusterer *clusterer;
    cribo_loss *loss;
    cribo_objective *objective = objective_begin(&config, 1);
    cribo_sizes s = {.struct_size = sizeof s};
    OK(cribo_objective_sizes(objective, &s));
    ck_assert(s.tokens == 9 && s.images == 5 && s.attention_heads == 0 && s.largest_parameter > 0);
    OK(cribo_clusterer_config_init(&clusters, sizeof clusters));
    clusters.clusters = 3;
    OK(cribo_clusterer_create(&clusterer, &clusters, NULL, 2, 11, 13));
    OK(cribo_clusterer_sizes(clusterer, &s));
    ck_assert(s.images == 2 && s.tokens == 11 && s.width == 13 && s.clusters == 3 && s.prototypes == 0);
    OK(cribo_loss_config_init(&losses, sizeof losses));
    losses.prototypes = 4;
    losses.object_prototypes = 6;
    OK(cribo_loss_create(&loss, &losses, NULL));
    OK(cribo_loss_sizes(loss, &s));
    ck_assert(s.prototypes == 4 && s.object_prototypes == 6 && s.width == 0);
    cribo_loss_free(loss);
    cribo_clusterer_free(clusterer);
    cribo_objective_free(objective);
}
END_TEST

/* --- room --- */

START_TEST(test_room_for_a_bank)
{
    cribo_memory_bank *bank = cribo_trainer_memory_bank(things.trainer);
    cribo_sizes s = trainer_sizes();
    size_t images = (size_t)s.bank_images, numbers = (size_t)(s.bank_objects * s.width);
    int64_t *counts = calloc(4 * images, sizeof *counts);
    float *views = calloc(4 * numbers, sizeof *views);
    ck_assert(counts && views);
    cribo_bank_arrays to = {.struct_size = sizeof to,
        .image_capacity = s.bank_images,
        .object_capacity = s.bank_objects,
        .objects_per_image = counts,
        .ids = counts + images,
        .view1 = views,
        .view2 = views + numbers};
    to.image_capacity--;
    REFUSED(cribo_memory_bank_copy(bank, &to), CRIBO_INVALID_ARGUMENT,
        "arrays.image_capacity = 6 must be at least 7");
    to.image_capacity++, to.object_capacity--;
    REFUSED(cribo_memory_bank_copy(bank, &to), CRIBO_INVALID_ARGUMENT, "arrays.object_capacity");
    for (size_t i = 0; i < 2 * images; i++) ck_assert_int_eq(counts[i], 0);
    to.object_capacity++;
    OK(cribo_memory_bank_copy(bank, &to));
    OK(cribo_memory_bank_export(
        bank, counts + 2 * images, counts + 3 * images, views + 2 * numbers, views + 3 * numbers));
    ck_assert_mem_eq(counts, counts + 2 * images, 2 * images * sizeof *counts);
    ck_assert_mem_eq(views, views + 2 * numbers, 2 * numbers * sizeof *views);
    cribo_bank_arrays ids = {.struct_size = sizeof ids, .image_capacity = 7, .ids = counts};
    OK(cribo_memory_bank_copy(bank, &ids)); /* without room for objects */
    free(counts);
    free(views);
}
END_TEST

START_TEST(test_room_for_targets)
{
    training_batch made = training_batch_of(&things.config, 5, 1);
    OK(cribo_trainer_teach(things.trainer, &made.batch));
    cribo_sizes s = trainer_sizes();
    int64_t per_image[5] = {GUARD, GUARD, GUARD, GUARD, GUARD}, index[25] = {0};
    cribo_targets targets = {.struct_size = sizeof targets,
        .objects_per_image = per_image,
        .index1 = index,
        .image_capacity = 4,
        .object_capacity = s.target_objects};
    REFUSED(cribo_trainer_targets(things.trainer, &targets), CRIBO_INVALID_ARGUMENT,
        "targets.image_capacity = 4 must be at least 5");
    targets.image_capacity = 5;
    targets.object_capacity--;
    REFUSED(
        cribo_trainer_targets(things.trainer, &targets), CRIBO_INVALID_ARGUMENT, "targets.object_capacity");
    ck_assert_int_eq(per_image[0], GUARD);
    targets.object_capacity++;
    OK(cribo_trainer_targets(things.trainer, &targets));
    ck_assert_int_ne(per_image[0], GUARD);
    training_batch_free(&made);
}
END_TEST

START_TEST(test_room_for_centres)
{
    float centre[25], objects[31], plain[24], plain_objects[30];
    for (int i = 0; i < 25; i++) centre[i] = GUARD;
    REFUSED(cribo_trainer_read_centres(things.trainer, centre, 23, NULL, 0), CRIBO_INVALID_ARGUMENT,
        "count = 23 must be 24");
    REFUSED(cribo_trainer_read_centres(things.trainer, centre, 24, objects, 31), CRIBO_INVALID_ARGUMENT,
        "object_count = 31 must be 30");
    ck_assert(centre[0] == GUARD);
    OK(cribo_trainer_read_centres(things.trainer, centre, 24, objects, 30));
    OK(cribo_trainer_get_centres(things.trainer, plain, plain_objects));
    ck_assert_mem_eq(centre, plain, sizeof plain);
    ck_assert_mem_eq(objects, plain_objects, sizeof plain_objects);
    ck_assert(centre[24] == GUARD);
}
END_TEST

START_TEST(test_room_for_features)
{
    enum { DENSE = 9 * 16, CLS = 16, ATTENTION = 2 * 9 };
    cribo_model *model = cribo_trainer_student(things.trainer);
    training_batch made = training_batch_of(&things.config, 1, 1);
    float dense[DENSE + 1] = {0}, cls[CLS], attention[ATTENTION], plain[DENSE];
    cribo_feature_arrays to = {.struct_size = sizeof to,
        .dense = dense,
        .dense_capacity = DENSE - 1,
        .cls = cls,
        .cls_capacity = CLS,
        .attention = attention,
        .attention_capacity = ATTENTION - 1};
    dense[DENSE] = GUARD;
    REFUSED(cribo_model_features_within(model, 1, 24, 24, made.pixels, &to), CRIBO_INVALID_ARGUMENT,
        "arrays.dense_capacity = 143 must be at least 144");
    to.dense_capacity++;
    REFUSED(cribo_model_features_within(model, 1, 24, 24, made.pixels, &to), CRIBO_INVALID_ARGUMENT,
        "arrays.attention_capacity");
    to.attention_capacity++, to.cls_capacity = -1;
    REFUSED(cribo_model_features_within(model, 1, 24, 24, made.pixels, &to), CRIBO_INVALID_ARGUMENT,
        "arrays.cls_capacity");
    ck_assert(dense[0] == 0);
    to.cls = NULL;
    OK(cribo_model_features_within(model, 1, 24, 24, made.pixels, &to));
    OK(cribo_model_features(model, 1, 24, 24, made.pixels, plain, NULL, NULL));
    ck_assert_mem_eq(dense, plain, sizeof plain);
    ck_assert(dense[DENSE] == GUARD);
    training_batch_free(&made);
}
END_TEST

static Suite *suite_of(void)
{
    Suite *suite = suite_create("sizes");
    TCase *tests = tcase_create("sizes");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_sizes_of_a_trainer_and_its_parts);
    tcase_add_test(tests, test_sizes_of_targets_are_those_of_the_latest_teach);
    tcase_add_test(tests, test_sizes_of_other_handles);
    tcase_add_test(tests, test_room_for_a_bank);
    tcase_add_test(tests, test_room_for_targets);
    tcase_add_test(tests, test_room_for_centres);
    tcase_add_test(tests, test_room_for_features);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    return run_suite(suite_of());
}
