/*
 * Pretraining in your own loop, phase by phase: teach, learn, update. Between them the program reads the
 * teacher's results.
 *
 * The images are made up: four quarters of plain colours with noise, seen through two crops. Settings are
 * tiny; the published ones are what cribo_trainer_config_init sets.
 */
#include "check.h"

#include <math.h>

enum { B = 4, SIZE = 32, PATCH = 8, GRID = SIZE / PATCH, N = GRID * GRID, K = 6, STEPS = 12 };

static float views[2][B][3][SIZE][SIZE];
static cribo_crop crops[2][B];

static cribo_trainer *make_trainer(void)
{
    cribo_trainer_config config;
    MUST(cribo_trainer_config_init(&config, sizeof config));
    config.image_size = SIZE;
    config.patch_size = PATCH;
    config.width = 32;
    config.depth = 2;
    config.heads = 2;
    config.head_hidden = 64;
    config.head_bottleneck = 16;
    config.prototypes = 64;
    config.object_prototypes = 64;
    config.clusters = K;
    config.bank_images = 16;
    config.batch_size = B;
    config.learning_rate = 0.05; /* per 256 images: 8e-4 for these four */
    config.epochs = 3;
    config.steps_per_epoch = STEPS / 3;
    config.warmup_epochs = 1;
    config.teacher_temperature_epochs = 1;
    MUST(cribo_trainer_config_set(&config, "micro_batch", "2")); /* by name, as a command line would */

    cribo_trainer *trainer;
    MUST(cribo_trainer_create(&trainer, &config, NULL));
    return trainer;
}

/*
 * A view of a square picture of side 64 whose quarters have colours: crop, resize by picking pixels, add
 * noise.
 */
static void paint(int64_t id, int v, int b)
{
    double colours[12], noise[3 * SIZE * SIZE];
    const cribo_crop *crop = &crops[v][b];
    MUST(cribo_random_uniform(4, 0, (uint64_t)id, 12, colours));
    MUST(cribo_random_uniform(4, 1 + (uint64_t)v, (uint64_t)id, 3 * SIZE * SIZE, noise));
    for (int i = 0; i < 3 * SIZE * SIZE; i++) {
        int channel = i / (SIZE * SIZE), row = i / SIZE % SIZE, column = i % SIZE;
        double x = crop->x + (column + 0.5) * crop->width / SIZE,
               y = crop->y + (row + 0.5) * crop->height / SIZE;
        double colour = colours[3 * ((x > 32) + 2 * (y > 32)) + channel];
        views[v][b][channel][row][column] = (float)(4 * colour - 2 + 0.4 * noise[i]);
    }
}

static cribo_batch make_batch(int step, int64_t ids[B])
{
    for (int b = 0; b < B; b++) {
        ids[b] = step * B + b;
        for (int v = 0; v < 2; v++) {
            double u[2];
            MUST(cribo_random_uniform(4, 3 + (uint64_t)v, (uint64_t)ids[b], 2, u));
            crops[v][b] = (cribo_crop){.x = 16 * u[0], .y = 16 * u[1], .width = 48, .height = 48};
            paint(ids[b], v, b);
        }
    }
    return (cribo_batch){.struct_size = sizeof(cribo_batch),
        .images = B,
        .view1 = &views[0][0][0][0][0],
        .view2 = &views[1][0][0][0][0],
        .crops1 = crops[0],
        .crops2 = crops[1],
        .ids = ids};
}

/* The clusterer's results for the batch: the objects of image 0, and the number of all objects. */
static int64_t look(const cribo_trainer *trainer)
{
    static int64_t labels[B][2][N], objects[B];
    cribo_targets targets = {
        .struct_size = sizeof targets, .labels = &labels[0][0][0], .objects_per_image = objects};
    MUST(cribo_trainer_targets(trainer, &targets));
    for (int row = 0; row < GRID; row++) {
        for (int v = 0; v < 2; v++)
            for (int column = 0; column < GRID; column++)
                printf(
                    "%c%s", 'a' + (int)labels[0][v][row * GRID + column], column == GRID - 1 ? "   " : " ");
        puts("");
    }
    int64_t sum = 0;
    for (int b = 0; b < B; b++) sum += objects[b];
    return sum;
}

int main(void)
{
    cribo_trainer *trainer = make_trainer();
    cribo_report report = {.struct_size = sizeof report};
    for (int step = 0; step < STEPS; step++) {
        int64_t ids[B];
        cribo_batch batch = make_batch(step, ids);

        MUST(cribo_trainer_teach(trainer, &batch));
        int64_t objects = look(trainer);
        MUST(cribo_trainer_learn(trainer, &batch));

        /* Gradients can be read here; change the student only before teach or after update. */
        float gradient[32];
        MUST(cribo_trainer_gradient(trainer, "backbone.norm.weight", gradient, 32));

        MUST(cribo_trainer_update(trainer, &report));
        printf("step %lld: loss %.3f, %lld objects, %.0f %% matched, d(loss)/d(norm gain 0) %.4f\n\n",
            (long long)report.step, report.loss, (long long)objects, 100 * report.matched_share,
            (double)gradient[0]);
        EXPECT(report.step == step && isfinite(report.loss));
        EXPECT(fabs(report.objects_per_image * B - (double)objects) < 1e-9);
    }
    EXPECT(report.cross_image_on == 1 && report.bank_fill == 1);

    /* A call in the wrong order is refused and changes nothing. */
    EXPECT(cribo_trainer_update(trainer, NULL) == CRIBO_WRONG_STATE);

    /* The student and the teacher are ordinary models, but borrowed. */
    static float cls[B][32];
    MUST(cribo_model_features(
        cribo_trainer_teacher(trainer), B, SIZE, SIZE, &views[0][0][0][0][0], NULL, &cls[0][0], NULL));
    EXPECT(isfinite(cls[0][0]));
    cribo_trainer_free(trainer);
    return 0;
}
