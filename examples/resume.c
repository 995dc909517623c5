/*
 * Stopping and resuming: a checkpoint contains the complete state of a trainer, so a resumed run is
 * bit-identical to an uninterrupted run.
 *
 *   resume [FILE]
 *
 * With FILE the checkpoint stays there. A checkpoint is a gzip-compressed safetensors file, and its teacher
 * can be read as a model.
 */
#include "check.h"

#include <string.h>

enum { B = 2, SIZE = 16, D = 16, STEPS = 6, STOP = 3 };

static cribo_trainer_config settings(void)
{
    cribo_trainer_config config;
    MUST(cribo_trainer_config_init(&config, sizeof config));
    config.image_size = SIZE;
    config.patch_size = 8;
    config.width = D;
    config.depth = 1;
    config.heads = 2;
    config.head_hidden = 16;
    config.head_bottleneck = 8;
    config.prototypes = 32;
    config.object_prototypes = 32;
    config.clusters = 4;
    config.bank_images = 8;
    config.batch_size = B;
    config.epochs = 3;
    config.steps_per_epoch = STEPS / 3;
    config.warmup_epochs = 1;
    return config;
}

/* Steps first ... end - 1 on batches that are functions of the step; the last one's loss. */
static double train(cribo_trainer *trainer, int64_t first, int64_t end)
{
    static double values[2 * B * 3 * SIZE * SIZE];
    static float pixels[2][B][3][SIZE][SIZE];
    const cribo_crop crops[B] = {{0, 0, 32, 32, 0}, {4, 0, 28, 32, 0}};
    cribo_report report = {.struct_size = sizeof report};
    cribo_batch batch = {.struct_size = sizeof batch,
        .images = B,
        .view1 = &pixels[0][0][0][0][0],
        .view2 = &pixels[1][0][0][0][0],
        .crops1 = crops,
        .crops2 = crops};
    for (int64_t step = first; step < end; step++) {
        MUST(cribo_random_uniform(6, 0, (uint64_t)step, 2 * B * 3 * SIZE * SIZE, values));
        for (int i = 0; i < 2 * B * 3 * SIZE * SIZE; i++)
            (&pixels[0][0][0][0][0])[i] = (float)values[i] - 0.5F;
        MUST(cribo_trainer_step(trainer, &batch, &report));
        printf("step %lld: loss %.6f\n", (long long)report.step, report.loss);
    }
    return report.loss;
}

static void save(const cribo_trainer *trainer, const char *path)
{
    const char *keys[] = {"dataset"}, *values[] = {"made up"};
    cribo_save_options options = {.struct_size = sizeof options,
        .level = 1,
        .metadata_count = 1,
        .metadata_keys = keys,
        .metadata_values = values};
    MUST(cribo_trainer_save(trainer, path, &options));
}

/* A trainer with the settings and the state of the checkpoint. */
static cribo_trainer *resume(const char *path)
{
    cribo_trainer_config config;
    cribo_trainer *trainer;
    char dataset[32];
    MUST(cribo_trainer_config_init(&config, sizeof config));
    MUST(cribo_checkpoint_config(path, &config));
    MUST(cribo_checkpoint_metadata(path, "dataset", dataset, sizeof dataset));
    EXPECT(strcmp(dataset, "made up") == 0);
    MUST(cribo_trainer_create(&trainer, &config, NULL));
    MUST(cribo_trainer_load(trainer, path, NULL));
    return trainer;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "resume.checkpoint";
    cribo_trainer_config config = settings();
    cribo_trainer *trainer;
    int64_t steps;
    MUST(cribo_trainer_create(&trainer, &config, NULL));
    train(trainer, 0, STOP);
    save(trainer, path);
    double never_stopped = train(trainer, STOP, STEPS);
    cribo_trainer_free(trainer);

    trainer = resume(path);
    MUST(cribo_trainer_step_count(trainer, &steps));
    EXPECT(steps == STOP);
    double resumed = train(trainer, steps, STEPS);
    EXPECT(resumed == never_stopped); /* not only approximately: the same bits */

    float norm[D];
    MUST(cribo_model_load(cribo_trainer_teacher(trainer), path, "teacher."));
    MUST(cribo_model_read_parameter(cribo_trainer_teacher(trainer), "backbone.norm.weight", norm, D));
    cribo_trainer_free(trainer);
    if (argc < 2) remove(path);
    return 0;
}
