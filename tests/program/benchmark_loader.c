/*
 * The cost of the loader: CPU time per picture to read it and to make its two views, beside the CPU time of a
 * training step of ViT-T/16 per picture.
 *
 *     benchmark_loader [SIZE [SOURCE...]]
 *
 * SIZE is that of the views, 224. Without sources, 32 JPEG files of 500 x 375 pixels with noise (80 kB each,
 * about as ImageNet's) are made and read again and again.
 */
#include "files.h"
#include "pictures/loader.h"
#include "pictures/pictures.h"

#include <check.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { FILES = 32, WIDTH = 500, HEIGHT = 375, ROUNDS = 256 };

/* Of all threads. */
static double cpu_ms(void)
{
    return 1e3 * (double)clock() / CLOCKS_PER_SEC;
}

static void give_up(const struct problem *problem)
{
    fprintf(stderr, "%s\n", problem->text);
    exit(1);
}

static void make_jpeg(const char *path, uint64_t number)
{
    struct image image = files_gradient(WIDTH, HEIGHT);
    size_t values = 3 * WIDTH * HEIGHT, size;
    double *noise = malloc(values * sizeof *noise);
    if (!noise || cribo_random_uniform(1, 2, number, values, noise) != CRIBO_OK) exit(1);
    for (size_t i = 0; i < values; i++) image.pixels[i] = (uint8_t)(image.pixels[i] * 0.7 + 60 * noise[i]);
    uint8_t *bytes = files_jpeg(&image, 85, 0, 0, 0, &size);
    files_write(path, bytes, size);
    free(bytes);
    free(noise);
    image_free(&image);
}

static char *make_pictures(void)
{
    char *folder = files_make_folder(), name[32];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "%02d.jpg", i);
        make_jpeg(files_path(folder, name), (uint64_t)i);
    }
    return folder;
}

/* Reading, and each view by itself. */
static void measure_parts(const struct pictures *pictures, int size)
{
    struct recipe recipe = recipe_published();
    float *workspace = malloc(augment_workspace(size) * sizeof *workspace);
    uint8_t *view = malloc(3 * (size_t)size * (size_t)size);
    double read = 0, views[2] = {0};
    if (!workspace || !view) exit(1);
    for (size_t i = 0; i < ROUNDS; i++) {
        struct image image;
        struct problem problem;
        cribo_crop crop;
        double draws[2 * AUGMENT_DRAWS], start = cpu_ms();
        if (!pictures_load(
                pictures, i % pictures->count, &image, 3, augment_least_side(&recipe, size), &problem))
            give_up(&problem);
        read += cpu_ms() - start;
        loader_draws(1, 0, i, draws);
        for (int v = 0; v < 2; v++) {
            start = cpu_ms();
            if (!augment_view(&recipe, &image, v ? VIEW_SECOND : VIEW_FIRST, size, draws + v * AUGMENT_DRAWS,
                    workspace, view, &crop, &problem))
                give_up(&problem);
            views[v] += cpu_ms() - start;
        }
        image_free(&image);
    }
    printf("read %.2f ms, view 1 %.2f ms, view 2 %.2f ms, together %.2f ms of CPU per picture\n",
        read / ROUNDS, views[0] / ROUNDS, views[1] / ROUNDS, (read + views[0] + views[1]) / ROUNDS);
    free(workspace);
    free(view);
}

/* All that a run with one worker does for a picture. */
static double measure_loader(const struct pictures *pictures, int size)
{
    enum { BATCH = 16 };
    struct loader *loader;
    struct loader_batch batch;
    struct problem problem;
    struct loader_options options = {.pictures = pictures,
        .recipe = recipe_published(),
        .image_size = size,
        .batch = BATCH,
        .workers = 1,
        .seed = 1};
    if (!loader_create(&loader, &options, &problem)) give_up(&problem);
    double start = cpu_ms();
    int64_t images = 0;
    for (int i = 0; i < ROUNDS / BATCH; i++) {
        if (!loader_next(loader, &batch, &problem)) give_up(&problem);
        images += batch.images;
    }
    /* The batches ahead count as well: their time is in. */
    double each = (cpu_ms() - start) / (double)(images + 3 * BATCH);
    loader_free(loader);
    return each;
}

/* ViT-T/16 with the published heads and clusters. */
static double measure_trainer(int size)
{
    enum { BATCH = 4 };
    cribo_trainer_config config;
    cribo_runtime runtime;
    cribo_trainer *trainer;
    size_t bytes = BATCH * 3 * (size_t)size * (size_t)size;
    uint8_t *views = malloc(2 * bytes);
    cribo_crop crops[BATCH];
    if (!views || cribo_trainer_config_init(&config, sizeof config) != CRIBO_OK ||
        cribo_trainer_config_preset(&config, "tiny") != CRIBO_OK ||
        cribo_runtime_init(&runtime, sizeof runtime) != CRIBO_OK)
        exit(1);
    config.image_size = size;
    config.batch_size = BATCH;
    config.steps_per_epoch = 1;
    runtime.threads = 2;
    if (cribo_trainer_create(&trainer, &config, &runtime) != CRIBO_OK) exit(1);
    for (size_t i = 0; i < 2 * bytes; i++) views[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int i = 0; i < BATCH; i++) crops[i] = (cribo_crop){10 * i, 0, 300, 300, i % 2};
    cribo_batch batch = {.struct_size = sizeof batch,
        .images = BATCH,
        .view1_bytes = views,
        .view2_bytes = views + bytes,
        .mean = {IMAGENET_MEAN},
        .deviation = {IMAGENET_DEVIATION},
        .crops1 = crops,
        .crops2 = crops};
    double start = 0;
    for (int step = 0; step < 4; step++) {
        if (step == 1) start = cpu_ms(); /* the first warms up */
        if (cribo_trainer_step(trainer, &batch, NULL) != CRIBO_OK) exit(1);
    }
    double each = (cpu_ms() - start) / (3 * BATCH);
    cribo_trainer_free(trainer);
    free(views);
    return each;
}

static struct {
    int size;
    char **sources;
    size_t count;
} given = {.size = 224};

/* Under libcheck, because the support it shares with the tests asserts. */
START_TEST(benchmark)
{
    char *work = files_make_folder(), *made = given.count ? NULL : make_pictures();
    struct pictures pictures;
    struct problem problem;
    char **sources = made ? &made : given.sources;
    size_t count = made ? 1 : given.count;
    if (!pictures_open(&pictures, files_path(work, "index"), sources, count, NULL, &problem))
        give_up(&problem);
    measure_parts(&pictures, given.size);
    double loader = measure_loader(&pictures, given.size), trainer = measure_trainer(given.size);
    printf("loader %.2f ms, ViT-T/16 %.2f ms of CPU per picture: one worker fills %.1f times what two cores "
           "train\n",
        loader, trainer, trainer / 2 / loader);
    pictures_close(&pictures);
    if (made) files_remove(made);
    files_remove(work);
}
END_TEST

int main(int count, char **arguments)
{
    if (count > 1) given.size = atoi(arguments[1]);
    if (count > 2) given.sources = arguments + 2;
    if (count > 2) given.count = (size_t)count - 2;
    Suite *suite = suite_create("loader");
    TCase *all = tcase_create("loader");
    tcase_add_test(all, benchmark);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
