/*
 * Masked patches: block masks as a function of (seed, step, image), and a trainer's masked loss, with and
 * without Sinkhorn-Knopp centring.
 */
#include "objective/masks.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- masks --- */

enum { ROWS = 14, COLUMNS = 12, PATCHES = ROWS * COLUMNS };

static size_t count(const uint8_t *mask, size_t patches)
{
    size_t masked = 0;
    bool marks = true;
    for (size_t i = 0; i < patches; i++) {
        marks &= mask[i] <= 1;
        masked += mask[i];
    }
    ck_assert(marks);
    return masked;
}

/* The masked patches that have a masked neighbour to the left or above. */
static size_t count_joined(const uint8_t *mask)
{
    size_t joined = 0;
    for (size_t i = 0; i < PATCHES; i++)
        joined += mask[i] && ((i % COLUMNS > 0 && mask[i - 1]) || (i >= COLUMNS && mask[i - COLUMNS]));
    return joined;
}

START_TEST(test_masks_blocks_cover_what_is_wanted)
{
    uint8_t mask[PATCHES];
    size_t total = 0, joined = 0;
    for (uint64_t i = 0; i < 400; i++) {
        cb_random random = cb_random_begin(3, CB_PURPOSE_MASKS, 0, i);
        size_t wanted = i % (PATCHES + 1),
               masked = cb_masks_draw_blocks(&random, ROWS, COLUMNS, wanted, mask);
        ck_assert_uint_eq(masked, count(mask, PATCHES));
        ck_assert_uint_le(masked, wanted);
        if (wanted >= 20 && wanted <= PATCHES / 2) ck_assert_uint_ge(2 * masked, wanted);
        if (wanted >= 20 && wanted <= PATCHES / 2) {
            total += masked;
            joined += count_joined(mask);
        }
    }
    ck_assert_uint_gt(10 * joined, 7 * total); /* blocks: single patches would have few neighbours */
}
END_TEST

START_TEST(test_masks_of_narrow_grids_stay_inside)
{
    static const size_t sides[][2] = {{1, 1}, {1, 9}, {9, 1}, {2, 2}, {3, 40}};
    const size_t *side = sides[_i];
    uint8_t mask[121];
    for (uint64_t i = 0; i < 300; i++) {
        size_t patches = side[0] * side[1];
        memset(mask, 7, sizeof mask);
        cb_random random = cb_random_begin(3, CB_PURPOSE_MASKS, 1, i);
        size_t masked = cb_masks_draw_blocks(&random, side[0], side[1], patches, mask);
        ck_assert_uint_eq(masked, count(mask, patches));
        ck_assert_uint_eq(mask[patches], 7);
        if (patches == 1) ck_assert_uint_eq(masked, 1);
    }
}
END_TEST

START_TEST(test_masks_follow_the_settings)
{
    const cb_masking masking = {.weight = 1, .views = 0.25, .share_min = 0.2, .share_max = 0.4};
    size_t views = 0;
    double shares = 0;
    for (int64_t key = 0; key < 2000; key++) {
        uint8_t mask[2 * PATCHES], again[2 * PATCHES];
        int64_t counts[2], same[2];
        const cb_mask_draw draw = {&masking, ROWS, COLUMNS, 11, 5, key};
        cb_masks_draw(&draw, mask, counts);
        cb_masks_draw(&draw, again, same);
        ck_assert_mem_eq(mask, again, sizeof mask);
        for (size_t v = 0; v < 2; v++) {
            ck_assert_int_eq(counts[v], (int64_t)count(mask + v * PATCHES, PATCHES));
            ck_assert_int_le(counts[v], (int64_t)cb_masks_most(&masking, PATCHES));
            views += counts[v] > 0;
            shares += (double)counts[v] / PATCHES;
        }
    }
    ck_assert(views > 900 && views < 1100); /* a quarter of 4000 */
    ck_assert_msg(fabs(shares / (double)views - 0.3) < 0.02, "%g", shares / (double)views);
}
END_TEST

/* --- trainers --- */

static cribo_trainer_config masked_config(void)
{
    cribo_trainer_config c = training_config();
    c.masked_weight = 1;
    c.masked_views = 0.8;
    return c;
}

enum { VIEWS = 10, GRID = 9 }; /* of a batch of training_config */

static void teach(cribo_trainer *trainer, const training_batch *made, uint8_t mask[VIEWS * GRID])
{
    cribo_targets targets = {.struct_size = sizeof targets, .mask = mask};
    OK(cribo_trainer_teach(trainer, &made->batch));
    OK(cribo_trainer_targets(trainer, &targets));
}

START_TEST(test_masks_of_a_batch_do_not_depend_on_its_division)
{
    cribo_trainer_config c = masked_config(), other = c;
    uint8_t expected[VIEWS * GRID], found[VIEWS * GRID], next[VIEWS * GRID], renamed[VIEWS * GRID];
    training_batch made = training_batch_of(&c, 5, 0);
    const int64_t ids[5] = {0, 1, 9, 3, 4};
    other.micro_batch = 3;
    other.group_images = 2;
    other.shards = 2;
    cribo_trainer *one = training_begin(&c, 1), *three = training_begin(&other, 3);
    teach(one, &made, expected);
    teach(three, &made, found);
    ck_assert_mem_eq(found, expected, sizeof found);
    ck_assert_uint_gt(count(expected, sizeof expected), 0);
    made.batch.ids = ids;
    teach(one, &made, renamed);
    for (int i = 0; i < 5; i++) /* by the image's key */
        ck_assert_int_eq(memcmp(renamed + i * 2 * GRID, expected + i * 2 * GRID, 2 * GRID) == 0, ids[i] == i);
    OK(cribo_trainer_learn(one, &made.batch));
    OK(cribo_trainer_update(one, NULL));
    made.batch.ids = NULL;
    teach(one, &made, next);
    ck_assert(memcmp(next, expected, sizeof next) != 0); /* of each step other ones */
    training_batch_free(&made);
    cribo_trainer_free(three);
    cribo_trainer_free(one);
}
END_TEST

static cribo_report report_of(cribo_trainer *trainer, const cribo_trainer_config *c, uint64_t number)
{
    cribo_report report = {.struct_size = sizeof report};
    training_batch made = training_batch_of(c, c->batch_size, number);
    OK(cribo_trainer_step(trainer, &made.batch, &report));
    training_batch_free(&made);
    return report;
}

START_TEST(test_masks_report_shows_the_loss)
{
    cribo_trainer_config c = masked_config(), twice = c, plain = training_config();
    uint8_t mask[VIEWS * GRID];
    training_batch made = training_batch_of(&c, 5, 0);
    twice.masked_weight = 2;
    cribo_trainer *a = training_begin(&c, 2), *b = training_begin(&twice, 2),
                  *off = training_begin(&plain, 2);
    teach(a, &made, mask);
    cribo_report one = report_of(a, &c, 0), two = report_of(b, &twice, 0), none = report_of(off, &plain, 0);
    double sum = one.global_loss + one.cross_view_loss + one.cross_image_loss + one.masked_loss;
    ck_assert_double_eq_tol(one.loss, sum, 1e-9);
    ck_assert_double_gt(one.masked_loss, 0);
    ck_assert_double_eq_tol(two.masked_loss, 2 * one.masked_loss, 1e-9);
    ck_assert_double_eq_tol(one.masked_share, (double)count(mask, sizeof mask) / sizeof mask, 1e-12);
    ck_assert(none.masked_loss == 0 && none.masked_share == 0);
    teach(off, &made, mask);
    ck_assert_uint_eq(count(mask, sizeof mask), 0);
    training_batch_free(&made);
    cribo_trainer_free(off);
    cribo_trainer_free(b);
    cribo_trainer_free(a);
}
END_TEST

/* Settings that masked patches meet. */
static const char *const kinds[] = {"seed=7", "sinkhorn_centring=3", "precision=bf16", "batch_cost=1",
    "group_images=2", "authors_normalisation=1", "registers=2", "position_embedding=rope", "shards=2",
    "masked_share_max=1", "heads_only_steps=2", "koleo_weight=0.1", "stem=convolution"};
#define KINDS (sizeof kinds / sizeof kinds[0])

static cribo_trainer_config config_of(int kind)
{
    cribo_trainer_config c = masked_config();
    char name[64];
    const char *value = strchr(kinds[kind], '=') + 1;
    memcpy(name, kinds[kind], (size_t)(value - 1 - kinds[kind]));
    name[value - 1 - kinds[kind]] = 0;
    OK(cribo_trainer_config_set(&c, name, value));
    return c;
}

START_TEST(test_masks_threads_recomputing_and_resuming_keep_the_bits)
{
    cribo_trainer_config c = config_of(_i), sparing = c;
    sparing.recompute = 1;
    cribo_trainer *one = training_begin(&c, 1), *three = training_begin(&c, 3),
                  *other = training_begin(&sparing, 2);
    training_steps(one, &c, 2);
    OK(cribo_trainer_save(one, scratch_path("half"), NULL));
    training_steps(three, &c, 3);
    training_steps(other, &sparing, 3);
    ck_assert(training_same(three, other));
    OK(cribo_trainer_save(three, scratch_path("whole"), NULL));
    cribo_trainer_free(one);
    one = training_begin(&c, 2);
    OK(cribo_trainer_load(one, scratch_path("half"), NULL));
    training_step(one, &c, 2);
    OK(cribo_trainer_save(one, scratch_path("resumed"), NULL));
    assert_same_files("whole", "resumed"); /* the masked patches' centre, too */
    cribo_trainer_free(other);
    cribo_trainer_free(three);
    cribo_trainer_free(one);
}
END_TEST

/* The gradients of one step; the caller frees. */
static float *gradients_of(const cribo_trainer_config *c, size_t *total)
{
    cribo_trainer *trainer = training_begin(c, 2);
    training_batch made = training_batch_of(c, c->batch_size, 0);
    cribo_parameter p;
    float *all = NULL;
    *total = 0;
    OK(cribo_trainer_teach(trainer, &made.batch));
    OK(cribo_trainer_learn(trainer, &made.batch));
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        all = realloc(all, (*total + (size_t)p.count) * sizeof *all);
        ck_assert_ptr_nonnull(all);
        OK(cribo_trainer_gradient(trainer, p.name, all + *total, p.count));
        *total += (size_t)p.count;
    }
    training_batch_free(&made);
    cribo_trainer_free(trainer);
    return all;
}

static double distance(const float *a, const float *b, size_t n)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    return sqrt(difference / size);
}

START_TEST(test_masks_gradients_do_not_depend_on_micro_batches)
{
    cribo_trainer_config c = config_of(_i), other = c;
    size_t total;
    c.heads_only_steps = other.heads_only_steps = 0;
    other.micro_batch = 5;
    float *two = gradients_of(&c, &total), *five = gradients_of(&other, &total);
    ck_assert_double_lt(distance(two, five, total), c.precision == CRIBO_BF16 ? 1e-2 : 1e-5);
    free(five);
    free(two);
}
END_TEST

START_TEST(test_masks_gradients_in_bf16_are_near_those_in_float32)
{
    cribo_trainer_config c = masked_config(), rounded = c;
    size_t total;
    c.cross_view_weight = c.cross_image_weight = 0; /* labels of rounded tokens may differ */
    rounded = c;
    rounded.precision = CRIBO_BF16;
    float *a = gradients_of(&c, &total), *b = gradients_of(&rounded, &total);
    ck_assert_double_lt(distance(b, a, total), 0.1);
    free(b);
    free(a);
}
END_TEST

START_TEST(test_masks_contradictory_settings_are_refused)
{
    cribo_trainer_config c = masked_config();
    cribo_trainer *trainer;
    c.frozen_blocks = 1;
    REFUSED(cribo_trainer_create(&trainer, &c, NULL), CRIBO_INVALID_ARGUMENT, "frozen_blocks");
    c.frozen_blocks = 0;
    c.masked_share_min = 0.6;
    REFUSED(cribo_trainer_create(&trainer, &c, NULL), CRIBO_INVALID_ARGUMENT, "masked_share_min = 0.6");
    c.masked_weight = 0; /* then unused */
    OK(cribo_trainer_create(&trainer, &c, NULL));
    cribo_trainer_free(trainer);
}
END_TEST

/* --- files --- */

static void read_token(cribo_model *model, float token[16])
{
    OK(cribo_model_read_parameter(model, "backbone.mask_token", token, 16));
}

START_TEST(test_masks_token_is_trained_and_stored)
{
    cribo_trainer_config c = masked_config(), plain = training_config();
    const cribo_load_parts backbone = {.struct_size = sizeof backbone, .backbone = 1};
    float token[16], loaded[16] = {0};
    cribo_trainer *trainer = training_begin(&c, 1), *fresh = training_begin(&c, 1),
                  *off = training_begin(&plain, 1);
    read_token(cribo_trainer_student(trainer), token);
    for (int i = 0; i < 16; i++) ck_assert(token[i] == 0);
    training_steps(trainer, &c, 3);
    read_token(cribo_trainer_teacher(trainer), token);
    for (int i = 0; i < 16; i++) ck_assert(token[i] != 0);
    OK(cribo_trainer_save_weights(trainer, scratch_path("weights")));
    OK(cribo_model_load_partial(
        cribo_trainer_student(fresh), scratch_path("weights"), "teacher.", &backbone));
    read_token(cribo_trainer_student(fresh), loaded);
    ck_assert_mem_eq(loaded, token, sizeof token);
    /* A model without the token ignores it, and one with it keeps its own where the file has none. */
    OK(cribo_model_load_partial(cribo_trainer_student(off), scratch_path("weights"), "teacher.", &backbone));
    OK(cribo_trainer_save_weights(off, scratch_path("plain")));
    OK(cribo_model_load_partial(cribo_trainer_student(fresh), scratch_path("plain"), "student.", &backbone));
    read_token(cribo_trainer_student(fresh), loaded);
    ck_assert_mem_eq(loaded, token, sizeof token);
    cribo_trainer_free(off);
    cribo_trainer_free(fresh);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_masks_checkpoint_of_another_setting_is_refused)
{
    cribo_trainer_config c = masked_config(), plain = training_config();
    cribo_trainer *trainer = training_begin(&c, 1), *off = training_begin(&plain, 1);
    training_steps(trainer, &c, 1);
    OK(cribo_trainer_save(trainer, scratch_path("masked"), NULL));
    REFUSED(cribo_trainer_load(off, scratch_path("masked"), NULL), CRIBO_INVALID_ARGUMENT, "masked_weight");
    cribo_trainer_free(off);
    cribo_trainer_free(trainer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("masked patches");
    TCase *masks = tcase_create("masks"), *trainers = tcase_create("trainers");
    tcase_add_test(masks, test_masks_blocks_cover_what_is_wanted);
    tcase_add_loop_test(masks, test_masks_of_narrow_grids_stay_inside, 0, 5);
    tcase_add_test(masks, test_masks_follow_the_settings);
    tcase_set_timeout(masks, 60);
    tcase_set_timeout(trainers, 120);
    tcase_add_checked_fixture(trainers, scratch_begin, scratch_end);
    tcase_add_test(trainers, test_masks_of_a_batch_do_not_depend_on_its_division);
    tcase_add_test(trainers, test_masks_report_shows_the_loss);
    tcase_add_loop_test(trainers, test_masks_threads_recomputing_and_resuming_keep_the_bits, 0, KINDS);
    tcase_add_loop_test(trainers, test_masks_gradients_do_not_depend_on_micro_batches, 0, KINDS);
    tcase_add_test(trainers, test_masks_gradients_in_bf16_are_near_those_in_float32);
    tcase_add_test(trainers, test_masks_contradictory_settings_are_refused);
    tcase_add_test(trainers, test_masks_token_is_trained_and_stored);
    tcase_add_test(trainers, test_masks_checkpoint_of_another_setting_is_refused);
    suite_add_tcase(suite, masks);
    suite_add_tcase(suite, trainers);
    return run_suite(suite);
}
