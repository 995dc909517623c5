/*
 * Time and size of a checkpoint: ViT-S/16 with the published heads after one step, at several levels of gzip,
 * and loading it.
 *
 *     checkpoint [FOLDER [LEVEL...]]
 */
#define _POSIX_C_SOURCE 200809L
#include "cribo/cribo.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Of all threads. */
static double cpu_seconds(clock_t begin, clock_t end)
{
    return (double)(end - begin) / CLOCKS_PER_SEC;
}

static void need(cribo_status status)
{
    if (status == CRIBO_OK) return;
    fprintf(stderr, "%s\n", cribo_last_error());
    exit(1);
}

/* Moments are zero, and compress too well, before the first step. */
static void train_one_step(cribo_trainer *trainer, const cribo_trainer_config *config)
{
    size_t pixels = 3 * (size_t)(config->image_size * config->image_size);
    double *drawn = malloc(2 * pixels * sizeof *drawn);
    float *views = malloc(2 * pixels * sizeof *views);
    cribo_crop crops[2] = {{0, 0, 100, 100, 0}, {20, 10, 100, 100, 1}};
    if (!drawn || !views) exit(1);
    need(cribo_random_uniform(1, 2, 3, 2 * pixels, drawn));
    for (size_t i = 0; i < 2 * pixels; i++) views[i] = (float)(4 * drawn[i] - 2);
    cribo_batch batch = {.struct_size = sizeof batch,
        .images = 1,
        .view1 = views,
        .view2 = views + pixels,
        .crops1 = crops,
        .crops2 = crops + 1};
    need(cribo_trainer_step(trainer, &batch, NULL));
    free(drawn);
    free(views);
}

static void measure(cribo_trainer *trainer, const char *path, int level)
{
    cribo_save_options options = {.struct_size = sizeof options, .level = level};
    struct stat status = {0};
    clock_t idle = clock();
    double start = seconds();
    need(cribo_trainer_save(trainer, path, &options));
    double saved = seconds();
    clock_t busy = clock();
    need(cribo_trainer_load(trainer, path, NULL));
    double loaded = seconds();
    stat(path, &status);
    printf("level %d: %7.1f MB, saved in %6.2f s (%6.2f s of CPU), loaded in %6.2f s (%6.2f s of CPU)\n",
        level, (double)status.st_size / 1e6, saved - start, cpu_seconds(idle, busy), loaded - saved,
        cpu_seconds(busy, clock()));
    fflush(stdout);
    unlink(path);
}

int main(int count, char **arguments)
{
    char path[4096];
    cribo_trainer *trainer;
    cribo_trainer_config config;
    snprintf(path, sizeof path, "%s/benchmark.checkpoint", count > 1 ? arguments[1] : ".");
    need(cribo_trainer_config_init(&config, sizeof config));
    config.batch_size = config.steps_per_epoch = 1;
    config.freeze_last_layer_epochs = 0;
    need(cribo_trainer_create(&trainer, &config, NULL));
    train_one_step(trainer, &config);
    for (int i = 2; i < count; i++) measure(trainer, path, atoi(arguments[i]));
    for (int level = 0; count <= 2 && level <= 6; level += level == 0 ? 1 : 5) measure(trainer, path, level);
    cribo_trainer_free(trainer);
    return 0;
}
