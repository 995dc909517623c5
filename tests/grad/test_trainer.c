/*
 * Gradients of a whole training step with respect to the student's parameters against central differences,
 * in double: from pixels through masks, backbone, pooling and heads to the losses.
 */
#include "base/random.h"
#include "support/suite.h"
#include "training/settings.h"
#include "training/step.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 3, SIDE = 12, PIXELS = 3 * SIDE * SIDE, CROPS = 2, CROP = 3 * 8 * 8, MOST_ELEMENTS = 4 };
#define STEP 1e-6

typedef struct problem {
    cb_runtime runtime;
    cb_trainer *trainer;
    float pixels[2][IMAGES * PIXELS], positions[IMAGES * 2 * 9 * 2], local[IMAGES * CROPS * CROP];
    cribo_batch batch;
} problem;

static double normal(uint64_t stream, uint64_t i)
{
    cb_random random = cb_random_begin(4, CB_PURPOSE_CALLER, stream, i);
    return cb_random_normal(&random);
}

/* Both views of an image show the same, with noise. */
static void fill(problem *p, uint64_t batch)
{
    for (uint64_t i = 0; i < IMAGES * PIXELS; i++)
        for (uint64_t v = 0; v < 2; v++)
            p->pixels[v][i] = (float)(normal(10 * batch, i / 4) + 0.2 * normal(10 * batch + 1 + v, i));
    for (uint64_t i = 0; i < IMAGES * 2 * 9 * 2; i++) p->positions[i] = (float)(i / 2 % 9 + i % 2);
    p->batch = (cribo_batch){.struct_size = sizeof p->batch,
        .images = IMAGES,
        .view1 = p->pixels[0],
        .view2 = p->pixels[1],
        .positions = p->positions};
    for (uint64_t i = 0; i < IMAGES * CROPS * CROP; i++)
        p->local[i] = (float)(normal(10 * batch + 3, i / CROP) + 0.5 * normal(10 * batch + 4, i));
    if (p->trainer->config.local_crops) p->batch.local_views = p->local;
}

static void set_all(cribo_trainer_config *config, const char *settings)
{
    char name[64], value[64];
    int length;
    for (const char *at = settings; sscanf(at, " %63[^=]=%63s%n", name, value, &length) == 2; at += length)
        ck_assert_int_eq(cb_config_set(&cb_trainer_settings, config, name, value), CRIBO_OK);
}

static cribo_trainer_config config_of(const char *settings)
{
    cribo_trainer_config c;
    ck_assert_int_eq(cb_config_init(&cb_trainer_settings, &c, sizeof c), CRIBO_OK);
    set_all(&c,
        "image_size=12 patch_size=4 width=8 depth=2 heads=2 mlp_ratio=2 drop_path=0.2 head_hidden=10 "
        "head_bottleneck=5 prototypes=7 object_prototypes=6 clusters=3 bank_images=9 cross_image_epochs=0 "
        "batch_size=3 micro_batch=2 learning_rate=1 warmup_epochs=0 freeze_last_layer_epochs=0 "
        "steps_per_epoch=4 seed=5");
    set_all(&c, settings);
    return c;
}

static double learn(problem *p)
{
    ck_assert_int_eq(cb_train_learn(p->trainer, &p->batch), CRIBO_OK);
    return cb_tally_loss(&p->trainer->learner.objective->tally);
}

/* Two steps, for centres, a bank and parameters that are not at their start; then the targets of a third. */
static void problem_begin(problem *p, const char *settings)
{
    cribo_trainer_config config = config_of(settings);
    cribo_report report;
    cribo_runtime hooks;
    ck_assert_int_eq(cribo_runtime_init(&hooks, sizeof hooks), CRIBO_OK);
    hooks.threads = 1;
    ck_assert_int_eq(cb_runtime_begin(&p->runtime, &hooks), CRIBO_OK);
    ck_assert_msg(cb_trainer_create(&p->runtime, &p->trainer, CRIBO_OK, &config, NULL) == CRIBO_OK, "%s",
        cribo_last_error());
    for (uint64_t batch = 0; batch < 2; batch++) {
        fill(p, batch);
        ck_assert_int_eq(cb_train_step(p->trainer, &p->batch, &report), CRIBO_OK);
    }
    fill(p, 2);
    ck_assert_int_eq(cb_train_teach(p->trainer, &p->batch), CRIBO_OK);
}

static void check_parameter(problem *p, const cb_parameter *parameter, cb_real *gradient)
{
    cb_real *values = p->trainer->student->parameters.values + parameter->offset;
    double largest = 0;
    for (size_t i = 0; i < parameter->count; i++) largest = fmax(largest, fabs(gradient[i]));
    for (size_t i = 0; i < parameter->count; i += parameter->count / MOST_ELEMENTS + 1) {
        cb_real before = values[i];
        values[i] = before + STEP;
        double above = learn(p);
        values[i] = before - STEP;
        double difference = (above - learn(p)) / (2 * STEP);
        values[i] = before;
        ck_assert_msg(fabs(gradient[i] - difference) < 1e-6 * (1 + largest),
            "%s [%zu]: %.12g, by differences %.12g", parameter->name, i, (double)gradient[i], difference);
    }
    if (parameter->fixed) return;
    ck_assert_msg(largest > 1e-7, "%s has no gradient", parameter->name);
}

static const char *const cases[] = {
    "drop_path=0",
    "masked_weight=1.5 masked_views=1 global_weight=0 cross_view_weight=0 cross_image_weight=0",
    "masked_weight=0.5 masked_views=0.7 masked_share_max=0.9 authors_normalisation=1 group_images=2",
    "stem=convolution masked_weight=1 masked_views=1 image_size=8 patch_size=4",
    "masked_weight=2 masked_views=1 sinkhorn_centring=3 recompute=1 layer_scale=0.5 registers=1 "
    "koleo_weight=0.1 object_koleo_weight=0.1",
    "gram_weight=3 koleo_weight=0.2 object_koleo_weight=0.1 local_crops=2 local_size=8 local_weight=0.7",
    "gram_weight=30 gram_start_steps=1 local_crops=2 local_size=8 local_weight=3 masked_weight=0.5 "
    "registers=1 global_weight=0 authors_normalisation=1 recompute=1",
};

START_TEST(test_trainer_gradients_of_parameters_equal_finite_differences)
{
    static problem p;
    problem_begin(&p, cases[_i]);
    const cb_parameters *parameters = &p.trainer->student->parameters;
    cb_real *gradients = malloc(parameters->total * sizeof *gradients);
    learn(&p);
    memcpy(gradients, parameters->gradients, parameters->total * sizeof *gradients);
    bool objects = cb_uses_objects(&p.trainer->learner.objective->config);
    for (size_t i = 0; i < parameters->count; i++) {
        const cb_parameter *parameter = &parameters->list[i];
        if (!objects && strstr(parameter->name, "last_layer_c")) continue;
        check_parameter(&p, parameter, gradients + parameter->offset);
    }
    free(gradients);
    cb_trainer_free(&p.runtime, p.trainer);
    cb_runtime_end(&p.runtime);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gradients of a step");
    TCase *group = tcase_create("trainer");
    tcase_set_timeout(group, 120);
    tcase_add_loop_test(group, test_trainer_gradients_of_parameters_equal_finite_differences, 0,
        sizeof cases / sizeof cases[0]);
    suite_add_tcase(suite, group);
    return run_suite(suite);
}
