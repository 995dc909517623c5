/* The last layers and the streamed loss against the authors' code. */
#include "distillation/prototype_loss.h"
#include "support/golden.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A last layer's output, and its gradients from G. */
static void check_last_layer(const golden *file, const char *objective, const char *layer)
{
    size_t count, size, rows = (size_t)golden_integer(file, "rows");
    const float *gain = golden_floats(file, &count, "param.%s.weight_g", layer);
    const float *direction = golden_floats(file, &size, "param.%s.weight_v", layer);
    const float *x = golden_floats(file, NULL, "bottleneck");
    const float *expected = golden_floats(file, NULL, "%s.out", objective);
    const float *dv = golden_floats(file, NULL, "%s.grad.%s.weight_v", objective, layer);
    size_t width = size / count;
    float *scale = calloc(count, sizeof *scale), *logits = calloc(rows * count, sizeof *logits);
    float *dx = calloc(rows * width, sizeof *dx), *du = calloc(size, sizeof *du),
          *dgain = calloc(count, sizeof *dgain);
    bool trained = golden_has(file, "%s.grad.%s.weight_g", objective, layer);
    cb_prototypes prototypes = {count, width, direction, gain, scale, false};

    cb_prototypes_refresh(NULL, &prototypes);
    cb_prototypes_project(NULL, &prototypes, 0, count, x, rows, logits);
    assert_close("logits", logits, expected, rows * count, 5e-6 * max_magnitude(expected, rows * count));

    memcpy(logits, golden_floats(file, NULL, "%s.G", objective), rows * count * sizeof *logits);
    cb_prototypes_backproject(NULL, &prototypes, 0, count, logits, x, rows, dx, du);
    cb_prototypes_weight_gradient(NULL, &prototypes, du, trained ? dgain : NULL);
    assert_close("weight_v", du, dv, size, 5e-6 * max_magnitude(dv, size));
    if (trained) {
        const float *dg = golden_floats(file, NULL, "%s.grad.%s.weight_g", objective, layer);
        assert_close("weight_g", dgain, dg, count, 5e-6 * max_magnitude(dg, count));
    }
    free(scale);
    free(logits);
    free(dx);
    free(du);
    free(dgain);
}

/*
 * The files have no gradient of the bottleneck, but that of mlp.4.bias: the sum over the rows of the gradient
 * through the normalisation, (dx - x <x, dx>) / |y|. |y| comes from the MLP, which this test computes from x
 * in double precision.
 */
static void linear(
    const golden *file, int layer, const double *x, size_t rows, size_t in, size_t out, double *y)
{
    const float *weight = golden_floats(file, NULL, "param.mlp.%d.weight", layer);
    const float *bias = golden_floats(file, NULL, "param.mlp.%d.bias", layer);
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < out; o++) {
            double sum = bias[o];
            for (size_t i = 0; i < in; i++) sum += (double)weight[o * in + i] * x[r * in + i];
            y[r * out + o] = layer == 4 ? sum : 0.5 * sum * (1 + erf(sum * sqrt(0.5)));
        }
}

static double *bottleneck_lengths(const golden *file, size_t rows, size_t width)
{
    size_t in = (size_t)golden_integer(file, "in_dim"), hidden = (size_t)golden_integer(file, "hidden_dim");
    const float *input = golden_floats(file, NULL, "x");
    double *x = calloc(rows * in, sizeof *x), *a = calloc(rows * hidden, sizeof *a);
    double *b = calloc(rows * hidden, sizeof *b), *lengths = calloc(rows, sizeof *lengths);
    for (size_t i = 0; i < rows * in; i++) x[i] = input[i];
    linear(file, 0, x, rows, in, hidden, a);
    linear(file, 2, a, rows, hidden, hidden, b);
    linear(file, 4, b, rows, hidden, width, a);
    for (size_t r = 0; r < rows; r++) {
        for (size_t e = 0; e < width; e++) lengths[r] += a[r * width + e] * a[r * width + e];
        lengths[r] = sqrt(lengths[r]);
    }
    free(x);
    free(a);
    free(b);
    return lengths;
}

static void check_bottleneck_gradient(const golden *file, const char *objective, const char *layer)
{
    size_t count, size, rows = (size_t)golden_integer(file, "rows");
    const float *gain = golden_floats(file, &count, "param.%s.weight_g", layer);
    const float *direction = golden_floats(file, &size, "param.%s.weight_v", layer);
    const float *x = golden_floats(file, NULL, "bottleneck");
    const float *expected = golden_floats(file, NULL, "%s.grad.mlp.4.bias", objective);
    size_t width = size / count;
    float *scale = calloc(count, sizeof *scale), *logits = calloc(rows * count, sizeof *logits);
    float *dx = calloc(rows * width, sizeof *dx), *dbias = calloc(width, sizeof *dbias);
    double *lengths = bottleneck_lengths(file, rows, width);
    cb_prototypes prototypes = {count, width, direction, gain, scale, false};

    cb_prototypes_refresh(NULL, &prototypes);
    memcpy(logits, golden_floats(file, NULL, "%s.G", objective), rows * count * sizeof *logits);
    cb_prototypes_backproject(NULL, &prototypes, 0, count, logits, x, rows, dx, NULL);
    for (size_t r = 0; r < rows; r++) {
        double along = 0;
        for (size_t e = 0; e < width; e++) along += (double)x[r * width + e] * dx[r * width + e];
        for (size_t e = 0; e < width; e++)
            dbias[e] += (float)((dx[r * width + e] - x[r * width + e] * along) / lengths[r]);
    }
    assert_close("mlp.4.bias", dbias, expected, width, 5e-6 * max_magnitude(expected, width));
    free(scale);
    free(logits);
    free(dx);
    free(dbias);
    free(lengths);
}

static const char *const head_files[] = {"head_unit_gain", "head_trainable_gain"};

START_TEST(test_prototypes_last_layers_match_golden)
{
    golden file = golden_open(head_files[_i]);
    check_last_layer(&file, "cls", "last_layer");
    check_last_layer(&file, "objects", "last_layer_c");
    golden_close(&file);
}
END_TEST

START_TEST(test_prototypes_bottleneck_gradient_matches_golden)
{
    golden file = golden_open(head_files[_i]);
    check_bottleneck_gradient(&file, "cls", "last_layer");
    check_bottleneck_gradient(&file, "objects", "last_layer_c");
    golden_close(&file);
}
END_TEST

/* Prototypes that are the unit vectors: the bottlenecks are the logits, and dx their gradient. */
static cb_prototypes identity(size_t size)
{
    float *direction = calloc(size * size, sizeof *direction), *gain = calloc(size, sizeof *gain);
    for (size_t p = 0; p < size; p++) direction[p * size + p] = gain[p] = 1;
    cb_prototypes result = {size, size, direction, gain, calloc(size, sizeof(float)), false};
    cb_prototypes_refresh(NULL, &result);
    return result;
}

static void identity_free(cb_prototypes *prototypes)
{
    free((float *)prototypes->direction);
    free((float *)prototypes->gain);
    free(prototypes->scale);
}

/* One job through the loss, in chunks of 24 prototypes. */
static void run_loss(cb_prototype_job *job, size_t size)
{
    const cb_allocator allocator = {0};
    cb_prototypes prototypes = identity(size);
    size_t logit_count = (job->rows + job->teacher_rows) * 24;
    cb_arena measured = cb_arena_measure(), arena;
    (void)cb_prototype_workspace_take(&measured, job->rows, job->teacher_rows, size, logit_count);
    ck_assert_int_eq(cb_arena_create(&allocator, &arena, measured.peak, "workspace"), CRIBO_OK);
    cb_prototype_workspace work =
        cb_prototype_workspace_take(&arena, job->rows, job->teacher_rows, size, logit_count);
    job->student = job->teacher = &prototypes;
    cb_prototype_loss(NULL, job, &work);
    cb_arena_destroy(&allocator, &arena);
    identity_free(&prototypes);
}

static void assert_loss(const golden *file, const char *which, const char *mode, const char *name, double got)
{
    double expected = golden_number(file, "%s.%s_%s_loss", which, mode, name);
    ck_assert_msg(fabs(got - expected) <= 3e-6 * fabs(expected), "%s %s %s: %.9g, expected %.9g", which, mode,
        name, got, expected);
}

/* [CLS]: each view's student row is taught by the other view's teacher row. */
static void check_cls(const golden *file, const char *which, const char *mode)
{
    size_t images = (size_t)golden_integer(file, "batch"), size = (size_t)golden_integer(file, "out_dim");
    size_t rows = 2 * images;
    float share = (strcmp(mode, "official") == 0 ? 0.5f : 1.0f) / (float)images;
    cb_row_targets *targets = calloc(rows, sizeof *targets);
    for (size_t r = 0; r < rows; r++)
        targets[r] = (cb_row_targets){{(uint32_t)((r + images) % rows), CB_NO_ROW}, {share, 0}};
    float *dx = calloc(rows * size, sizeof *dx);
    cb_prototype_job job = {.centre = golden_floats(file, NULL, "center"),
        .student_temperature = 0.1f,
        .teacher_temperature = (float)golden_number(file, "%s.teacher_temp", which),
        .rows = rows,
        .x = golden_floats(file, NULL, "student_cls"),
        .targets = targets,
        .teacher_rows = rows,
        .teacher_x = golden_floats(file, NULL, "teacher_cls"),
        .dx = dx};
    run_loss(&job, size);
    assert_loss(file, which, mode, "d", job.loss[0]);
    assert_close("student_cls", dx, golden_floats(file, NULL, "%s.%s_grad_student_cls", which, mode),
        rows * size, 2e-5);
    free(targets);
    free(dx);
}

/*
 * The weight of a matched neighbour that teaches `view`: the authors divide both views by the ones of mask1.
 */
static float neighbour_weight(
    const golden *file, const char *which, bool official, size_t view, size_t objects)
{
    size_t ones[2] = {0, 0};
    for (size_t v = 0; v < 2; v++)
        for (size_t k = 0; k < objects; k++)
            ones[v] += golden_bytes(file, NULL, "%s.mask%d", which, (int)v + 1)[k];
    if (!golden_truth(file, "%s.nn_enabled", which)) return 0;
    size_t divisor = official ? ones[0] : ones[1 - view];
    return divisor == 0 ? 0 : (official ? 0.5f : 1.0f) / (float)divisor;
}

/*
 * Student objects of view 2 are taught by view 1's objects and their neighbours under mask1, and the other
 * way round.
 */
static void check_objects(const golden *file, const char *which, const char *mode)
{
    size_t n = (size_t)golden_integer(file, "objects"), size = (size_t)golden_integer(file, "out_dim_c");
    bool official = strcmp(mode, "official") == 0;
    cb_row_targets *targets = calloc(2 * n, sizeof *targets);
    float *teacher = calloc(4 * n * size, sizeof *teacher), *dx = calloc(2 * n * size, sizeof *dx);
    memcpy(teacher, golden_floats(file, NULL, "teacher_objects"), 2 * n * size * sizeof *teacher);
    memcpy(teacher + 2 * n * size, golden_floats(file, NULL, "teacher_nn"), n * size * sizeof *teacher);
    memcpy(teacher + 3 * n * size, golden_floats(file, NULL, "teacher_nn2") + n * size,
        n * size * sizeof *teacher);
    for (size_t view = 0; view < 2; view++) {
        const uint8_t *mask = golden_bytes(file, NULL, "%s.mask%d", which, 2 - (int)view);
        float weight = neighbour_weight(file, which, official, view, n);
        for (size_t k = 0; k < n; k++)
            targets[view * n + k] =
                (cb_row_targets){{(uint32_t)((1 - view) * n + k),
                                     mask[k] && weight > 0 ? (uint32_t)((3 - view) * n + k) : CB_NO_ROW},
                    {(official ? 0.5f : 1.0f) / (float)n, weight}};
    }
    cb_prototype_job job = {.centre = golden_floats(file, NULL, "center_c"),
        .student_temperature = (float)golden_number(file, "student_temp_c"),
        .teacher_temperature = (float)golden_number(file, "%s.teacher_temp_c", which),
        .rows = 2 * n,
        .x = golden_floats(file, NULL, "student_objects"),
        .targets = targets,
        .teacher_rows = 4 * n,
        .teacher_x = teacher,
        .dx = dx};
    run_loss(&job, size);
    assert_loss(file, which, mode, "s", job.loss[0]);
    assert_loss(file, which, mode, "nn", job.loss[1]);
    assert_close("student_objects", dx, golden_floats(file, NULL, "%s.%s_grad_student_objects", which, mode),
        2 * n * size, 2e-5);
    free(targets);
    free(teacher);
    free(dx);
}

static const char *const cases_of_losses[] = {
    "epoch0_partial", "all", "partial", "none", "first_empty", "second_empty"};
static const char *const loss_files[] = {"loss_small", "loss_large_logits"};

START_TEST(test_prototype_loss_both_normalisations_match_golden)
{
    for (size_t f = 0; f < 2; f++) {
        golden file = golden_open(loss_files[f]);
        for (size_t m = 0; m < 2; m++) {
            check_cls(&file, cases_of_losses[_i], m ? "paper" : "official");
            check_objects(&file, cases_of_losses[_i], m ? "paper" : "official");
        }
        golden_close(&file);
    }
}
END_TEST

/* The centres move by the mean of the logits that teach. */
START_TEST(test_prototypes_centres_match_golden)
{
    const char *const names[2][3] = {
        {"teacher_cls", "center", "center_after"}, {"teacher_objects", "center_c", "center_c_after"}};
    for (size_t f = 0; f < 4; f++) {
        golden file = golden_open(loss_files[f / 2]);
        size_t size, count;
        const float *centre = golden_floats(&file, &size, "%s", names[f % 2][1]);
        const float *logits = golden_floats(&file, &count, "%s", names[f % 2][0]);
        cb_prototypes prototypes = identity(size);
        float *moved = calloc(size, sizeof *moved), *mean = calloc(size, sizeof *mean);
        memcpy(moved, centre, size * sizeof *moved);
        for (size_t i = 0; i < count; i++) mean[i % size] += logits[i] * (float)size / (float)count;
        cb_prototypes_move_centre(NULL, &prototypes, mean, 0.9f, moved);
        assert_close("centre", moved, golden_floats(&file, NULL, "all.%s", names[f % 2][2]), size, 1e-6);
        free(moved);
        free(mean);
        identity_free(&prototypes);
        golden_close(&file);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("golden prototypes");
    TCase *cases = tcase_create("golden prototypes");
    tcase_add_loop_test(cases, test_prototypes_last_layers_match_golden, 0, 2);
    tcase_add_loop_test(cases, test_prototypes_bottleneck_gradient_matches_golden, 0, 2);
    tcase_add_loop_test(cases, test_prototype_loss_both_normalisations_match_golden, 0, 6);
    tcase_add_test(cases, test_prototypes_centres_match_golden);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
