/*
 * Another network, trained with CrIBo through cribo_objective: teach, learn, the network's own
 * backward pass and optimiser, update.
 *
 * The network is the smallest that has dense tokens: a two-layer perceptron on each patch, with its backward
 * pass written out. The mean of the tokens is the global vector. The images are made up: four quarters of
 * plain colours with noise, seen through two crops.
 */
#include "check.h"

#include <math.h>
#include <string.h>

enum { B = 8, GRID = 6, N = GRID * GRID, PATCH = 3 * 4 * 4, HIDDEN = 24, D = 16, STEPS = 150 };
enum { VIEWS = 2 * B, ROWS = VIEWS * N }; /* view v of image i is number 2 i + v */

/* tokens = W2 tanh(W1 patch + b1) + b2 */
typedef struct encoder {
    float w1[HIDDEN][PATCH], b1[HIDDEN], w2[D][HIDDEN], b2[D];
} encoder;
enum { PARAMETERS = sizeof(encoder) / sizeof(float) };

static float patches[ROWS][PATCH], positions[ROWS][2];
static float hidden[ROWS][HIDDEN]; /* kept for the backward pass */

static void forward(const encoder *e, float dense[ROWS][D], float global[VIEWS][D])
{
    memset(global, 0, sizeof(float[VIEWS][D]));
    for (int i = 0; i < ROWS; i++) {
        const float *x = patches[i];
        float *h = hidden[i], *y = dense[i], *mean = global[i / N];
        for (int j = 0; j < HIDDEN; j++) {
            float sum = e->b1[j];
            for (int k = 0; k < PATCH; k++) sum += e->w1[j][k] * x[k];
            h[j] = tanhf(sum);
        }
        for (int j = 0; j < D; j++) {
            y[j] = e->b2[j];
            for (int k = 0; k < HIDDEN; k++) y[j] += e->w2[j][k] * h[k];
            mean[j] += y[j] / N;
        }
    }
}

static void backward(const encoder *e, float ddense[ROWS][D], float dglobal[VIEWS][D], encoder *gradient)
{
    memset(gradient, 0, sizeof *gradient);
    for (int i = 0; i < ROWS; i++) {
        const float *x = patches[i], *h = hidden[i];
        float dh[HIDDEN] = {0};
        for (int j = 0; j < D; j++) {
            float dy = ddense[i][j] + dglobal[i / N][j] / N;
            gradient->b2[j] += dy;
            for (int k = 0; k < HIDDEN; k++) {
                gradient->w2[j][k] += dy * h[k];
                dh[k] += dy * e->w2[j][k];
            }
        }
        for (int j = 0; j < HIDDEN; j++) {
            float da = dh[j] * (1 - h[j] * h[j]);
            gradient->b1[j] += da;
            for (int k = 0; k < PATCH; k++) gradient->w1[j][k] += da * x[k];
        }
    }
}

/* A new batch: each image has a colour in each quarter, and two crops of it are taken. */
static void draw_batch(int step)
{
    for (int i = 0; i < VIEWS; i++) {
        double colours[12], place[2], noise[N * PATCH];
        int image = step * B + i / 2;
        MUST(cribo_random_uniform(1, 0, (uint64_t)image, 12, colours));
        MUST(cribo_random_uniform(1, 1, (uint64_t)(2 * image + i % 2), 2, place));
        MUST(cribo_random_uniform(1, 2, (uint64_t)(2 * image + i % 2), N * PATCH, noise));
        cribo_crop crop = {16 * place[0], 16 * place[1], 48, 48, i % 2};
        float(*at)[2] = positions + i * N, (*to)[PATCH] = patches + i * N;
        MUST(cribo_crop_positions(&crop, GRID, GRID, at[0]));
        for (int n = 0; n < N; n++)
            for (int k = 0; k < PATCH; k++) {
                double colour = colours[3 * ((at[n][0] > 32) + 2 * (at[n][1] > 32)) + k % 3];
                to[n][k] = (float)(4 * colour - 2 + 0.5 * noise[n * PATCH + k]);
            }
    }
}

static cribo_objective *make_objective(void)
{
    cribo_objective_config config;
    cribo_objective *objective;
    MUST(cribo_objective_config_init(&config, sizeof config));
    config.width = D;
    config.tokens = N;
    config.head_hidden = 64;
    config.head_bottleneck = 16;
    config.prototypes = config.object_prototypes = 64;
    config.normed_last_layer = 1;
    config.clusters = 4;
    config.bank_images = 64;
    config.batch_size = B;
    config.learning_rate = 0.02; /* per 256 images: 6e-4 for these eight */
    config.teacher_temperature = config.object_teacher_temperature = 0.025;
    config.ema_momentum = 0.99;
    config.cross_image_steps = 10;
    config.warmup_epochs = config.freeze_last_layer_epochs = 0;
    config.teacher_temperature_epochs = 0;
    config.total_steps = STEPS;
    MUST(cribo_objective_create(&objective, &config, NULL));
    return objective;
}

int main(void)
{
    static encoder student, teacher, gradient;
    static float dense[ROWS][D], global[VIEWS][D], ddense[ROWS][D], dglobal[VIEWS][D];
    double drawn[PARAMETERS], first = 0, last = 0;
    cribo_objective *objective = make_objective();
    MUST(cribo_random_uniform(1, 3, 0, PARAMETERS, drawn));
    float *s = (float *)&student, *t = (float *)&teacher, *g = (float *)&gradient;
    for (int i = 0; i < PARAMETERS; i++) s[i] = t[i] = (float)(0.6 * drawn[i] - 0.3);

    for (int step = 0; step < STEPS; step++) {
        cribo_objective_batch batch = {.struct_size = sizeof batch,
            .images = B,
            .dense = dense[0],
            .global = global[0],
            .positions = positions[0]};
        cribo_objective_chunk chunk = {.struct_size = sizeof chunk,
            .images = B,
            .dense = dense[0],
            .global = global[0],
            .dense_gradient = ddense[0],
            .global_gradient = dglobal[0]};
        cribo_step_values now = {.struct_size = sizeof now};
        cribo_report report = {.struct_size = sizeof report};

        draw_batch(step);
        forward(&teacher, dense, global);
        MUST(cribo_objective_teach(objective, &batch));
        forward(&student, dense, global);
        MUST(cribo_objective_learn(objective, &chunk));
        backward(&student, ddense, dglobal, &gradient);

        MUST(cribo_objective_schedule(objective, -1, &now));
        float momentum = (float)now.ema_momentum;
        for (int i = 0; i < PARAMETERS; i++) s[i] -= 0.05f * g[i]; /* plain gradient descent */
        for (int i = 0; i < PARAMETERS; i++) t[i] = momentum * t[i] + (1 - momentum) * s[i];
        MUST(cribo_objective_update(objective, &report));

        double between_views = report.global_loss + report.cross_view_loss;
        if (step < 5) first += between_views / 5;
        if (step >= STEPS - 5) last += between_views / 5;
        if (step % 25 == 24)
            printf("step %2d: loss %.3f + %.3f + %.3f, %.1f objects an image, %.0f %% matched\n", step + 1,
                report.global_loss, report.cross_view_loss, report.cross_image_loss, report.objects_per_image,
                100 * report.matched_share);
    }
    printf("the losses between views went from %.3f to %.3f\n", first, last);
    EXPECT(last < 0.6 * first);
    cribo_objective_free(objective);
    return 0;
}
