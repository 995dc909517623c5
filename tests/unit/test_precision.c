/*
 * Training and features in bfloat16: close to those in float32, and also independent of threads,
 * micro-batches and interruptions. The tests of products and row kernels check single operations;
 * golden-trajectory compares losses.
 */
#include "support/suite.h"
#include "support/training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static cribo_trainer_config config_in(const char *precision)
{
    cribo_trainer_config config = training_config();
    OK(cribo_trainer_config_set(&config, "precision", precision));
    return config;
}

/* Teach and learn on one batch: gradients are those of step 0. */
static cribo_trainer *learned(const cribo_trainer_config *config, int64_t threads)
{
    cribo_trainer *trainer = training_begin(config, threads);
    training_batch batch = training_batch_of(config, config->batch_size, 5);
    OK(cribo_trainer_teach(trainer, &batch.batch));
    OK(cribo_trainer_learn(trainer, &batch.batch));
    training_batch_free(&batch);
    return trainer;
}

/* ‖x − y‖ / ‖x‖ of one parameter's gradients. */
static double distance(cribo_trainer *a, cribo_trainer *b, const cribo_parameter *p)
{
    size_t n = (size_t)p->count;
    float *x = calloc(2 * n, sizeof *x), *y = x + n;
    double difference = 0, length = 0;
    OK(cribo_trainer_gradient(a, p->name, x, p->count));
    OK(cribo_trainer_gradient(b, p->name, y, p->count));
    for (size_t i = 0; i < n; i++) {
        difference += pow((double)x[i] - y[i], 2);
        length += pow((double)x[i], 2);
    }
    free(x);
    return length > 0 ? sqrt(difference / length) : 0;
}

/*
 * The largest distance of all parameters' gradients. The bias of keys is left out: its gradient is only
 * rounding.
 */
static double furthest(cribo_trainer *a, cribo_trainer *b)
{
    cribo_parameter p;
    double most = 0;
    for (int64_t i = 0; training_parameter(a, i, &p); i++)
        if (!strstr(p.name, "qkv.bias")) most = fmax(most, distance(a, b, &p));
    return most;
}

START_TEST(test_precision_gradients_in_bf16_are_near_those_in_float32)
{
    cribo_trainer_config exact = config_in("float32"), rounded = config_in("bf16");
    cribo_trainer *a = learned(&exact, 2), *b = learned(&rounded, 2);
    double far = furthest(a, b);
    ck_assert_msg(far > 1e-4 && far < 0.1, "the gradients are %g apart", far);
    cribo_trainer_free(a);
    cribo_trainer_free(b);
}
END_TEST

START_TEST(test_precision_gradients_in_bf16_do_not_depend_on_micro_batches)
{
    cribo_trainer_config config = config_in("bf16"), other = config;
    other.micro_batch = config.batch_size;
    ck_assert_int_ne(config.micro_batch, other.micro_batch);
    cribo_trainer *a = learned(&config, 2), *b = learned(&other, 2);
    double far = furthest(a, b);
    ck_assert_msg(far < 2e-3, "the gradients are %g apart", far);
    cribo_trainer_free(a);
    cribo_trainer_free(b);
}
END_TEST

START_TEST(test_precision_bf16_has_the_same_bits_for_any_threads)
{
    cribo_trainer_config config = config_in("bf16");
    cribo_trainer *one = training_begin(&config, 1);
    training_steps(one, &config, 3);
    for (int threads = 2; threads <= 3; threads++) {
        cribo_trainer *other = training_begin(&config, threads);
        training_steps(other, &config, 3);
        ck_assert_msg(training_same(one, other), "with %d threads", threads);
        cribo_trainer_free(other);
    }
    cribo_trainer_free(one);
}
END_TEST

START_TEST(test_precision_features_in_bf16_are_near_those_in_float32)
{
    enum { SIDE = 24, PATCH = 8, WIDTH = 24, TOKENS = 9 };
    float pixels[3 * SIDE * SIDE], features[2][TOKENS * WIDTH];
    double difference = 0, length = 0;
    for (size_t i = 0; i < sizeof pixels / sizeof *pixels; i++) pixels[i] = (float)sin((double)(i * i % 97));
    for (int bf16 = 0; bf16 < 2; bf16++) {
        cribo_model_config config;
        cribo_model *model;
        OK(cribo_model_config_init(&config, sizeof config));
        config.image_size = SIDE;
        config.patch_size = PATCH;
        config.width = WIDTH;
        config.heads = 3;
        config.depth = 2;
        config.prototypes = config.object_prototypes = 0;
        config.precision = bf16 ? CRIBO_BF16 : CRIBO_FLOAT32;
        OK(cribo_model_create(&model, &config, NULL));
        OK(cribo_model_features(model, 1, SIDE, SIDE, pixels, features[bf16], NULL, NULL));
        cribo_model_free(model);
    }
    for (size_t i = 0; i < TOKENS * WIDTH; i++) {
        difference += pow((double)features[0][i] - features[1][i], 2);
        length += pow((double)features[0][i], 2);
    }
    double far = sqrt(difference / length);
    ck_assert_msg(far > 1e-5 && far < 0.02, "the features are %g apart", far);
}
END_TEST

START_TEST(test_precision_is_set_by_name_or_number)
{
    cribo_trainer_config config = training_config();
    OK(cribo_trainer_config_set(&config, "precision", "bf16"));
    ck_assert_int_eq(config.precision, CRIBO_BF16);
    OK(cribo_trainer_config_set(&config, "precision", "0"));
    ck_assert_int_eq(config.precision, CRIBO_FLOAT32);
    REFUSED(cribo_trainer_config_set(&config, "precision", "fp16"), CRIBO_INVALID_ARGUMENT, "bf16");
    REFUSED(cribo_trainer_config_set(&config, "precision", "2"), CRIBO_INVALID_ARGUMENT, "precision");
    ck_assert_int_eq(config.precision, CRIBO_FLOAT32);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("precision");
    TCase *tests = tcase_create("precision");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_precision_gradients_in_bf16_are_near_those_in_float32);
    tcase_add_test(tests, test_precision_gradients_in_bf16_do_not_depend_on_micro_batches);
    tcase_add_test(tests, test_precision_bf16_has_the_same_bits_for_any_threads);
    tcase_add_test(tests, test_precision_features_in_bf16_are_near_those_in_float32);
    tcase_add_test(tests, test_precision_is_set_by_name_or_number);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
