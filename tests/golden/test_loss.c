/*
 * The losses from logits against the authors' code (their normalisation) and the paper's formulas worked out
 * in double precision.
 */
#include "cribo/loss.h"
#include "support/golden.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

static const char *const cases[] = {
    "epoch0_partial", "all", "partial", "none", "first_empty", "second_empty"};
static const char *const files[] = {"loss_small", "loss_large_logits"};
#define CASES (sizeof cases / sizeof cases[0])
#define FILES (sizeof files / sizeof files[0])

typedef struct problem {
    golden file;
    const char *name; /* the case */
    cribo_loss *loss;
    cribo_loss_input input;
    size_t prototypes, object_prototypes;
} problem;

static problem problem_of(const char *file_name, const char *name, bool authors)
{
    problem p = {.file = golden_open(file_name), .name = name};
    const golden *file = &p.file;
    size_t images, objects;
    cribo_loss_config config;
    const float *centre = golden_floats(file, &p.prototypes, "center");
    const float *object_centre = golden_floats(file, &p.object_prototypes, "center_c");

    ck_assert_int_eq(cribo_loss_config_init(&config, sizeof config), CRIBO_OK);
    config.prototypes = (int64_t)p.prototypes;
    config.object_prototypes = (int64_t)p.object_prototypes;
    config.student_temperature = golden_number(file, "student_temp");
    config.object_student_temperature = golden_number(file, "student_temp_c");
    config.centre_momentum = golden_number(file, "center_momentum");
    config.authors_normalisation = authors;
    ck_assert_int_eq(cribo_loss_create(&p.loss, &config, NULL), CRIBO_OK);
    ck_assert_int_eq(cribo_loss_set_centres(p.loss, centre, object_centre), CRIBO_OK);

    bool neighbours = golden_truth(file, "%s.nn_enabled", name);
    p.input = (cribo_loss_input){
        .struct_size = sizeof p.input,
        .student_cls = golden_floats(file, &images, "student_cls"),
        .teacher_cls = golden_floats(file, NULL, "teacher_cls"),
        .student_objects = golden_floats(file, &objects, "student_objects"),
        .teacher_objects = golden_floats(file, NULL, "teacher_objects"),
        .neighbours1 = neighbours ? golden_floats(file, NULL, "teacher_nn") : NULL,
        .neighbours2 = neighbours ? golden_floats(file, NULL, "teacher_nn2") + objects / 2 : NULL,
        .match1 = golden_bytes(file, NULL, "%s.mask1", name),
        .match2 = golden_bytes(file, NULL, "%s.mask2", name),
        .teacher_temperature = golden_number(file, "%s.teacher_temp", name),
        .object_teacher_temperature = golden_number(file, "%s.teacher_temp_c", name),
    };
    p.input.images = (int64_t)(images / p.prototypes / 2);
    p.input.objects = (int64_t)(objects / p.object_prototypes / 2);
    return p;
}

static void problem_close(problem *p)
{
    cribo_loss_free(p->loss);
    golden_close(&p->file);
}

static void assert_loss(const problem *p, double got, const char *name)
{
    double expected = golden_number(&p->file, "%s.%s", p->name, name);
    ck_assert_msg(fabs(got - expected) <= 3e-6 * fabs(expected), "%s.%s = %.9g, expected %.9g", p->name, name,
        got, expected);
}

static void assert_gradient(const problem *p, const float *got, const char *name)
{
    size_t count;
    const float *expected = golden_floats(&p->file, &count, "%s.%s", p->name, name);
    assert_close(name, got, expected, count, 2e-5);
}

static void check_case(const char *file, const char *name, bool authors)
{
    problem p = problem_of(file, name, authors);
    float *cls = malloc((size_t)p.input.images * 2 * p.prototypes * sizeof *cls);
    float *objects = malloc((size_t)p.input.objects * 2 * p.object_prototypes * sizeof *objects);
    cribo_loss_output output = {
        .struct_size = sizeof output, .student_cls_gradient = cls, .student_objects_gradient = objects};
    ck_assert_int_eq(cribo_loss_compute(p.loss, &p.input, &output), CRIBO_OK);

    assert_loss(&p, output.global, authors ? "official_d_loss" : "paper_d_loss");
    assert_loss(&p, output.cross_view, authors ? "official_s_loss" : "paper_s_loss");
    assert_loss(&p, output.cross_image, authors ? "official_nn_loss" : "paper_nn_loss");
    assert_gradient(&p, cls, authors ? "official_grad_student_cls" : "paper_grad_student_cls");
    assert_gradient(&p, objects, authors ? "official_grad_student_objects" : "paper_grad_student_objects");

    /* Without gradients the losses are the same. */
    cribo_loss_output losses = {.struct_size = sizeof losses};
    ck_assert_int_eq(cribo_loss_compute(p.loss, &p.input, &losses), CRIBO_OK);
    ck_assert(losses.global == output.global && losses.cross_view == output.cross_view &&
              losses.cross_image == output.cross_image);
    free(objects);
    free(cls);
    problem_close(&p);
}

START_TEST(test_loss_authors_normalisation_matches_their_code)
{
    check_case(files[_i / CASES], cases[_i % CASES], true);
}
END_TEST

START_TEST(test_loss_paper_normalisation_matches_formulas)
{
    check_case(files[_i / CASES], cases[_i % CASES], false);
}
END_TEST

START_TEST(test_loss_centres_move_as_the_authors)
{
    problem p = problem_of(files[_i / CASES], cases[_i % CASES], true);
    float *centre = malloc(p.prototypes * sizeof *centre);
    float *object_centre = malloc(p.object_prototypes * sizeof *object_centre);
    ck_assert_int_eq(cribo_loss_update_centres(p.loss, &p.input), CRIBO_OK);
    ck_assert_int_eq(cribo_loss_get_centres(p.loss, centre, object_centre), CRIBO_OK);
    assert_close(
        "centre", centre, golden_floats(&p.file, NULL, "%s.center_after", p.name), p.prototypes, 1e-6);
    assert_close("object_centre", object_centre, golden_floats(&p.file, NULL, "%s.center_c_after", p.name),
        p.object_prototypes, 1e-6);
    free(object_centre);
    free(centre);
    problem_close(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("golden loss");
    TCase *group = tcase_create("loss");
    tcase_add_loop_test(group, test_loss_authors_normalisation_matches_their_code, 0, FILES * CASES);
    tcase_add_loop_test(group, test_loss_paper_normalisation_matches_formulas, 0, FILES * CASES);
    tcase_add_loop_test(group, test_loss_centres_move_as_the_authors, 0, FILES * CASES);
    suite_add_tcase(suite, group);
    return run_suite(suite);
}
