/* Objectives for the tests. See objective.h. */
#include "support/objective.h"

#include <stdlib.h>
#include <string.h>

cribo_objective_config objective_config(void)
{
    cribo_objective_config c;
    OK(cribo_objective_config_init(&c, sizeof c));
    c.width = 16;
    c.tokens = 9;
    c.head_hidden = 20;
    c.head_bottleneck = 8;
    c.prototypes = 24;
    c.object_prototypes = 30;
    c.clusters = 5;
    c.bank_images = 7;
    c.cross_image_epochs = 0;
    c.teacher_temperature_epochs = 1;
    c.batch_size = 5;
    c.micro_batch = 2;
    c.learning_rate = 0.05;
    c.warmup_epochs = 0;
    c.clip_norm = 1;
    c.freeze_last_layer_epochs = 0;
    c.epochs = 2;
    c.steps_per_epoch = 4;
    c.seed = 7;
    return c;
}

cribo_objective *objective_begin(const cribo_objective_config *config, int64_t threads)
{
    cribo_objective *objective;
    cribo_runtime runtime = training_runtime(threads);
    OK(cribo_objective_create(&objective, config, &runtime));
    return objective;
}

static void draw(float *to, size_t count, uint64_t number, uint64_t index, double scale)
{
    double *u = calloc(count, sizeof *u);
    ck_assert_ptr_nonnull(u);
    OK(cribo_random_uniform(number, 2, index, count, u));
    for (size_t i = 0; i < count; i++) to[i] += (float)(scale * (2 * u[i] - 1));
    free(u);
}

token_batch token_batch_of(const cribo_objective_config *config, int64_t images, uint64_t number)
{
    size_t b = (size_t)images, n = (size_t)config->tokens, d = (size_t)config->width, view = (1 + n) * d;
    token_batch made = {.tokens = calloc(4 * b * view, sizeof(float)),
        .gradients = calloc(2 * b * view, sizeof(float)),
        .positions = calloc(2 * b * n * 2, sizeof(float))};
    ck_assert(made.tokens && made.gradients && made.positions);
    for (size_t network = 0; network < 2; network++)
        for (size_t i = 0; i < 2 * b; i++) {
            float *to = made.tokens + (network * 2 * b + i) * view;
            draw(to, view, number, i / 2, 1);
            draw(to, view, number, 1000 + network * 2 * b + i, 0.3);
        }
    draw(made.positions, 2 * b * n * 2, number, 5000, 50);
    int64_t image = (int64_t)(2 * view), one = (int64_t)view;
    made.teacher = (cribo_objective_batch){.struct_size = sizeof made.teacher,
        .images = images,
        .dense = made.tokens + d,
        .global = made.tokens,
        .dense_image_stride = image,
        .dense_view_stride = one,
        .global_image_stride = image,
        .global_view_stride = one,
        .positions = made.positions};
    made.student = (cribo_objective_chunk){.struct_size = sizeof made.student,
        .images = images,
        .dense = made.tokens + 2 * b * view + d,
        .global = made.tokens + 2 * b * view,
        .dense_image_stride = image,
        .dense_view_stride = one,
        .global_image_stride = image,
        .global_view_stride = one,
        .dense_gradient = made.gradients + d,
        .global_gradient = made.gradients};
    return made;
}

void token_batch_free(token_batch *batch)
{
    free(batch->tokens);
    free(batch->gradients);
    free(batch->positions);
    *batch = (token_batch){0};
}

cribo_objective_chunk token_chunk(
    const cribo_objective_config *config, const token_batch *batch, int64_t first, int64_t images)
{
    int64_t begin = first * 2 * (config->tokens + 1) * config->width;
    cribo_objective_chunk chunk = batch->student;
    chunk.first = first;
    chunk.images = images;
    chunk.dense += begin;
    chunk.global += begin;
    chunk.dense_gradient += begin;
    chunk.global_gradient += begin;
    return chunk;
}

double objective_step(cribo_objective *objective, const cribo_objective_config *config, uint64_t number)
{
    token_batch batch = token_batch_of(config, config->batch_size, number);
    cribo_report report = {.struct_size = sizeof report};
    OK(cribo_objective_teach(objective, &batch.teacher));
    OK(cribo_objective_learn(objective, &batch.student));
    OK(cribo_objective_update(objective, &report));
    token_batch_free(&batch);
    return report.loss;
}

/* --- state --- */

static bool same_numbers(float *x, size_t half)
{
    return memcmp(x, x + half, half * sizeof *x) == 0;
}

static void read_parameter(cribo_objective *objective, const cribo_parameter *p, float *to, int64_t *updates)
{
    OK(cribo_objective_read_parameter(objective, CRIBO_STUDENT, p->name, to, p->count));
    OK(cribo_objective_read_parameter(objective, CRIBO_TEACHER, p->name, to + p->count, p->count));
    OK(cribo_objective_moments(objective, p->name, to + 2 * p->count, to + 3 * p->count, p->count, updates));
}

static bool same_parameter(cribo_objective *a, cribo_objective *b, int64_t index)
{
    cribo_parameter p = {.struct_size = sizeof p};
    int64_t updates[2];
    OK(cribo_objective_parameter(a, index, &p));
    float *x = calloc(8 * (size_t)p.count, sizeof *x);
    read_parameter(a, &p, x, &updates[0]);
    read_parameter(b, &p, x + 4 * p.count, &updates[1]);
    bool same = same_numbers(x, 4 * (size_t)p.count) && updates[0] == updates[1];
    free(x);
    return same;
}

static bool same_centres(cribo_objective *a, cribo_objective *b)
{
    cribo_parameter p = {.struct_size = sizeof p}, q = p;
    OK(cribo_objective_find_parameter(a, "head.last_layer.weight_g", &p));
    OK(cribo_objective_find_parameter(a, "head.last_layer_c.weight_g", &q));
    size_t half = (size_t)(p.count + q.count);
    float *x = calloc(2 * half, sizeof *x);
    OK(cribo_objective_get_centres(a, x, x + p.count));
    OK(cribo_objective_get_centres(b, x + half, x + half + p.count));
    bool same = same_numbers(x, half);
    free(x);
    return same;
}

static bool same_banks(cribo_objective *a, cribo_objective *b)
{
    cribo_memory_bank *banks[2] = {cribo_objective_memory_bank(a), cribo_objective_memory_bank(b)};
    cribo_parameter p = {.struct_size = sizeof p};
    int64_t images[2], objects[2];
    OK(cribo_objective_find_parameter(a, "head.mlp.0.weight", &p));
    for (int i = 0; i < 2; i++) OK(cribo_memory_bank_count(banks[i], &images[i], &objects[i]));
    if (images[0] != images[1] || objects[0] != objects[1]) return false;
    size_t n = (size_t)images[0], view = (size_t)(objects[0] * p.shape[1]);
    int64_t *counts = calloc(4 * n + 1, sizeof *counts);
    float *x = calloc(4 * view + 1, sizeof *x);
    for (size_t i = 0; i < 2; i++)
        OK(cribo_memory_bank_export(banks[i], counts + 2 * i * n, counts + (2 * i + 1) * n, x + 2 * i * view,
            x + (2 * i + 1) * view));
    bool same = same_numbers(x, 2 * view) && memcmp(counts, counts + 2 * n, 2 * n * sizeof *counts) == 0;
    free(counts);
    free(x);
    return same;
}

bool objective_same(cribo_objective *a, cribo_objective *b)
{
    int64_t count, steps[2];
    OK(cribo_objective_parameter_count(a, &count));
    for (int64_t i = 0; i < count; i++)
        if (!same_parameter(a, b, i)) return false;
    OK(cribo_objective_step_count(a, &steps[0]));
    OK(cribo_objective_step_count(b, &steps[1]));
    return steps[0] == steps[1] && same_centres(a, b) && same_banks(a, b);
}
