/* Gradients of the objective with respect to the student's tokens against central differences, in double. */
#include "base/random.h"
#include "support/suite.h"
#include "training/token_trainer.h"

#include <check.h>
#include <math.h>

enum { IMAGES = 3, N = 6, D = 5, VIEW = (1 + N) * D };

typedef struct problem {
    cb_runtime runtime;
    cb_token_trainer *trainer;
    cb_real teacher[IMAGES * 2 * VIEW], student[IMAGES * 2 * VIEW], gradient[IMAGES * 2 * VIEW];
    float positions[IMAGES * 2 * N * 2];
} problem;

static double normal(uint64_t index, uint64_t i)
{
    cb_random random = cb_random_begin(9, CB_PURPOSE_CALLER, index, i);
    return cb_random_normal(&random);
}

/* Both views of an image show the same three things; so objects are found, and neighbours match. */
static void fill(problem *p, uint64_t batch)
{
    for (size_t i = 0; i < IMAGES * 2; i++)
        for (size_t j = 0; j < VIEW; j++) {
            double thing = normal(100 + batch * IMAGES + i / 2, j / D % 3 * D + j % D);
            p->teacher[i * VIEW + j] = (cb_real)(thing + 0.1 * normal(200 + batch, i * VIEW + j));
            p->student[i * VIEW + j] = (cb_real)(thing + 0.3 * normal(300 + batch, i * VIEW + j));
        }
    for (size_t i = 0; i < IMAGES * 2 * N * 2; i++) p->positions[i] = (float)normal(400 + batch, i);
}

static cb_token_view view_of(cb_real *tokens)
{
    return (cb_token_view){tokens + D, tokens, 2 * VIEW, VIEW, 2 * VIEW, VIEW};
}

static void teach(problem *p)
{
    const cb_token_batch batch = {
        .images = IMAGES, .teacher = view_of(p->teacher), .positions = p->positions};
    ck_assert_int_eq(cb_token_teach(p->trainer, &batch), CRIBO_OK);
}

static double learn(problem *p)
{
    const cb_token_chunk chunk = {.images = IMAGES,
        .student = view_of(p->student),
        .dense_gradient = p->gradient + D,
        .global_gradient = p->gradient};
    ck_assert_int_eq(cb_token_learn(p->trainer, CRIBO_OK, &chunk), CRIBO_OK);
    return cb_tally_loss(&p->trainer->learner.objective->tally);
}

static void problem_begin(problem *p, const cribo_objective_config *settings)
{
    ck_assert_int_eq(cb_runtime_begin(&p->runtime, NULL), CRIBO_OK);
    ck_assert_int_eq(cb_token_trainer_create(&p->runtime, &p->trainer, CRIBO_OK, settings, NULL), CRIBO_OK);
    cribo_report report;
    for (uint64_t batch = 1; batch < 3; batch++) { /* centres and a bank */
        fill(p, batch);
        teach(p);
        learn(p);
        ck_assert_int_eq(cb_learner_update(&p->trainer->learner, &report), CRIBO_OK);
    }
    fill(p, 0);
    teach(p);
}

static void problem_end(problem *p)
{
    cb_token_trainer_free(&p->runtime, p->trainer);
    cb_runtime_end(&p->runtime);
}

static void check_tokens(problem *p)
{
    const double step = 1e-5;
    cb_real gradient[IMAGES * 2 * VIEW];
    double largest = 0;
    learn(p);
    for (size_t i = 0; i < IMAGES * 2 * VIEW; i++) gradient[i] = p->gradient[i];
    for (size_t i = 0; i < IMAGES * 2 * VIEW; i++) {
        cb_real *x = &p->student[i], before = *x;
        *x = before + step;
        double above = learn(p);
        *x = before - step;
        double difference = (above - learn(p)) / (2 * step);
        *x = before;
        ck_assert_msg(fabs(gradient[i] - difference) < 1e-7, "number %zu: %.9g, by differences %.9g", i,
            (double)gradient[i], difference);
        largest = fmax(largest, fabs(difference));
    }
    ck_assert_double_gt(largest, 1e-4);
}

/*
 * The paper's losses, the authors' with shares, one loss alone, groups; KoLeo in one micro-batch and in
 * several.
 */
static const struct {
    int64_t authors, hard, group, micro;
    double global, cross_view, cross_image, koleo, object_koleo;
} cases[] = {{0, 1, 0, 2, 1, 1, 1, 0, 0}, {1, 0, 0, 3, 1, 1, 1, 0, 0}, {0, 1, 0, 1, 0, 0, 1, 0, 0},
    {0, 1, 2, 2, 0.5, 1, 2, 0, 0}, {0, 1, 0, 3, 0, 0, 1, 0.3, 0}, {0, 0, 0, 1, 0.01, 0, 0.01, 0, 0.3},
    {0, 1, 2, 2, 0.5, 1, 2, 0.1, 0.4}};

START_TEST(test_objective_gradients_of_tokens_equal_finite_differences)
{
    problem p;
    cribo_objective_config c;
    ck_assert_int_eq(cb_config_init(&cb_objective_settings, &c, sizeof c), CRIBO_OK);
    c.width = D;
    c.tokens = N;
    c.head_hidden = 9;
    c.head_bottleneck = 4;
    c.prototypes = 7;
    c.object_prototypes = 6;
    c.clusters = 3;
    c.bank_images = 10;
    c.batch_size = IMAGES;
    c.steps_per_epoch = 2;
    c.cross_image_epochs = c.warmup_epochs = c.freeze_last_layer_epochs = 0;
    c.learning_rate = 1;
    c.authors_normalisation = cases[_i].authors;
    c.hard_assignment = cases[_i].hard;
    c.group_images = cases[_i].group;
    c.micro_batch = cases[_i].micro;
    c.global_weight = cases[_i].global;
    c.cross_view_weight = cases[_i].cross_view;
    c.cross_image_weight = cases[_i].cross_image;
    c.koleo_weight = cases[_i].koleo;
    c.object_koleo_weight = cases[_i].object_koleo;
    problem_begin(&p, &c);
    ck_assert(p.trainer->learner.objective->targets.cross_image);
    ck_assert_uint_gt(p.trainer->learner.objective->targets.objects, IMAGES);
    check_tokens(&p);
    problem_end(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gradients of the objective");
    TCase *group = tcase_create("objective");
    tcase_set_timeout(group, 120);
    tcase_add_loop_test(group, test_objective_gradients_of_tokens_equal_finite_differences, 0,
        (int)(sizeof cases / sizeof *cases));
    suite_add_tcase(suite, group);
    return run_suite(suite);
}
