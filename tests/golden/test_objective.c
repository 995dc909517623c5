/*
 * The objective alone against the authors' code: the first step of each stored training run, on tokens that
 * the stored networks make of the stored views. Decisions, losses, gradients of tokens and heads, centres.
 */
#include "cribo/cribo.h"
#include "support/golden.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) ck_assert_msg((call) == CRIBO_OK, "%s: %s", #call, cribo_last_error())

static const struct run {
    const char *file, *mode;
} runs[] = {
    {"trajectory_small", "official"},
    {"trajectory_small", "paper"},
    {"trajectory_main", "official"},
};

/* The sizes of a run. */
typedef struct sizes {
    size_t images, side, grid, tokens, width;
} sizes;

static sizes sizes_of(const golden *file)
{
    sizes s = {(size_t)golden_integer(file, "batch"), (size_t)golden_integer(file, "image"), 0, 0,
        (size_t)golden_integer(file, "embed")};
    s.grid = s.side / (size_t)golden_integer(file, "patch");
    s.tokens = s.grid * s.grid;
    return s;
}

static cribo_objective_config config_of(const golden *file, const char *mode)
{
    bool paper = strcmp(mode, "paper") == 0;
    sizes s = sizes_of(file);
    cribo_objective_config c;
    double pos_alpha[2];
    OK(cribo_objective_config_init(&c, sizeof c));
    ck_assert_int_eq(sscanf(golden_text(file, "pos_alpha"), "[%lf, %lf]", &pos_alpha[0], &pos_alpha[1]), 2);
    c.width = (int64_t)s.width;
    c.tokens = (int64_t)s.tokens;
    c.head_hidden = golden_integer(file, "hidden");
    c.head_bottleneck = golden_integer(file, "bottleneck");
    c.prototypes = golden_integer(file, "out");
    c.object_prototypes = golden_integer(file, "out_c");
    c.normed_last_layer = golden_truth(file, "norm_last_layer");
    c.clusters = golden_integer(file, "clusters");
    c.position_weight = pos_alpha[1]; /* the authors' pair runs backwards */
    c.position_weight_final = pos_alpha[0];
    c.batch_cost = c.authors_normalisation = !paper;
    c.bank_images = golden_integer(file, "queue");
    c.object_student_temperature = golden_number(file, "student_temp_c");
    c.teacher_temperature_start = golden_number(file, "warmup_teacher_temp");
    c.teacher_temperature = golden_number(file, "teacher_temp");
    c.object_teacher_temperature_start = golden_number(file, "warmup_teacher_temp_c");
    c.object_teacher_temperature = golden_number(file, "teacher_temp_c");
    c.teacher_temperature_epochs = golden_number(file, "warmup_teacher_temp_epochs");
    c.batch_size = golden_integer(file, "batch");
    c.micro_batch = 2;
    c.freeze_last_layer_epochs = 0; /* so that every gradient shows */
    c.epochs = golden_number(file, "total_epochs");
    c.steps_per_epoch = golden_integer(file, "per_epoch");
    return c;
}

static cribo_model *model_of(const golden *file, const char *network)
{
    cribo_model_config c;
    cribo_model *model;
    int64_t count;
    OK(cribo_model_config_init(&c, sizeof c));
    c.image_size = golden_integer(file, "image");
    c.patch_size = golden_integer(file, "patch");
    c.width = golden_integer(file, "embed");
    c.depth = golden_integer(file, "depth");
    c.heads = golden_integer(file, "heads");
    c.prototypes = c.object_prototypes = 0;
    OK(cribo_model_create(&model, &c, NULL));
    OK(cribo_model_parameter_count(model, &count));
    for (int64_t i = 0; i < count; i++) {
        cribo_parameter p = {.struct_size = sizeof p};
        size_t n;
        OK(cribo_model_parameter(model, i, &p));
        const float *values = golden_floats(file, &n, "initial.%s.%s", network, p.name);
        OK(cribo_model_write_parameter(model, p.name, values, (int64_t)n));
    }
    return model;
}

static const char *teacher_of(const golden *file)
{
    return golden_truth(file, "teacher_differs") ? "teacher" : "student";
}

static void write_heads(const golden *file, cribo_objective *objective)
{
    const char *const networks[2] = {"student", teacher_of(file)};
    int64_t count;
    OK(cribo_objective_parameter_count(objective, &count));
    for (int64_t i = 0; i < count; i++)
        for (int network = 0; network < 2; network++) {
            cribo_parameter p = {.struct_size = sizeof p};
            size_t n;
            OK(cribo_objective_parameter(objective, i, &p));
            const float *values = golden_floats(file, &n, "initial.%s.%s", networks[network], p.name);
            OK(cribo_objective_write_parameter(objective, network, p.name, values, (int64_t)n));
        }
}

static void write_bank(const golden *file, cribo_objective *objective)
{
    size_t numbers, images;
    const float *vectors = golden_floats(file, &numbers, "initial.centroids_queue");
    const int64_t *counts = golden_integers(file, &images, "initial.cpv_queue");
    cribo_object_batch objects = {.struct_size = sizeof objects,
        .images = (int64_t)images,
        .objects_per_image = counts,
        .view1 = vectors,
        .view2 = vectors + numbers / 2};
    OK(cribo_memory_bank_import(cribo_objective_memory_bank(objective), &objects));
}

/*
 * A network's tokens of the first batch, view after view: dense [2, B, N, D], then global vectors [2, B, D].
 */
static float *tokens_of(const golden *file, const char *network)
{
    sizes s = sizes_of(file);
    size_t dense = 2 * s.images * s.tokens * s.width;
    float *tokens = calloc(dense + 2 * s.images * s.width, sizeof *tokens);
    cribo_model *model = model_of(file, network);
    OK(cribo_model_features(model, (int64_t)(2 * s.images), (int64_t)s.side, (int64_t)s.side,
        golden_floats(file, NULL, "images"), tokens, tokens + dense, NULL));
    cribo_model_free(model);
    return tokens;
}

static void teach(const golden *file, cribo_objective *objective, const float *tokens)
{
    sizes s = sizes_of(file);
    int64_t row = (int64_t)s.width, rows = (int64_t)(s.tokens * s.width), images = (int64_t)s.images;
    const cribo_objective_batch batch = {.struct_size = sizeof batch,
        .images = images,
        .dense = tokens,
        .global = tokens + 2 * images * rows,
        .dense_image_stride = rows,
        .dense_view_stride = images * rows,
        .global_image_stride = row,
        .global_view_stride = images * row,
        .positions = golden_floats(file, NULL, "positions"),
        .seed_tokens = golden_integers(file, NULL, "init_index")};
    OK(cribo_objective_teach(objective, &batch));
}

static void learn(const golden *file, cribo_objective *objective, const float *tokens, float *gradients)
{
    sizes s = sizes_of(file);
    int64_t row = (int64_t)s.width, rows = (int64_t)(s.tokens * s.width), images = (int64_t)s.images;
    const cribo_objective_chunk chunk = {.struct_size = sizeof chunk,
        .images = images,
        .dense = tokens,
        .global = tokens + 2 * images * rows,
        .dense_image_stride = rows,
        .dense_view_stride = images * rows,
        .global_image_stride = row,
        .global_view_stride = images * row,
        .dense_gradient = gradients,
        .global_gradient = gradients + 2 * images * rows};
    OK(cribo_objective_learn(objective, &chunk));
}

static void compare_targets(const golden *file, const char *mode, const cribo_objective *objective)
{
    sizes s = sizes_of(file);
    size_t k = (size_t)golden_integer(file, "clusters"), tokens = 2 * s.images * s.tokens, n;
    int64_t *labels = calloc(tokens, sizeof *labels), *index = calloc(2 * s.images * k, sizeof *index);
    uint8_t *match = calloc(2 * s.images, k);
    cribo_targets t = {.struct_size = sizeof t,
        .labels = labels,
        .index1 = index,
        .index2 = index + s.images * k,
        .match1 = match,
        .match2 = match + s.images * k};
    OK(cribo_objective_targets(objective, &t));
    ck_assert_mem_eq(labels, golden_integers(file, NULL, "%s.labels", mode), tokens * sizeof *labels);
    const int64_t *index1 = golden_integers(file, &n, "%s.step0.index1", mode);
    ck_assert_mem_eq(t.index1, index1, n * sizeof *index1);
    ck_assert_mem_eq(t.index2, golden_integers(file, NULL, "%s.step0.index2", mode), n * sizeof *index1);
    ck_assert_mem_eq(t.match1, golden_bytes(file, NULL, "%s.step0.mask1", mode), n);
    ck_assert_mem_eq(t.match2, golden_bytes(file, NULL, "%s.step0.mask2", mode), n);
    free(labels);
    free(index);
    free(match);
}

static void compare_gradients(const golden *file, const char *mode, const cribo_objective *objective)
{
    int64_t count;
    size_t compared = 0;
    OK(cribo_objective_parameter_count(objective, &count));
    for (int64_t i = 0; i < count; i++) {
        cribo_parameter p = {.struct_size = sizeof p};
        size_t n;
        OK(cribo_objective_parameter(objective, i, &p));
        if (!golden_has(file, "%s.step0.grad.%s", mode, p.name)) continue;
        const float *expected = golden_floats(file, &n, "%s.step0.grad.%s", mode, p.name);
        float *got = calloc(n, sizeof *got);
        OK(cribo_objective_gradient(objective, p.name, got, p.count));
        assert_close(p.name, got, expected, n, 1e-5 * fmax(1, max_magnitude(expected, n)));
        free(got);
        compared++;
    }
    ck_assert_uint_eq(compared, strcmp(golden_text(file, "modes"), "official") == 0 ? 0 : 8);
}

/*
 * The backbone ends in a layer norm, y = x̂ gain + bias: the gradient of its bias is the sum of the gradients
 * of all tokens, and that of its gain the sum of dy (y - bias) / gain.
 */
static void compare_token_gradients(
    const golden *file, const char *mode, const float *tokens, const float *gradients)
{
    sizes s = sizes_of(file);
    size_t d = s.width, rows = 2 * s.images * (s.tokens + 1);
    if (!golden_has(file, "%s.step0.grad.backbone.norm.bias", mode)) return;
    const float *gain = golden_floats(file, NULL, "initial.student.backbone.norm.weight"),
                *bias = golden_floats(file, NULL, "initial.student.backbone.norm.bias");
    float *sums = calloc(2 * d, sizeof *sums);
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < d; j++) {
            float dy = gradients[r * d + j];
            sums[j] += dy;
            sums[d + j] += dy * (tokens[r * d + j] - bias[j]) / gain[j];
        }
    const float *dbias = golden_floats(file, NULL, "%s.step0.grad.backbone.norm.bias", mode),
                *dgain = golden_floats(file, NULL, "%s.step0.grad.backbone.norm.weight", mode);
    assert_close("sum of the tokens' gradients", sums, dbias, d, 1e-5 * fmax(1, max_magnitude(dbias, d)));
    assert_close("gradient of the gain", sums + d, dgain, d, 1e-5 * fmax(1, max_magnitude(dgain, d)));
    free(sums);
}

static void compare_update(const golden *file, const char *mode, cribo_objective *objective)
{
    static const char *const names[] = {"d_loss", "s_loss", "nn_loss"};
    cribo_report report = {.struct_size = sizeof report};
    OK(cribo_objective_update(objective, &report));
    const double losses[3] = {report.global_loss, report.cross_view_loss, report.cross_image_loss};
    for (int i = 0; i < 3; i++) {
        double expected = golden_floats(file, NULL, "%s.%s", mode, names[i])[0];
        ck_assert_double_eq_tol(losses[i], expected, 1e-5 * fmax(1, expected));
    }
    size_t l = (size_t)golden_integer(file, "out"), lc = (size_t)golden_integer(file, "out_c");
    float *centres = calloc(l + lc, sizeof *centres);
    OK(cribo_objective_get_centres(objective, centres, centres + l));
    assert_close("centre", centres, golden_floats(file, NULL, "%s.center", mode), l, 1e-5);
    assert_close("object centre", centres + l, golden_floats(file, NULL, "%s.center_c", mode), lc, 1e-5);
    free(centres);
}

START_TEST(test_objective_alone_equals_reference)
{
    const char *mode = runs[_i].mode;
    golden file = golden_open(runs[_i].file);
    cribo_objective_config c = config_of(&file, mode);
    cribo_objective *objective;
    OK(cribo_objective_create(&objective, &c, NULL));
    write_heads(&file, objective);
    write_bank(&file, objective);

    float *teacher = tokens_of(&file, teacher_of(&file)), *student = tokens_of(&file, "student");
    teach(&file, objective, teacher);
    compare_targets(&file, mode, objective);
    sizes s = sizes_of(&file);
    float *gradients = calloc(2 * s.images * (s.tokens + 1) * s.width, sizeof *gradients);
    learn(&file, objective, student, gradients);
    compare_token_gradients(&file, mode, student, gradients);
    compare_gradients(&file, mode, objective);
    compare_update(&file, mode, objective);
    free(gradients);
    free(teacher);
    free(student);
    cribo_objective_free(objective);
    golden_close(&file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("golden objective");
    TCase *test = tcase_create("objective");
    tcase_set_timeout(test, 120);
    tcase_add_loop_test(test, test_objective_alone_equals_reference, 0, 3);
    suite_add_tcase(suite, test);
    return run_suite(suite);
}
