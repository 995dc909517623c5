/*
 * The projection heads against the authors' code: the bottleneck, both outputs, and every gradient of each,
 * from the logits through the last layer, the normalisation and the MLP to the input.
 */
#include "distillation/prototypes.h"
#include "support/model.h"
#include "support/suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 5e-6 /* relative to the largest of the tensor */

static const char *const files[] = {"head_unit_gain", "head_trainable_gain"};
#define FILES (sizeof files / sizeof files[0])

typedef struct fixture {
    golden file;
    cb_runtime runtime;
    cb_model *model;
    cb_tensor x;
} fixture;

static fixture fixture_open(const char *name)
{
    fixture f = {.file = golden_open(name), .runtime = runtime_of(2)};
    cribo_model_config config;
    ck_assert_int_eq(cb_config_init(&cb_model_settings, &config, sizeof config), CRIBO_OK);
    config.image_size = config.patch_size = config.depth = config.heads = 1;
    config.width = golden_integer(&f.file, "in_dim");
    config.head_hidden = golden_integer(&f.file, "hidden_dim");
    config.head_bottleneck = golden_integer(&f.file, "bottleneck_dim");
    config.prototypes = golden_integer(&f.file, "out_dim");
    config.object_prototypes = golden_integer(&f.file, "out_dim_c");
    config.normed_last_layer = golden_truth(&f.file, "norm_last_layer");
    f.model = model_of(&f.runtime, &config);
    golden_parameters(f.model, "head.", &f.file, "param.");

    size_t count;
    const float *x = golden_floats(&f.file, &count, "x");
    f.x = (cb_tensor){.value = malloc(count * sizeof *x),
        .gradient = calloc(count, sizeof *x),
        .rows = golden_axis(&f.file, "x", 0),
        .columns = golden_axis(&f.file, "x", 1)};
    memcpy(f.x.value, x, count * sizeof *x);
    return f;
}

static void fixture_close(fixture *f)
{
    free(f->x.value);
    free(f->x.gradient);
    cb_model_free(f->model);
    cb_runtime_end(&f->runtime);
    golden_close(&f->file);
}

static cb_tensor forward(cb_tape *tape, void *context)
{
    fixture *f = context;
    return cb_heads_forward(&f->model->heads, tape, f->x);
}

static void assert_golden(const float *got, const golden *file, const char *prefix, const char *name)
{
    size_t count;
    const float *expected = golden_floats(file, &count, "%s%s", prefix, name);
    assert_close(name, got, expected, count, TOLERANCE * max_magnitude(expected, count));
}

/* The names in the files for one of the two outputs. */
typedef struct objective {
    const char *prefix, *last_layer, *mlp;
} objective;
static const objective cls = {"cls.", "cls.grad.last_layer.", "cls.grad.mlp."};
static const objective objects = {"objects.", "objects.grad.last_layer_c.", "objects.grad.mlp."};

/* The output of a last layer and the gradients of its parameters; the input's gradient is added to x's. */
static void check_last_layer(const fixture *f, const objective *o, const cb_last_layer *layer, cb_tensor x)
{
    size_t count = layer->direction.rows, size = x.rows * count;
    float *scale = calloc(count, sizeof *scale), *logits = calloc(size, sizeof *logits);
    cb_prototypes prototypes = {
        count, layer->direction.columns, layer->direction.value, layer->gain.value, scale, false};
    cb_prototypes_refresh(f->runtime.pool, &prototypes);
    cb_prototypes_project(f->runtime.pool, &prototypes, 0, count, x.value, x.rows, logits);
    assert_golden(logits, &f->file, o->prefix, "out");

    memcpy(logits, golden_floats(&f->file, NULL, "%sG", o->prefix), size * sizeof *logits);
    cb_prototypes_backproject(f->runtime.pool, &prototypes, 0, count, logits, x.value, x.rows, x.gradient,
        layer->direction.gradient);
    cb_prototypes_weight_gradient(
        f->runtime.pool, &prototypes, layer->direction.gradient, layer->gain.gradient);
    assert_golden(layer->direction.gradient, &f->file, o->last_layer, "weight_v");
    ck_assert_int_eq(layer->gain.gradient != NULL, golden_has(&f->file, "%sweight_g", o->last_layer));
    if (layer->gain.gradient) assert_golden(layer->gain.gradient, &f->file, o->last_layer, "weight_g");
    free(scale);
    free(logits);
}

static void check_objective(fixture *f, const objective *o, const cb_last_layer *layer)
{
    pass p = pass_begin(&f->runtime, forward, f);
    cb_tensor y = pass_run(&f->runtime, &p, forward, f);
    assert_golden(y.value, &f->file, "", "bottleneck");
    check_last_layer(f, o, layer, y);
    cb_tape_backward(&p.tape);
    assert_gradients(f->model, "head.mlp.", &f->file, o->mlp, TOLERANCE);
    assert_golden(f->x.gradient, &f->file, o->prefix, "grad.x");
    pass_end(&f->runtime, &p);
}

START_TEST(test_heads_cls_matches_the_authors)
{
    fixture f = fixture_open(files[_i]);
    check_objective(&f, &cls, &f.model->heads.cls);
    fixture_close(&f);
}
END_TEST

START_TEST(test_heads_objects_match_the_authors)
{
    fixture f = fixture_open(files[_i]);
    check_objective(&f, &objects, &f.model->heads.objects);
    fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("heads");
    TCase *tests = tcase_create("golden");
    tcase_add_loop_test(tests, test_heads_cls_matches_the_authors, 0, FILES);
    tcase_add_loop_test(tests, test_heads_objects_match_the_authors, 0, FILES);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
