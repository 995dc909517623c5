/*
 * The vision transformer against the authors' code: tokens, tokens after every block, gradients of all
 * parameters and of the images, and images of other sizes (reference data, sections 3.9, 4 and 5).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strtok_r */
#endif
#include "model/vit.h"
#include "support/model.h"
#include "support/suite.h"
#include "tensor/rows.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_TOLERANCE 5e-6    /* relative to the largest */
#define GRADIENT_TOLERANCE 1e-5 /* relative to the largest of the tensor */

static const char *const files[] = {"vit_e48_d2_h3_p8", "vit_e64_d3_h4_p16"};
#define FILES (sizeof files / sizeof files[0])

/* A golden transformer, and what one of its passes needs. */
typedef struct fixture {
    golden file;
    cb_runtime runtime;
    cb_model *model;
    cb_vit vit; /* the model's, or with fewer blocks */
    cb_images images;
} fixture;

static fixture fixture_open(const char *name, int64_t threads)
{
    fixture f = {.file = golden_open(name), .runtime = runtime_of(threads)};
    cribo_model_config config;
    ck_assert_int_eq(cb_config_init(&cb_model_settings, &config, sizeof config), CRIBO_OK);
    config.image_size = golden_integer(&f.file, "image_size");
    config.patch_size = golden_integer(&f.file, "patch_size");
    config.width = golden_integer(&f.file, "embed_dim");
    config.depth = golden_integer(&f.file, "depth");
    config.heads = golden_integer(&f.file, "num_heads");
    config.prototypes = config.object_prototypes = 0;
    f.model = model_of(&f.runtime, &config);
    golden_parameters(f.model, "backbone.", &f.file, "param.");
    f.vit = *(const cb_vit *)f.model->backbone.network;
    return f;
}

static void fixture_close(fixture *f)
{
    cb_model_free(f->model);
    cb_runtime_end(&f->runtime);
    golden_close(&f->file);
}

/* Images under `prefix`, "" or "size_HxW.". */
static cb_images golden_images(const golden *file, const char *prefix)
{
    char name[80];
    snprintf(name, sizeof name, "%simages", prefix);
    return (cb_images){.count = golden_axis(file, name, 0),
        .height = golden_axis(file, name, 2),
        .width = golden_axis(file, name, 3),
        .pixels = golden_floats(file, NULL, "%s", name)};
}

static cb_tensor forward(cb_tape *tape, void *context)
{
    fixture *f = context;
    return cb_vit_forward(&f->vit, tape, &f->images, &(cb_forward_options){0});
}

static void assert_tokens(const char *what, cb_tensor y, const float *expected, size_t count)
{
    ck_assert_uint_eq(y.rows * y.columns, count);
    assert_close(what, y.value, expected, count, TOKEN_TOLERANCE * max_magnitude(expected, count));
}

/* Forward, the output against `prefix`out, and back from `prefix`G. */
static void run_both_ways(fixture *f, const char *prefix)
{
    size_t count;
    pass p = pass_begin(&f->runtime, forward, f);
    cb_tensor y = pass_run(&f->runtime, &p, forward, f);
    const float *out = golden_floats(&f->file, &count, "%sout", prefix);
    assert_tokens("out", y, out, count);
    memcpy(y.gradient, golden_floats(&f->file, NULL, "%sG", prefix), count * sizeof(float));
    cb_tape_backward(&p.tape);
    pass_end(&f->runtime, &p);
}

START_TEST(test_vit_tokens_and_gradients_match_the_authors)
{
    fixture f = fixture_open(files[_i], 2);
    size_t count;
    f.images = golden_images(&f.file, "");
    const float *expected = golden_floats(&f.file, &count, "grad.images");
    f.images.gradient = calloc(count, sizeof(float));
    run_both_ways(&f, "");
    assert_gradients(f.model, "backbone.", &f.file, "grad.", GRADIENT_TOLERANCE);
    assert_close(
        "images", f.images.gradient, expected, count, GRADIENT_TOLERANCE * max_magnitude(expected, count));
    free(f.images.gradient);
    fixture_close(&f);
}
END_TEST

/* Softmax does not see key biases: exactly, their gradient is zero (reference data, 6.15). */
START_TEST(test_vit_key_biases_have_a_vanishing_gradient)
{
    fixture f = fixture_open(files[_i], 2);
    f.images = golden_images(&f.file, "");
    run_both_ways(&f, "");
    for (size_t i = 0; i < f.vit.depth; i++) {
        cb_tensor bias = f.vit.blocks[i].qkv.bias;
        double most = max_magnitude(bias.gradient, bias.columns);
        ck_assert_double_gt(most, 0);
        ck_assert_double_lt(max_magnitude(bias.gradient + f.vit.width, f.vit.width), 1e-6 * most);
    }
    fixture_close(&f);
}
END_TEST

START_TEST(test_vit_gradients_are_the_same_bits_for_any_threads)
{
    fixture one = fixture_open(files[_i], 1), five = fixture_open(files[_i], 5);
    const cb_parameters *expected = &one.model->parameters, *got = &five.model->parameters;
    one.images = golden_images(&one.file, "");
    five.images = golden_images(&five.file, "");
    run_both_ways(&one, "");
    run_both_ways(&five, "");
    ck_assert_mem_eq(got->gradients, expected->gradients, expected->total * sizeof(float));
    fixture_close(&one);
    fixture_close(&five);
}
END_TEST

/* A transformer that ends early gives the final norm of the tokens at that place. */
START_TEST(test_vit_tokens_between_blocks_match_the_authors)
{
    fixture f = fixture_open(files[_i], 2);
    f.images = golden_images(&f.file, "");
    for (f.vit.depth = 0; f.vit.depth <= f.model->backbone.depth; f.vit.depth++) {
        size_t count, d = f.vit.width;
        const float *stream = f.vit.depth == 0
                                  ? golden_floats(&f.file, &count, "inter.embedded")
                                  : golden_floats(&f.file, &count, "inter.block%zu", f.vit.depth - 1);
        float *expected = malloc(count * sizeof *expected), mean, inverse_deviation;
        for (size_t at = 0; at < count; at += d)
            cb_rows()->layer_norm(expected + at, stream + at, f.vit.norm.weight.value, f.vit.norm.bias.value,
                (cb_real)1e-6, d, &mean, &inverse_deviation);
        pass p = pass_begin(&f.runtime, forward, &f);
        assert_tokens("stream", pass_run(&f.runtime, &p, forward, &f), expected, count);
        pass_end(&f.runtime, &p);
        free(expected);
    }
    fixture_close(&f);
}
END_TEST

static void check_positions(fixture *f, const char *prefix)
{
    size_t count, rows = f->images.height / f->vit.patch, columns = f->images.width / f->vit.patch;
    const float *expected = golden_floats(&f->file, &count, "%spos_embed", prefix);
    cb_arena arena;
    ck_assert_int_eq(
        cb_arena_create(&f->runtime.allocator, &arena, count * sizeof(float) + 1024, "positions"), CRIBO_OK);
    cb_tape tape = cb_tape_begin(&arena, f->runtime.pool, false, 0);
    cb_tensor positions = cb_op_resample_positions(&tape, f->vit.pos_embed, &f->vit.grid, rows, columns);
    assert_tokens("positions", positions, expected, count);
    cb_arena_destroy(&f->runtime.allocator, &arena);
}

static void check_size(fixture *f, const char *size)
{
    size_t count;
    char prefix[64];
    snprintf(prefix, sizeof prefix, "size_%s.", size);
    f->images = golden_images(&f->file, prefix);
    check_positions(f, prefix);

    cb_tensor stored = f->vit.pos_embed;
    const float *expected = golden_floats(&f->file, &count, "%sgrad.pos_embed", prefix);
    memset(stored.gradient, 0, count * sizeof(float));
    run_both_ways(f, prefix);
    assert_close(size, stored.gradient, expected, count, GRADIENT_TOLERANCE * max_magnitude(expected, count));
}

/* Metadata `extra_sizes`: "48x48,24x40". */
START_TEST(test_vit_other_sizes_match_the_authors)
{
    fixture f = fixture_open(files[_i], 2);
    char sizes[256], *rest = sizes;
    snprintf(sizes, sizeof sizes, "%s", golden_text(&f.file, "extra_sizes"));
    for (char *size = strtok_r(sizes, ",", &rest); size; size = strtok_r(NULL, ",", &rest))
        check_size(&f, size);
    fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vit");
    TCase *tests = tcase_create("golden");
    tcase_add_loop_test(tests, test_vit_tokens_and_gradients_match_the_authors, 0, FILES);
    tcase_add_loop_test(tests, test_vit_key_biases_have_a_vanishing_gradient, 0, FILES);
    tcase_add_loop_test(tests, test_vit_gradients_are_the_same_bits_for_any_threads, 0, FILES);
    tcase_add_loop_test(tests, test_vit_tokens_between_blocks_match_the_authors, 0, FILES);
    tcase_add_loop_test(tests, test_vit_other_sizes_match_the_authors, 0, FILES);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
