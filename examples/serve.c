/*
 * One set of weights for several threads: each has a model that shares the weights of the first, and computes
 * features at the same time as the others, image by image.
 */
#include "check.h"

#include <pthread.h>
#include <string.h>

enum { WORKERS = 3, IMAGES = 6, SIZE = 32, D = 48 };

/* What one worker does: the images index, index + WORKERS, ... */
typedef struct worker {
    cribo_model *model;
    size_t index;
    float (*cls)[D];
    pthread_t thread;
} worker;

static cribo_model *make_model(void)
{
    cribo_model_config config;
    cribo_model *model;
    MUST(cribo_model_config_init(&config, sizeof config));
    config.image_size = SIZE;
    config.patch_size = 8;
    config.width = D;
    config.heads = 3;
    config.depth = 2;
    config.prototypes = 0; /* features need no heads */
    config.object_prototypes = 0;
    MUST(cribo_model_create(&model, &config, NULL)); /* or cribo_model_open, from a file */
    return model;
}

static void describe_image(cribo_model *model, size_t image, float cls[D])
{
    float pixels[3 * SIZE * SIZE];
    for (size_t i = 0; i < 3 * SIZE * SIZE; i++) pixels[i] = (float)((i * (image + 3)) % 64) / 32 - 1;
    MUST(cribo_model_features(model, 1, SIZE, SIZE, pixels, NULL, cls, NULL));
}

static void *serve(void *context)
{
    worker *w = context;
    for (size_t image = w->index; image < IMAGES; image += WORKERS)
        describe_image(w->model, image, w->cls[image]);
    return NULL;
}

int main(void)
{
    static float cls[IMAGES][D], expected[D];
    worker workers[WORKERS];
    cribo_runtime runtime;
    cribo_model *model = make_model();
    MUST(cribo_model_pack(model)); /* once, for all workers */

    MUST(cribo_runtime_init(&runtime, sizeof runtime));
    runtime.threads = 1; /* a worker computes alone; the workers are the parallel threads */
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i] = (worker){.index = i, .cls = cls};
        MUST(cribo_model_share(&workers[i].model, model, &runtime));
    }
    for (size_t i = 0; i < WORKERS; i++)
        EXPECT(pthread_create(&workers[i].thread, NULL, serve, &workers[i]) == 0);
    for (size_t i = 0; i < WORKERS; i++) {
        EXPECT(pthread_join(workers[i].thread, NULL) == 0);
        cribo_model_free(workers[i].model);
    }

    for (size_t image = 0; image < IMAGES; image++) { /* the same bits as from one thread */
        describe_image(model, image, expected);
        EXPECT(memcmp(expected, cls[image], sizeof expected) == 0);
    }
    printf("%d threads described %d images with one set of weights\n", WORKERS, IMAGES);
    cribo_model_free(model);
    return 0;
}
