/* The convolutional stem: its parameters, files and settings. Its passes are in test_adapting.c, too. */
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <stdlib.h>
#include <string.h>

static cribo_model_config config_of(int64_t patch, int64_t width)
{
    cribo_model_config c;
    OK(cribo_model_config_init(&c, sizeof c));
    c.image_size = 4 * patch;
    c.patch_size = patch;
    c.width = width;
    c.depth = 2;
    c.heads = 1;
    c.mlp_ratio = 2;
    c.prototypes = c.object_prototypes = 0;
    c.stem = CRIBO_STEM_CONVOLUTION;
    return c;
}

static void assert_shape(const cribo_model *model, const char *name, int64_t axes, const int64_t shape[4])
{
    cribo_parameter p = {.struct_size = sizeof p};
    OK(cribo_model_find_parameter(model, name, &p));
    ck_assert_int_eq(p.axes, axes);
    ck_assert_mem_eq(p.shape, shape, sizeof p.shape);
}

START_TEST(test_stem_parameters_have_the_published_shapes)
{
    cribo_model_config c = config_of(16, 384);
    cribo_model *model;
    OK(cribo_model_create(&model, &c, NULL));
    assert_shape(model, "backbone.patch_embed.stem.0.conv.weight", 4, (int64_t[]){48, 3, 3, 3});
    assert_shape(model, "backbone.patch_embed.stem.1.conv.weight", 4, (int64_t[]){96, 48, 3, 3});
    assert_shape(model, "backbone.patch_embed.stem.3.conv.weight", 4, (int64_t[]){384, 192, 3, 3});
    assert_shape(model, "backbone.patch_embed.stem.3.norm.bias", 1, (int64_t[]){384, 1, 1, 1});
    assert_shape(model, "backbone.patch_embed.proj.weight", 4, (int64_t[]){384, 384, 1, 1});
    cribo_model_free(model);
}
END_TEST

START_TEST(test_stem_refuses_other_shapes)
{
    cribo_model_config c = config_of(14, 384);
    cribo_model *model;
    REFUSED(cribo_model_create(&model, &c, NULL), CRIBO_INVALID_ARGUMENT, "patch_size = 14");
    c = config_of(1, 384);
    REFUSED(cribo_model_create(&model, &c, NULL), CRIBO_INVALID_ARGUMENT, "patch_size = 1 ");
    c = config_of(16, 36);
    REFUSED(cribo_model_create(&model, &c, NULL), CRIBO_INVALID_ARGUMENT, "width = 36");
}
END_TEST

enum { SIDE = 16, TOKENS = 16, WIDTH = 8 };

static void compute(cribo_model *model, float dense[2 * TOKENS * WIDTH])
{
    float pixels[2 * 3 * SIDE * SIDE];
    for (size_t i = 0; i < sizeof pixels / sizeof *pixels; i++) pixels[i] = (float)(i * 31 % 67) / 33 - 1;
    OK(cribo_model_features(model, 2, SIDE, SIDE, pixels, dense, NULL, NULL));
}

/* From this library's file, with its settings, and from one whose settings follow from the tensors. */
START_TEST(test_stem_files_give_the_model_back)
{
    cribo_model_config c = config_of(4, WIDTH), found = {.struct_size = sizeof found};
    float expected[2 * TOKENS * WIDTH], dense[2 * TOKENS * WIDTH];
    cribo_model *model, *opened;
    OK(cribo_model_create(&model, &c, NULL));
    compute(model, expected);
    OK(cribo_model_save(model, scratch_path("own"), NULL));
    OK(cribo_model_export(model, scratch_path("exported"), "cribo", NULL));
    const char *const names[] = {"own", "exported"};
    for (int i = 0; i < 2; i++) {
        OK(cribo_model_config_from_file(scratch_path(names[i]), NULL, &found));
        ck_assert_int_eq(found.stem, CRIBO_STEM_CONVOLUTION);
        ck_assert_int_eq(found.patch_size, 4);
        ck_assert_int_eq(found.width, WIDTH);
        OK(cribo_model_open(&opened, scratch_path(names[i]), NULL, NULL));
        compute(opened, dense);
        ck_assert_mem_eq(dense, expected, sizeof dense);
        cribo_model_free(opened);
    }
    REFUSED(cribo_model_export(model, scratch_path("timm"), "timm", NULL), CRIBO_INVALID_ARGUMENT,
        "convolutional stem");
    c.stem = CRIBO_STEM_PATCH;
    OK(cribo_model_create(&opened, &c, NULL));
    REFUSED(cribo_model_load(opened, scratch_path("own"), ""), CRIBO_INVALID_ARGUMENT, "patch_embed");
    cribo_model_free(opened);
    cribo_model_free(model);
}
END_TEST

START_TEST(test_stem_of_a_frozen_embedding_keeps_its_bits)
{
    cribo_trainer_config c = training_config();
    const char *const names[] = {
        "backbone.patch_embed.stem.1.conv.weight", "backbone.patch_embed.stem.2.norm.bias"};
    c.stem = CRIBO_STEM_CONVOLUTION;
    for (c.frozen_blocks = 0; c.frozen_blocks < 2; c.frozen_blocks++) {
        cribo_trainer *trainer = training_begin(&c, 2);
        float before[2][8 * 4 * 9], after[2][8 * 4 * 9];
        const int64_t counts[] = {8 * 4 * 9, 16};
        for (int i = 0; i < 2; i++)
            OK(cribo_model_read_parameter(cribo_trainer_student(trainer), names[i], before[i], counts[i]));
        training_steps(trainer, &c, 2);
        for (int i = 0; i < 2; i++) {
            OK(cribo_model_read_parameter(cribo_trainer_student(trainer), names[i], after[i], counts[i]));
            bool same = memcmp(before[i], after[i], (size_t)counts[i] * sizeof(float)) == 0;
            ck_assert_int_eq(same, c.frozen_blocks > 0);
        }
        cribo_trainer_free(trainer);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("convolutional stem");
    TCase *stem = tcase_create("stem");
    tcase_set_timeout(stem, 60);
    tcase_add_checked_fixture(stem, scratch_begin, scratch_end);
    tcase_add_test(stem, test_stem_parameters_have_the_published_shapes);
    tcase_add_test(stem, test_stem_refuses_other_shapes);
    tcase_add_test(stem, test_stem_files_give_the_model_back);
    tcase_add_test(stem, test_stem_of_a_frozen_embedding_keeps_its_bits);
    suite_add_tcase(suite, stem);
    return run_suite(suite);
}
