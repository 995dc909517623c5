/*
 * Losses beside the paper's three: independent of threads, micro-batches and interruptions, close in
 * bfloat16, and defined at the edges. tests/python/test_ingredients.py compares them with PyTorch.
 */
#include "support/objective.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const ingredients[] = {
    "koleo_weight=0.3",
    "object_koleo_weight=0.3",
    "koleo_weight=0.2 object_koleo_weight=0.1 group_images=3 frozen_blocks=1",
    "koleo_weight=0.2 global_weight=0 cross_view_weight=0 cross_image_weight=0 heads_only_steps=1",
    "gram_weight=2",
    "gram_weight=2 gram_start_steps=1 gram_refresh_steps=2 frozen_blocks=1 registers=2 heads_only_steps=2",
    "local_crops=3 local_size=16",
    ("local_crops=2 local_size=32 sinkhorn_centring=2 authors_normalisation=1 global_weight=0 "
     "frozen_blocks=1 heads_only_steps=1"),
};
#define INGREDIENTS (int)(sizeof ingredients / sizeof *ingredients)

static cribo_trainer_config config_with(const char *settings)
{
    cribo_trainer_config config = training_config();
    training_set(&config, settings);
    return config;
}

static cribo_trainer *learned(const cribo_trainer_config *config)
{
    cribo_trainer *trainer = training_begin(config, 2);
    training_batch made = training_batch_of(config, config->batch_size, 3);
    training_step(trainer, config, 0); /* student and teacher differ from now on */
    OK(cribo_trainer_teach(trainer, &made.batch));
    OK(cribo_trainer_learn(trainer, &made.batch));
    training_batch_free(&made);
    return trainer;
}

static double loss_of(const cribo_trainer *trainer)
{
    double loss;
    OK(cribo_trainer_losses(trainer, &loss, NULL, NULL, NULL));
    return loss;
}

/* The largest difference of two trainers' gradients, relative to the largest gradient. */
static double distance(cribo_trainer *a, cribo_trainer *b)
{
    cribo_parameter p;
    double most = 0, largest = 0;
    for (int64_t i = 0; training_parameter(a, i, &p); i++) {
        size_t n = (size_t)p.count;
        float *x = calloc(2 * n, sizeof *x), *y = x + n;
        OK(cribo_trainer_gradient(a, p.name, x, p.count));
        OK(cribo_trainer_gradient(b, p.name, y, p.count));
        for (size_t j = 0; j < n; j++) {
            most = fmax(most, fabs((double)x[j] - (double)y[j]));
            largest = fmax(largest, fabs((double)x[j]));
        }
        free(x);
    }
    return most / largest;
}

START_TEST(test_ingredients_change_a_run)
{
    cribo_trainer_config c = config_with(ingredients[_i]), plain = c;
    training_set(&plain, "koleo_weight=0 object_koleo_weight=0 gram_weight=0 local_weight=0");
    cribo_trainer *with = training_begin(&c, 2), *without = training_begin(&plain, 2);
    training_steps(with, &c, 3);
    training_steps(without, &plain, 3);
    ck_assert(!training_same(with, without));
    cribo_trainer_free(with);
    cribo_trainer_free(without);
}
END_TEST

START_TEST(test_ingredients_threads_give_the_same_bits)
{
    cribo_trainer_config c = config_with(ingredients[_i]);
    cribo_trainer *one = training_begin(&c, 1), *three = training_begin(&c, 3);
    training_steps(one, &c, 3);
    training_steps(three, &c, 3);
    ck_assert(training_same(one, three));
    cribo_trainer_free(one);
    cribo_trainer_free(three);
}
END_TEST

/* In either precision; one micro-batch takes no pass of its own for KoLeo. */
START_TEST(test_ingredients_micro_batches_agree)
{
    cribo_trainer_config c = config_with(ingredients[_i / 2]);
    c.precision = _i % 2 ? CRIBO_BF16 : CRIBO_FLOAT32;
    c.micro_batch = 5;
    cribo_trainer *whole = learned(&c);
    for (c.micro_batch = 1; c.micro_batch < 5; c.micro_batch++) {
        cribo_trainer *cut = learned(&c);
        double far = distance(whole, cut), bound = _i % 2 ? 0.03 : 1e-4;
        ck_assert_msg(far < bound, "%s: the gradients are %g apart", ingredients[_i / 2], far);
        ck_assert_double_eq_tol(loss_of(cut), loss_of(whole), _i % 2 ? 0.01 : 1e-5);
        cribo_trainer_free(cut);
    }
    cribo_trainer_free(whole);
}
END_TEST

START_TEST(test_ingredients_in_bf16_are_near_those_in_float32)
{
    cribo_trainer_config exact = config_with(ingredients[_i]), rounded = exact;
    rounded.precision = CRIBO_BF16;
    cribo_trainer *a = training_begin(&exact, 2), *b = training_begin(&rounded, 2);
    cribo_report first = {.struct_size = sizeof first}, second = first;
    training_batch made = training_batch_of(&exact, 5, 1);
    OK(cribo_trainer_step(a, &made.batch, &first));
    OK(cribo_trainer_step(b, &made.batch, &second));
    ck_assert_double_eq_tol(first.loss, second.loss, 0.05);
    training_batch_free(&made);
    cribo_trainer_free(a);
    cribo_trainer_free(b);
}
END_TEST

START_TEST(test_ingredients_resumed_run_has_the_bits_of_an_uninterrupted_one)
{
    cribo_trainer_config c = config_with(ingredients[_i]);
    cribo_trainer *whole = training_begin(&c, 2), *second = training_begin(&c, 2);
    const char *path = scratch_path("ingredients.checkpoint");
    training_steps(whole, &c, 2);
    OK(cribo_trainer_save(whole, path, NULL));
    OK(cribo_trainer_load(second, path, NULL));
    for (uint64_t i = 2; i < 6; i++) {
        training_step(whole, &c, i);
        training_step(second, &c, i);
    }
    ck_assert(training_same(whole, second));
    OK(cribo_trainer_save(whole, scratch_path("whole"), NULL));
    OK(cribo_trainer_save(second, scratch_path("second"), NULL));
    assert_same_files("whole", "second");
    cribo_trainer_free(whole);
    cribo_trainer_free(second);
}
END_TEST

START_TEST(test_ingredients_count_in_the_report)
{
    cribo_trainer_config c = config_with("koleo_weight=0.3 object_koleo_weight=0.1 gram_weight=2 "
                                         "local_crops=2 local_size=16");
    cribo_trainer *trainer = training_begin(&c, 2);
    training_batch made = training_batch_of(&c, 5, 1);
    cribo_report r = {.struct_size = sizeof r};
    OK(cribo_trainer_step(trainer, &made.batch, &r));
    double paper = r.global_loss + r.cross_view_loss + r.cross_image_loss;
    ck_assert(r.koleo_loss != 0 && r.gram_loss > 0 && r.local_loss > 0);
    ck_assert_double_eq_tol(r.loss, paper + r.koleo_loss + r.gram_loss + r.local_loss, 1e-12);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

/* One image has no neighbour; equal images have duplicates. */
START_TEST(test_ingredients_koleo_of_one_or_equal_images)
{
    cribo_trainer_config c = config_with("koleo_weight=1 object_koleo_weight=1 drop_path=0");
    cribo_trainer *trainer = training_begin(&c, 2);
    training_batch made = training_batch_of(&c, 5, 1);
    cribo_report r = {.struct_size = sizeof r};
    size_t image = 3 * (size_t)(c.image_size * c.image_size);
    c.object_koleo_weight = 0;
    cribo_trainer *cls = training_begin(&c, 2);
    made.batch.images = 1;
    OK(cribo_trainer_step(cls, &made.batch, &r));
    ck_assert(r.koleo_loss == 0);
    made.batch.images = 5;
    for (size_t i = 1; i < 5; i++) {
        memcpy(made.pixels + i * image, made.pixels, image * sizeof(float));
        memcpy(made.pixels + (5 + i) * image, made.pixels + 5 * image, image * sizeof(float));
    }
    OK(cribo_trainer_step(cls, &made.batch, &r));
    ck_assert_double_eq_tol(r.koleo_loss, 2 * -log(1e-4), 1e-9);
    OK(cribo_trainer_step(trainer, &made.batch, &r));
    ck_assert(isfinite(r.gradient_norm));
    training_batch_free(&made);
    cribo_trainer_free(cls);
    cribo_trainer_free(trainer);
}
END_TEST

/* The teacher is the student after each step, so the loss is 0 in the steps whose teacher is the anchor. */
START_TEST(test_ingredients_gram_anchor_is_the_teacher_of_its_step)
{
    cribo_trainer_config c = config_with("gram_weight=2 gram_start_steps=2 gram_refresh_steps=3 drop_path=0");
    c.ema_momentum = c.ema_momentum_final = 0;
    cribo_trainer *trainer = training_begin(&c, 2);
    for (int step = 0; step < 8; step++) {
        training_batch made = training_batch_of(&c, 5, (uint64_t)step);
        cribo_report r = {.struct_size = sizeof r};
        OK(cribo_trainer_step(trainer, &made.batch, &r));
        bool renewed = step == 2 || step == 5;
        ck_assert_msg(
            step < 2 ? r.gram_loss == 0 : (r.gram_loss < 1e-9) == renewed, "step %d: %g", step, r.gram_loss);
        training_batch_free(&made);
    }
    cribo_trainer_free(trainer);
}
END_TEST

/* The anchor changes in update alone; a checkpoint without one is refused. */
START_TEST(test_ingredients_gram_anchor_is_state)
{
    cribo_trainer_config c = config_with("gram_weight=2 gram_start_steps=1"), plain = training_config();
    cribo_trainer *trainer = training_begin(&c, 2), *without = training_begin(&plain, 2);
    const cribo_load_options any = {.struct_size = sizeof any, .overrides = "gram_weight,gram_start_steps"};
    training_batch made = training_batch_of(&c, 5, 1);
    training_step(trainer, &c, 0);
    OK(cribo_trainer_save(trainer, scratch_path("before"), NULL));
    OK(cribo_trainer_teach(trainer, &made.batch));
    OK(cribo_trainer_learn(trainer, &made.batch));
    OK(cribo_trainer_forget(trainer));
    OK(cribo_trainer_save(trainer, scratch_path("after"), NULL));
    assert_same_files("before", "after");
    OK(cribo_trainer_save(without, scratch_path("without"), NULL));
    REFUSED(cribo_trainer_load(trainer, scratch_path("without"), &any), CRIBO_CORRUPT, "gram.");
    training_batch_free(&made);
    cribo_trainer_free(without);
    cribo_trainer_free(trainer);
}
END_TEST

/*
 * A crop that shows the whole view has the view's loss: each of two terms against its own view and the
 * other's.
 */
START_TEST(test_ingredients_local_crops_of_whole_views_have_their_losses)
{
    cribo_trainer_config c = config_with("local_crops=2 local_size=24 drop_path=0");
    cribo_trainer *trainer = training_begin(&c, 2);
    training_batch made = training_batch_of(&c, 5, 1);
    cribo_report r = {.struct_size = sizeof r}, swapped = r;
    size_t view = 3 * 24 * 24;
    for (size_t i = 0; i < 10; i++)
        memcpy(made.local + i * view, made.pixels + (i % 2 * 5 + i / 2) * view, view * sizeof(float));
    OK(cribo_trainer_step(trainer, &made.batch, &r));
    cribo_trainer_free(trainer);
    /* Both views the same: every pair of student and teacher is one of the four sums. */
    trainer = training_begin(&c, 2);
    const float *second = made.batch.view2;
    made.batch.view2 = made.batch.view1;
    OK(cribo_trainer_step(trainer, &made.batch, &swapped));
    double own = swapped.global_loss / 2; /* 1/B Σ H(p_1, s_1) */
    cribo_trainer_free(trainer);
    trainer = training_begin(&c, 2);
    made.batch.view1 = made.batch.view2 = second;
    OK(cribo_trainer_step(trainer, &made.batch, &swapped));
    own += swapped.global_loss / 2; /* and 1/B Σ H(p_2, s_2) */
    ck_assert_double_eq_tol(r.local_loss, (r.global_loss + own) / 2, 1e-4);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_ingredients_local_crops_in_bytes_are_the_floats_they_stand_for)
{
    cribo_trainer_config c = config_with("local_crops=2 local_size=16");
    cribo_trainer *a = training_begin(&c, 2), *b = training_begin(&c, 2);
    training_batch made = training_batch_of(&c, 5, 1);
    uint8_t *bytes = calloc(2 * 5 * 3 * 24 * 24 + 10 * 3 * 16 * 16, 1), *local = bytes + 2 * 5 * 3 * 24 * 24;
    cribo_batch given = made.batch;
    for (size_t i = 0; i < 2 * 5 * 3 * 24 * 24; i++) {
        bytes[i] = (uint8_t)(i * 7);
        made.pixels[i] = ((float)bytes[i] / 255 - 0.5f) / 0.25f;
    }
    for (size_t i = 0; i < 10 * 3 * 16 * 16; i++) {
        local[i] = (uint8_t)(i * 11);
        made.local[i] = ((float)local[i] / 255 - 0.5f) / 0.25f;
    }
    given.view1 = given.view2 = given.local_views = NULL;
    given.view1_bytes = bytes;
    given.view2_bytes = bytes + 5 * 3 * 24 * 24;
    given.local_views_bytes = local;
    for (int ch = 0; ch < 3; ch++) {
        given.mean[ch] = 0.5;
        given.deviation[ch] = 0.25;
    }
    cribo_report x = {.struct_size = sizeof x}, y = x;
    OK(cribo_trainer_step(a, &made.batch, &x));
    OK(cribo_trainer_step(b, &given, &y));
    ck_assert_double_eq_tol(x.local_loss, y.local_loss, 1e-5);
    ck_assert_double_eq_tol(x.gradient_norm, y.gradient_norm, 1e-4 * x.gradient_norm);
    free(bytes);
    training_batch_free(&made);
    cribo_trainer_free(a);
    cribo_trainer_free(b);
}
END_TEST

START_TEST(test_ingredients_local_crops_are_checked)
{
    cribo_trainer_config c = config_with("local_crops=2 local_size=16"),
                         odd = config_with("local_crops=1 local_size=20");
    cribo_trainer *trainer = training_begin(&c, 2), *none;
    training_batch made = training_batch_of(&c, 5, 1);
    cribo_batch given = made.batch;
    uint8_t byte = 0;
    given.local_views = NULL;
    REFUSED(cribo_trainer_step(trainer, &given, NULL), CRIBO_INVALID_ARGUMENT, "batch.local_views is NULL");
    given = made.batch;
    given.local_views_bytes = &byte;
    REFUSED(cribo_trainer_step(trainer, &given, NULL), CRIBO_INVALID_ARGUMENT, "local_views alone");
    OK(cribo_trainer_teach(trainer, &made.batch));
    made.local[7] += 1;
    REFUSED(cribo_trainer_learn(trainer, &made.batch), CRIBO_INVALID_ARGUMENT, "image 0");
    made.local[9] = NAN;
    REFUSED(cribo_trainer_step(trainer, &made.batch, NULL), CRIBO_INVALID_ARGUMENT, "batch.local_views[9]");
    REFUSED(cribo_trainer_create(&none, &odd, NULL), CRIBO_INVALID_ARGUMENT, "local_size = 20");
    cribo_trainer_free(trainer);
    c.local_crops = 0;
    trainer = training_begin(&c, 2);
    REFUSED(cribo_trainer_step(trainer, &made.batch, NULL), CRIBO_INVALID_ARGUMENT, "local_crops = 0");
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

/* Tokens of another network: the whole batch at once, in micro-batches of any size. */
START_TEST(test_ingredients_koleo_of_an_objective_takes_whole_batches)
{
    cribo_objective_config c = objective_config();
    c.koleo_weight = c.object_koleo_weight = 0.3;
    cribo_objective *cut = objective_begin(&c, 2);
    c.micro_batch = 5;
    cribo_objective *whole = objective_begin(&c, 2);
    token_batch a = token_batch_of(&c, 5, 1), b = token_batch_of(&c, 5, 1);
    OK(cribo_objective_teach(cut, &a.teacher));
    OK(cribo_objective_teach(whole, &b.teacher));
    cribo_objective_chunk part = token_chunk(&c, &a, 0, 2);
    REFUSED(cribo_objective_learn(cut, &part), CRIBO_INVALID_ARGUMENT, "a chunk is the whole batch");
    OK(cribo_objective_learn(cut, &a.student));
    OK(cribo_objective_learn(whole, &b.student));
    size_t count = (size_t)(5 * 2 * (c.tokens + 1) * c.width);
    for (size_t i = 0; i < count; i++) ck_assert_float_eq_tol(a.gradients[i], b.gradients[i], 1e-6);
    token_batch_free(&a);
    token_batch_free(&b);
    cribo_objective_free(cut);
    cribo_objective_free(whole);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("further losses");
    TCase *tests = tcase_create("ingredients");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    tcase_add_loop_test(tests, test_ingredients_change_a_run, 0, INGREDIENTS);
    tcase_add_loop_test(tests, test_ingredients_threads_give_the_same_bits, 0, INGREDIENTS);
    tcase_add_loop_test(tests, test_ingredients_micro_batches_agree, 0, 2 * INGREDIENTS);
    tcase_add_loop_test(tests, test_ingredients_in_bf16_are_near_those_in_float32, 0, INGREDIENTS);
    tcase_add_loop_test(
        tests, test_ingredients_resumed_run_has_the_bits_of_an_uninterrupted_one, 0, INGREDIENTS);
    tcase_add_test(tests, test_ingredients_count_in_the_report);
    tcase_add_test(tests, test_ingredients_koleo_of_one_or_equal_images);
    tcase_add_test(tests, test_ingredients_gram_anchor_is_the_teacher_of_its_step);
    tcase_add_test(tests, test_ingredients_gram_anchor_is_state);
    tcase_add_test(tests, test_ingredients_local_crops_of_whole_views_have_their_losses);
    tcase_add_test(tests, test_ingredients_local_crops_in_bytes_are_the_floats_they_stand_for);
    tcase_add_test(tests, test_ingredients_local_crops_are_checked);
    tcase_add_test(tests, test_ingredients_koleo_of_an_objective_takes_whole_batches);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
