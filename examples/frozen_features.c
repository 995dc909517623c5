/*
 * Features from a frozen model in a safetensors file: dense tokens, [CLS] and attention, at the training size
 * and at another one.
 *
 *   frozen_features [FILE]
 *
 * Such a file comes from cribo_trainer_save_weights, or from the authors' PyTorch code; the settings below
 * must be those of its model. Without FILE an untrained model is written, read and removed again.
 */
#include "check.h"

#include <math.h>
#include <string.h>

enum { B = 2, SIZE = 32, LARGE = 48, PATCH = 8, D = 48, HEADS = 3, N = (SIZE / PATCH) * (SIZE / PATCH) };

static cribo_model_config settings(int64_t seed)
{
    cribo_model_config config;
    MUST(cribo_model_config_init(&config, sizeof config)); /* ViT-S/16 with the published heads */
    config.image_size = SIZE;
    config.patch_size = PATCH;
    config.width = D;
    config.heads = HEADS;
    config.depth = 3;
    config.prototypes = 0; /* features need no heads */
    config.object_prototypes = 0;
    config.seed = seed;
    return config;
}

static void write_untrained(const char *path)
{
    cribo_model_config config = settings(1);
    cribo_model *model;
    MUST(cribo_model_create(&model, &config, NULL));
    MUST(cribo_model_save(model, path, "teacher."));
    cribo_model_free(model);
}

static cribo_model *read_model(const char *path)
{
    cribo_model_config config = settings(2); /* the file's parameters replace the random ones */
    cribo_model *model;
    MUST(cribo_model_create(&model, &config, NULL));
    MUST(cribo_model_load(model, path, "teacher."));
    return model;
}

/*
 * Colours as in training: (byte / 255 - mean) / deviation with ImageNet's mean and deviation, here of
 * noise.
 */
static void make_pixels(float *pixels, size_t image, size_t channel_size)
{
    static const double mean[3] = {0.485, 0.456, 0.406}, deviation[3] = {0.229, 0.224, 0.225};
    double values[LARGE * LARGE];
    for (size_t channel = 0; channel < 3; channel++) {
        MUST(cribo_random_uniform(2, image, channel, channel_size, values));
        for (size_t i = 0; i < channel_size; i++)
            *pixels++ = (float)((values[i] - mean[channel]) / deviation[channel]);
    }
}

/* The sum of each head's attention from [CLS] to the patches; the rest is attention to [CLS]. */
static void expect_shares(const float *attention, int64_t rows, int64_t patches)
{
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t n = 0; n < patches; n++) sum += (double)attention[i * patches + n];
        EXPECT(sum > 0 && sum < 1);
    }
}

/* A file without all parameters leaves the model unchanged, and the message names the missing one. */
static void expect_refusal(cribo_model *model, const char *path)
{
    cribo_status status = cribo_model_load(model, path, "student.");
    EXPECT(status == CRIBO_INVALID_ARGUMENT);
    EXPECT(strstr(cribo_last_error(), "student.") != NULL);
    printf("as it should be: %s\n", cribo_last_error());
}

int main(int argc, char **argv)
{
    static float pixels[B][3][SIZE][SIZE], dense[B][N][D], cls[B][D], attention[B][HEADS][N];
    static float large[1][3][LARGE][LARGE], large_dense[(LARGE / PATCH) * (LARGE / PATCH)][D], again[B][D];
    const char *path = argc > 1 ? argv[1] : "frozen_features.safetensors";
    if (argc < 2) write_untrained(path);
    cribo_model *model = read_model(path);

    cribo_parameter weight = {.struct_size = sizeof weight};
    MUST(cribo_model_find_parameter(model, "backbone.blocks.0.attn.qkv.weight", &weight));
    EXPECT(weight.axes == 2 && weight.shape[0] == 3 * D && weight.shape[1] == D);

    for (size_t b = 0; b < B; b++) make_pixels(&pixels[b][0][0][0], b, SIZE * SIZE);
    MUST(cribo_model_features(
        model, B, SIZE, SIZE, &pixels[0][0][0][0], &dense[0][0][0], &cls[0][0], &attention[0][0][0]));
    printf("image 0: [CLS] %.3f %.3f ..., token 0 %.3f %.3f ...\n", (double)cls[0][0], (double)cls[0][1],
        (double)dense[0][0][0], (double)dense[0][0][1]);
    expect_shares(&attention[0][0][0], B * HEADS, N);

    /* Another size: the position embeddings are interpolated. Outputs that are not needed are NULL. */
    make_pixels(&large[0][0][0][0], 7, LARGE * LARGE);
    MUST(cribo_model_features(model, 1, LARGE, LARGE, &large[0][0][0][0], &large_dense[0][0], NULL, NULL));
    for (size_t i = 0; i < sizeof large_dense / sizeof(float); i++) EXPECT(isfinite((&large_dense[0][0])[i]));

    /* The model is frozen: same images, same bits. */
    expect_refusal(model, path);
    MUST(cribo_model_features(model, B, SIZE, SIZE, &pixels[0][0][0][0], NULL, &again[0][0], NULL));
    EXPECT(memcmp(again, cls, sizeof cls) == 0);

    cribo_model_free(model);
    if (argc < 2) remove(path);
    return 0;
}
