/*
 * The vision transformer where golden data do not reach: stochastic depth, bytes as images, and what a pass
 * needs.
 */
#include "model/vit.h"
#include "support/model.h"
#include "support/suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 3, DEPTH = 3, SIDE = 6, PIXELS = IMAGES * 3 * SIDE * SIDE, KEEPS = DEPTH * 2 * IMAGES };

typedef struct fixture {
    cb_runtime runtime;
    cb_model *model;
    float pixels[PIXELS];
    uint8_t bytes[PIXELS];
    cb_images images;
    cb_real keep[KEEPS];
    bool drops;
} fixture;

/* Not moved: `images` points into it. */
static void fixture_open(fixture *f)
{
    cribo_model_config config;
    *f = (fixture){.runtime = runtime_of(2)};
    ck_assert_int_eq(cb_config_init(&cb_model_settings, &config, sizeof config), CRIBO_OK);
    config.image_size = SIDE;
    config.patch_size = 2;
    config.width = 10;
    config.heads = 2;
    config.depth = DEPTH;
    config.prototypes = config.object_prototypes = 0;
    f->model = model_of(&f->runtime, &config);
    for (size_t i = 0; i < PIXELS; i++) {
        f->bytes[i] = (uint8_t)(i * 37 % 256);
        f->pixels[i] = f->bytes[i] * 0.0078125f - 1;
    }
    for (size_t i = 0; i < KEEPS; i++) f->keep[i] = 1;
    f->images = (cb_images){.count = IMAGES, .height = SIDE, .width = SIDE, .pixels = f->pixels};
}

static void fixture_close(fixture *f)
{
    cb_model_free(f->model);
    cb_runtime_end(&f->runtime);
}

static cb_vit *vit_of(const fixture *f)
{
    return f->model->backbone.network;
}

static cb_tensor forward(cb_tape *tape, void *context)
{
    fixture *f = context;
    return cb_vit_forward(
        vit_of(f), tape, &f->images, &(cb_forward_options){.keep = f->drops ? f->keep : NULL});
}

/* The tokens of a pass; the caller frees. */
static float *tokens_of(fixture *f, size_t *count)
{
    pass p = pass_begin(&f->runtime, forward, f);
    cb_tensor y = pass_run(&f->runtime, &p, forward, f);
    *count = y.rows * y.columns;
    float *tokens = malloc(*count * sizeof *tokens);
    memcpy(tokens, y.value, *count * sizeof *tokens);
    pass_end(&f->runtime, &p);
    return tokens;
}

static void multiply(cb_tensor x, float factor)
{
    for (size_t i = 0; i < x.rows * x.columns; i++) x.value[i] *= factor;
}

/*
 * A factor of one image's branch has the effect on this image of the same factor in the branch's last layer,
 * and no effect on the other images.
 */
static void check_factor(fixture *f, size_t block, size_t branch, size_t image, float factor)
{
    size_t count, each;
    cb_affine last = branch == 0 ? vit_of(f)->blocks[block].proj : vit_of(f)->blocks[block].mlp_out;
    float *plain = tokens_of(f, &count),
          *saved = malloc(last.weight.rows * last.weight.columns * sizeof *saved);
    each = count / IMAGES;

    f->drops = true;
    f->keep[(block * 2 + branch) * IMAGES + image] = factor;
    float *kept = tokens_of(f, &count);
    f->keep[(block * 2 + branch) * IMAGES + image] = 1;
    f->drops = false;

    memcpy(saved, last.weight.value, last.weight.rows * last.weight.columns * sizeof *saved);
    multiply(last.weight, factor);
    float *expected = tokens_of(f, &count);
    memcpy(last.weight.value, saved, last.weight.rows * last.weight.columns * sizeof *saved);

    for (size_t b = 0; b < IMAGES; b++)
        ck_assert_mem_eq(kept + b * each, (b == image ? expected : plain) + b * each, each * sizeof *kept);
    ck_assert_mem_ne(expected, plain, count * sizeof *plain);
    free(plain);
    free(saved);
    free(kept);
    free(expected);
}

START_TEST(test_vit_factor_of_a_branch_is_that_of_its_last_layer)
{
    fixture f;
    fixture_open(&f);
    for (size_t i = 0; i < KEEPS; i++) /* powers of two, and biases of zero: the bits are the same */
        check_factor(&f, i / IMAGES / 2, i / IMAGES % 2, i % IMAGES, i % 2 ? 0 : 2);
    fixture_close(&f);
}
END_TEST

START_TEST(test_vit_bytes_are_pixels_scaled_and_shifted)
{
    fixture f;
    size_t count;
    fixture_open(&f);
    float *expected = tokens_of(&f, &count);
    f.images.pixels = NULL;
    f.images.bytes = f.bytes;
    for (int c = 0; c < 3; c++) f.images.scale[c] = 0.0078125f, f.images.shift[c] = -1;
    float *tokens = tokens_of(&f, &count);
    ck_assert_mem_eq(tokens, expected, count * sizeof *tokens);
    free(tokens);
    free(expected);
    fixture_close(&f);
}
END_TEST

START_TEST(test_vit_passes_give_the_same_bits_again_and_for_any_threads)
{
    fixture one, two;
    size_t count;
    fixture_open(&one);
    fixture_open(&two);
    cb_runtime_end(&two.runtime);
    two.runtime = runtime_of(3);
    float *a = tokens_of(&one, &count), *b = tokens_of(&one, &count), *c = tokens_of(&two, &count);
    ck_assert_mem_eq(a, b, count * sizeof *a);
    ck_assert_mem_eq(a, c, count * sizeof *a);
    free(a);
    free(b);
    free(c);
    fixture_close(&one);
    fixture_close(&two);
}
END_TEST

static void assert_view(cb_tensor x, size_t rows, size_t columns)
{
    ck_assert_uint_eq(x.rows, rows);
    ck_assert_uint_eq(x.columns, columns);
}

/* A single output is a single row, whatever the other axes are. */
START_TEST(test_vit_of_width_one_has_matrices_of_one_row)
{
    fixture f;
    cribo_model_config config;
    fixture_open(&f);
    config = f.model->config;
    config.width = config.heads = 1;
    cb_model *narrow = model_of(&f.runtime, &config);
    const cb_vit *vit = narrow->backbone.network;
    assert_view(vit->cls_token, 1, 1);
    assert_view(vit->pos_embed, 10, 1);
    assert_view(vit->patch_embed.weight, 1, 12);
    assert_view(vit->blocks[0].qkv.weight, 3, 1);
    assert_view(vit->blocks[0].proj.weight, 1, 1);
    assert_view(vit->blocks[0].mlp_in.weight, 4, 1);
    assert_view(vit->blocks[0].mlp_out.weight, 1, 4);
    assert_view(vit->norm.weight, 1, 1);
    cb_model_free(narrow);
    fixture_close(&f);
}
END_TEST

static size_t planned(fixture *f, size_t depth, bool training)
{
    cb_arena arena = cb_arena_measure();
    cb_tape tape = cb_tape_begin(&arena, f->runtime.pool, training, 0);
    vit_of(f)->depth = depth;
    forward(&tape, f);
    vit_of(f)->depth = DEPTH;
    return cb_tape_planned_bytes(&tape);
}

START_TEST(test_vit_inference_needs_no_more_memory_for_more_blocks)
{
    fixture f;
    fixture_open(&f);
    ck_assert_uint_eq(planned(&f, DEPTH, false), planned(&f, 1, false));
    ck_assert_uint_gt(planned(&f, DEPTH, true), planned(&f, 1, true));
    fixture_close(&f);
}
END_TEST

START_TEST(test_vit_recomputing_needs_little_memory_for_more_blocks)
{
    fixture f;
    fixture_open(&f);
    size_t per_block = (planned(&f, DEPTH, true) - planned(&f, 1, true)) / (DEPTH - 1);
    vit_of(&f)->recompute = true;
    size_t recomputed = (planned(&f, DEPTH, true) - planned(&f, 1, true)) / (DEPTH - 1);
    ck_assert_uint_gt(recomputed, 0);
    ck_assert_uint_lt(recomputed, per_block / 4);
    fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vit");
    TCase *tests = tcase_create("vit");
    tcase_add_test(tests, test_vit_factor_of_a_branch_is_that_of_its_last_layer);
    tcase_add_test(tests, test_vit_bytes_are_pixels_scaled_and_shifted);
    tcase_add_test(tests, test_vit_passes_give_the_same_bits_again_and_for_any_threads);
    tcase_add_test(tests, test_vit_of_width_one_has_matrices_of_one_row);
    tcase_add_test(tests, test_vit_inference_needs_no_more_memory_for_more_blocks);
    tcase_add_test(tests, test_vit_recomputing_needs_little_memory_for_more_blocks);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
