/*
 * The losses from logits: refusals, edge cases, weights, threads, memory. Their values are checked by the
 * golden tests.
 */
#include "base/random.h"
#include "cribo/loss.h"
#include "distillation/loss.h"
#include "support/faulty.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 37, OBJECTS = 90, CLS = 600, OBJECT = 33 };

/* All the arrays of a problem, random. */
typedef struct logits {
    float *student_cls, *teacher_cls, *student_objects, *teacher_objects, *neighbours[2];
    uint8_t match[2][OBJECTS];
    cribo_loss_input input;
} logits;

static float *random_floats(size_t n, uint64_t index)
{
    float *x = malloc(n * sizeof *x);
    cb_random random = cb_random_begin(3, CB_PURPOSE_CALLER, 0, index);
    for (size_t i = 0; i < n; i++) x[i] = (float)cb_random_normal(&random);
    return x;
}

static logits *new_logits(void)
{
    logits *l = calloc(1, sizeof *l);
    l->student_cls = random_floats(2 * IMAGES * CLS, 0);
    l->teacher_cls = random_floats(2 * IMAGES * CLS, 1);
    l->student_objects = random_floats(2 * OBJECTS * OBJECT, 2);
    l->teacher_objects = random_floats(2 * OBJECTS * OBJECT, 3);
    for (int view = 0; view < 2; view++) {
        l->neighbours[view] = random_floats(OBJECTS * OBJECT, 4 + (uint64_t)view);
        for (size_t k = 0; k < OBJECTS; k++) l->match[view][k] = (k * 7 + (size_t)view) % 3 == 0;
    }
    l->input = (cribo_loss_input){sizeof l->input, IMAGES, OBJECTS, l->student_cls, l->teacher_cls,
        l->student_objects, l->teacher_objects, l->neighbours[0], l->neighbours[1], l->match[0], l->match[1],
        0.04, 0.05};
    return l;
}

static void free_logits(logits *l)
{
    free(l->student_cls);
    free(l->teacher_cls);
    free(l->student_objects);
    free(l->teacher_objects);
    free(l->neighbours[0]);
    free(l->neighbours[1]);
    free(l);
}

static cribo_status create(cribo_loss **loss, const cribo_runtime *runtime)
{
    cribo_loss_config config;
    ck_assert_int_eq(cribo_loss_config_init(&config, sizeof config), CRIBO_OK);
    config.prototypes = CLS;
    config.object_prototypes = OBJECT;
    return cribo_loss_create(loss, &config, runtime);
}

static cribo_loss *new_loss(int64_t threads)
{
    cribo_runtime runtime;
    cribo_loss *loss;
    ck_assert_int_eq(cribo_runtime_init(&runtime, sizeof runtime), CRIBO_OK);
    runtime.threads = threads;
    ck_assert_int_eq(create(&loss, &runtime), CRIBO_OK);
    return loss;
}

static cribo_loss_output compute(cribo_loss *loss, const cribo_loss_input *input)
{
    cribo_loss_output output = {.struct_size = sizeof output};
    ck_assert_int_eq(cribo_loss_compute(loss, input, &output), CRIBO_OK);
    return output;
}

static void assert_refused(cribo_status status, const char *part)
{
    ck_assert_int_eq(status, CRIBO_INVALID_ARGUMENT);
    ck_assert_msg(
        strstr(cribo_last_error(), part) != NULL, "\"%s\" does not tell of \"%s\"", cribo_last_error(), part);
}

START_TEST(test_loss_weights_paper_counts_each_mask)
{
    cb_loss_weights w = cb_loss_weights_of(false, 4, 10, 5, 2);
    ck_assert(w.global == 0.25 && w.cross_view == 0.1 && w.cross_image[0] == 0.2 && w.cross_image[1] == 0.5);
    w = cb_loss_weights_of(false, 4, 0, 0, 3);
    ck_assert(w.cross_view == 0 && w.cross_image[0] == 0 && w.cross_image[1] == 1.0 / 3);
}
END_TEST

START_TEST(test_loss_weights_authors_count_the_first_mask)
{
    cb_loss_weights w = cb_loss_weights_of(true, 4, 10, 5, 2);
    ck_assert(
        w.global == 0.125 && w.cross_view == 0.05 && w.cross_image[0] == 0.1 && w.cross_image[1] == 0.1);
    w = cb_loss_weights_of(true, 4, 10, 0, 3);
    ck_assert(w.cross_image[0] == 0 && w.cross_image[1] == 0);
}
END_TEST

START_TEST(test_loss_equal_uniform_distributions_give_log_of_prototypes)
{
    logits *l = new_logits();
    cribo_loss *loss = new_loss(1);
    memset(l->student_cls, 0, 2 * IMAGES * CLS * sizeof(float));
    memset(l->student_objects, 0, 2 * OBJECTS * OBJECT * sizeof(float));
    cribo_loss_output output = compute(loss, &l->input);
    ck_assert_double_eq_tol(output.global, 2 * log(CLS), 1e-5);
    ck_assert_double_eq_tol(output.cross_view, 2 * log(OBJECT), 1e-5);
    ck_assert_double_eq_tol(output.cross_image, 2 * log(OBJECT), 1e-5);
    cribo_loss_free(loss);
    free_logits(l);
}
END_TEST

START_TEST(test_loss_without_objects_or_neighbours_is_defined)
{
    logits *l = new_logits();
    cribo_loss *loss = new_loss(2);
    cribo_loss_output all = compute(loss, &l->input);
    ck_assert(all.cross_image > 0);

    cribo_loss_input input = l->input;
    input.neighbours1 = input.neighbours2 = NULL;
    input.match1 = input.match2 = NULL;
    cribo_loss_output output = compute(loss, &input);
    ck_assert(output.cross_image == 0 && output.cross_view == all.cross_view && output.global == all.global);

    input.objects = 0;
    input.student_objects = input.teacher_objects = NULL;
    output = compute(loss, &input);
    ck_assert(output.cross_image == 0 && output.cross_view == 0 && output.global == all.global);

    float before[OBJECT], after[OBJECT];
    ck_assert_int_eq(cribo_loss_set_centres(loss, NULL, l->neighbours[0]), CRIBO_OK);
    ck_assert_int_eq(cribo_loss_get_centres(loss, NULL, before), CRIBO_OK);
    ck_assert_int_eq(cribo_loss_update_centres(loss, &input), CRIBO_OK);
    ck_assert_int_eq(cribo_loss_get_centres(loss, NULL, after), CRIBO_OK);
    ck_assert(memcmp(before, after, sizeof after) == 0);
    ck_assert(memcmp(before, l->neighbours[0], sizeof before) == 0);
    cribo_loss_free(loss);
    free_logits(l);
}
END_TEST

START_TEST(test_loss_neighbours_without_match_are_never_read)
{
    logits *l = new_logits();
    cribo_loss *loss = new_loss(1);
    cribo_loss_output before = compute(loss, &l->input);
    for (int view = 0; view < 2; view++)
        for (size_t k = 0; k < OBJECTS; k++)
            if (!l->match[view][k]) l->neighbours[view][k * OBJECT + k % OBJECT] = NAN;
    cribo_loss_output after = compute(loss, &l->input);
    ck_assert(after.cross_image == before.cross_image);
    cribo_loss_free(loss);
    free_logits(l);
}
END_TEST

START_TEST(test_loss_results_do_not_depend_on_threads)
{
    logits *l = new_logits();
    float *gradient[3], *centres[3];
    cribo_loss_output output[3];
    size_t cls = 2 * IMAGES * CLS, all = cls + 2 * OBJECTS * OBJECT;
    for (int i = 0; i < 3; i++) {
        cribo_loss *loss = new_loss(1 + 3 * i);
        gradient[i] = malloc(all * sizeof(float));
        centres[i] = malloc((CLS + OBJECT) * sizeof(float));
        output[i] = (cribo_loss_output){.struct_size = sizeof output[i],
            .student_cls_gradient = gradient[i],
            .student_objects_gradient = gradient[i] + cls};
        ck_assert_int_eq(cribo_loss_update_centres(loss, &l->input), CRIBO_OK);
        ck_assert_int_eq(cribo_loss_compute(loss, &l->input, &output[i]), CRIBO_OK);
        ck_assert_int_eq(cribo_loss_get_centres(loss, centres[i], centres[i] + CLS), CRIBO_OK);
        ck_assert(output[i].global == output[0].global && output[i].cross_view == output[0].cross_view);
        ck_assert(output[i].cross_image == output[0].cross_image);
        ck_assert(memcmp(gradient[i], gradient[0], all * sizeof(float)) == 0);
        ck_assert(memcmp(centres[i], centres[0], (CLS + OBJECT) * sizeof(float)) == 0);
        cribo_loss_free(loss);
    }
    for (int i = 0; i < 3; i++) {
        free(gradient[i]);
        free(centres[i]);
    }
    free_logits(l);
}
END_TEST

START_TEST(test_loss_bad_inputs_are_refused)
{
    logits *l = new_logits();
    cribo_loss *loss = new_loss(1);
    cribo_loss_output output = {.struct_size = sizeof output, .global = 5};
    const cribo_loss_input good = l->input;
#define REFUSE(change, part) \
    do { \
        cribo_loss_input input = good; \
        change; \
        assert_refused(cribo_loss_compute(loss, &input, &output), part); \
    } while (0)
    REFUSE(input.struct_size = 8, "input.struct_size = 8");
    REFUSE(input.images = 0, "input.images = 0");
    REFUSE(input.images = INT64_MAX, "input.images");
    REFUSE(input.objects = -1, "input.objects = -1");
    REFUSE(input.student_cls = NULL, "input.student_cls is NULL");
    REFUSE(input.teacher_cls = NULL, "input.teacher_cls is NULL");
    REFUSE(input.student_objects = NULL, "input.student_objects is NULL");
    REFUSE(input.teacher_objects = NULL, "input.teacher_objects is NULL");
    REFUSE(input.neighbours1 = NULL, "neighbours1 and input.neighbours2 go together");
    REFUSE(input.neighbours2 = NULL, "neighbours1 and input.neighbours2 go together");
    REFUSE(input.match1 = NULL, "input.match1 is NULL");
    REFUSE(input.match2 = NULL, "input.match2 is NULL");
    REFUSE(input.teacher_temperature = 0, "input.teacher_temperature = 0");
    REFUSE(input.teacher_temperature = NAN, "input.teacher_temperature = nan");
    REFUSE(input.object_teacher_temperature = -1, "input.object_teacher_temperature = -1");
#undef REFUSE
    assert_refused(cribo_loss_compute(NULL, &good, &output), "loss is NULL");
    assert_refused(cribo_loss_compute(loss, NULL, &output), "input is NULL");
    assert_refused(cribo_loss_compute(loss, &good, NULL), "output is NULL");
    assert_refused(cribo_loss_update_centres(loss, NULL), "input is NULL");
    assert_refused(cribo_loss_get_centres(NULL, NULL, NULL), "loss is NULL");
    assert_refused(cribo_loss_set_centres(NULL, NULL, NULL), "loss is NULL");
    output.struct_size = 1;
    assert_refused(cribo_loss_compute(loss, &good, &output), "output.struct_size = 1");
    ck_assert(output.global == 5);
    cribo_loss_free(loss);
    free_logits(l);
}
END_TEST

START_TEST(test_loss_logits_not_finite_are_refused_by_place)
{
    logits *l = new_logits();
    cribo_loss *loss = new_loss(1);
    cribo_loss_output output = {.struct_size = sizeof output};
    struct {
        float *logit;
        const char *part;
    } bad[] = {{&l->student_cls[CLS * 3 + 5], "student_cls: element 5 of row 3 = nan"},
        {&l->teacher_cls[CLS + 1], "teacher_cls: element 1 of row 1"},
        {&l->student_objects[7], "student_objects: element 7 of row 0"},
        {&l->teacher_objects[OBJECT * 2], "teacher_objects: element 0 of row 2"},
        {&l->neighbours[0][4], "neighbours1: element 4 of row 0"},
        {&l->neighbours[1][2 * OBJECT + 1], "neighbours2: element 1 of row 2"}};
    ck_assert(l->match[0][0] && l->match[1][2]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        float before = *bad[i].logit;
        *bad[i].logit = NAN;
        assert_refused(cribo_loss_compute(loss, &l->input, &output), bad[i].part);
        *bad[i].logit = before;
    }
    l->teacher_cls[9] = INFINITY;
    assert_refused(cribo_loss_update_centres(loss, &l->input), "teacher_cls: element 9 of row 0 = inf");
    float centre[CLS], *strange = l->student_objects;
    strange[8] = INFINITY;
    assert_refused(cribo_loss_set_centres(loss, l->student_cls, strange), "object_centre[8] = inf");
    ck_assert_int_eq(cribo_loss_get_centres(loss, centre, NULL), CRIBO_OK);
    for (size_t p = 0; p < CLS; p++) ck_assert(centre[p] == 0); /* the first one is not set, either */
    cribo_loss_free(loss);
    free_logits(l);
}
END_TEST

START_TEST(test_loss_overflow_is_not_finite_and_named)
{
    static const char *const names[] = {"global", "cross-view", "cross-image"};
    for (int i = 0; i < 3; i++) {
        logits *l = new_logits();
        cribo_loss *loss = new_loss(1);
        cribo_loss_output output = {.struct_size = sizeof output};
        float huge[OBJECT] = {0};
        if (i == 0) /* the student's and the teacher's distributions differ by more than the range of float */
            l->student_cls[0] = 3e38f, l->student_cls[1] = -3e38f;
        if (i == 1) l->student_objects[0] = 3e38f, l->student_objects[1] = -3e38f;
        if (i == 2) { /* the centre lifts a neighbour's logit beyond the largest float */
            huge[0] = -3e38f;
            l->neighbours[0][0] = 3e38f;
            ck_assert_int_eq(cribo_loss_set_centres(loss, NULL, huge), CRIBO_OK);
        }
        ck_assert_int_eq(cribo_loss_compute(loss, &l->input, &output), CRIBO_NOT_FINITE);
        ck_assert_msg(strstr(cribo_last_error(), names[i]) != NULL, "%s", cribo_last_error());
        cribo_loss_free(loss);
        free_logits(l);
    }
}
END_TEST

START_TEST(test_loss_create_bad_settings_are_refused)
{
    cribo_loss_config config;
    cribo_loss *loss = NULL;
    ck_assert_int_eq(cribo_loss_config_init(&config, sizeof config), CRIBO_OK);
    assert_refused(cribo_loss_create(NULL, &config, NULL), "out is NULL");
    assert_refused(cribo_loss_create(&loss, NULL, NULL), "config is NULL");
    config.student_temperature = 0;
    assert_refused(cribo_loss_create(&loss, &config, NULL), "student_temperature = 0");
    config.student_temperature = 0.1;
    config.object_prototypes = 0;
    assert_refused(cribo_loss_create(&loss, &config, NULL), "object_prototypes = 0");
    config.object_prototypes = 3;
    config.centre_momentum = NAN;
    assert_refused(cribo_loss_create(&loss, &config, NULL), "centre_momentum = nan");
    ck_assert_ptr_null(loss);
    cribo_loss_free(NULL);
}
END_TEST

START_TEST(test_loss_create_out_of_memory_leaks_nothing)
{
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        cribo_status status = CRIBO_OUT_OF_MEMORY;
        for (size_t n = 1; status != CRIBO_OK; n++) {
            faulty allocator = {.fail_at = n, .for_ever = for_ever};
            cribo_runtime runtime = faulty_runtime(2, &allocator);
            cribo_loss *loss = (cribo_loss *)&allocator;
            status = create(&loss, &runtime);
            ck_assert(status == CRIBO_OK || (status == CRIBO_OUT_OF_MEMORY && !loss));
            if (status == CRIBO_OK) {
                ck_assert_uint_gt(n, 5);
                cribo_loss_free(loss);
            }
            ck_assert_uint_eq(allocator.held, 0);
        }
    }
}
END_TEST

START_TEST(test_loss_calls_allocate_nothing)
{
    logits *l = new_logits();
    faulty allocator = {0};
    cribo_runtime runtime = faulty_runtime(2, &allocator);
    cribo_loss *loss;
    ck_assert_int_eq(create(&loss, &runtime), CRIBO_OK);
    size_t created = allocator.calls;
    compute(loss, &l->input);
    ck_assert_int_eq(cribo_loss_update_centres(loss, &l->input), CRIBO_OK);
    ck_assert_uint_eq(allocator.calls, created);
    cribo_loss_free(loss);
    free_logits(l);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loss");
    TCase *group = tcase_create("loss");
    tcase_set_timeout(group, 120);
    tcase_add_test(group, test_loss_weights_paper_counts_each_mask);
    tcase_add_test(group, test_loss_weights_authors_count_the_first_mask);
    tcase_add_test(group, test_loss_equal_uniform_distributions_give_log_of_prototypes);
    tcase_add_test(group, test_loss_without_objects_or_neighbours_is_defined);
    tcase_add_test(group, test_loss_neighbours_without_match_are_never_read);
    tcase_add_test(group, test_loss_results_do_not_depend_on_threads);
    tcase_add_test(group, test_loss_bad_inputs_are_refused);
    tcase_add_test(group, test_loss_logits_not_finite_are_refused_by_place);
    tcase_add_test(group, test_loss_overflow_is_not_finite_and_named);
    tcase_add_test(group, test_loss_create_bad_settings_are_refused);
    tcase_add_test(group, test_loss_create_out_of_memory_leaks_nothing);
    tcase_add_test(group, test_loss_calls_allocate_nothing);
    suite_add_tcase(suite, group);
    return run_suite(suite);
}
