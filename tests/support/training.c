/* Training runs for the tests. See training.h. */
#include "support/training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cribo_trainer_config training_config(void)
{
    cribo_trainer_config c;
    OK(cribo_trainer_config_init(&c, sizeof c));
    c.image_size = 24;
    c.patch_size = 8;
    c.width = 16;
    c.depth = 3;
    c.heads = 2;
    c.mlp_ratio = 2;
    c.drop_path = 0.3;
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

void training_set(cribo_trainer_config *config, const char *settings)
{
    char name[64], value[64];
    int length;
    for (const char *at = settings; sscanf(at, " %63[^=]=%63s%n", name, value, &length) == 2; at += length)
        OK(cribo_trainer_config_set(config, name, value));
}

cribo_runtime training_runtime(int64_t threads)
{
    cribo_runtime runtime;
    OK(cribo_runtime_init(&runtime, sizeof runtime));
    runtime.threads = threads;
    return runtime;
}

cribo_trainer *training_begin(const cribo_trainer_config *config, int64_t threads)
{
    cribo_trainer *trainer;
    cribo_runtime runtime = training_runtime(threads);
    OK(cribo_trainer_create(&trainer, config, &runtime));
    return trainer;
}

/* `count` uniform numbers that belong to (number, index); the caller frees them. */
static double *draw(uint64_t number, uint64_t index, size_t count)
{
    double *values = calloc(count, sizeof *values);
    ck_assert_ptr_nonnull(values);
    OK(cribo_random_uniform(number, 1, index, count, values));
    return values;
}

static void paint(const cribo_trainer_config *c, float *view, uint64_t number, uint64_t image, uint64_t v)
{
    size_t side = (size_t)c->image_size, patch = (size_t)c->patch_size, grid = side / patch;
    double *colours = draw(number, 4 * image, 3 * grid * grid),
           *noise = draw(number, 4 * image + 1 + v, 3 * side * side);
    for (size_t channel = 0; channel < 3; channel++)
        for (size_t y = 0; y < side; y++)
            for (size_t x = 0; x < side; x++) {
                size_t at = (channel * side + y) * side + x;
                double colour = colours[(channel * grid + y / patch) * grid + x / patch];
                view[at] = (float)(4 * colour - 2 + 0.3 * noise[at]);
            }
    free(colours);
    free(noise);
}

static cribo_crop crop_of(uint64_t number, uint64_t image, uint64_t v)
{
    double *u = draw(number, 4 * image + 3, 4);
    cribo_crop crop = {20 * u[0] + 3 * (double)v, 20 * u[1], 40 + 20 * u[2], 40 + 20 * u[3] + (double)v, 0};
    free(u);
    return crop;
}

/* Noise around a colour for each crop. */
static void make_local_crops(const cribo_trainer_config *c, training_batch *made, uint64_t number)
{
    size_t side = (size_t)c->local_size, crop = 3 * side * side,
           crops = (size_t)(made->batch.images * c->local_crops);
    if (c->local_crops == 0) return;
    made->local = calloc(crops * crop, sizeof *made->local);
    ck_assert_ptr_nonnull(made->local);
    for (size_t i = 0; i < crops; i++) {
        double *u = draw(number, 1000000 + i, crop + 3);
        for (size_t j = 0; j < crop; j++)
            made->local[i * crop + j] = (float)(4 * u[j / (side * side)] - 2 + 0.3 * u[3 + j]);
        free(u);
    }
    made->batch.local_views = made->local;
}

training_batch training_batch_of(const cribo_trainer_config *config, int64_t images, uint64_t number)
{
    size_t b = (size_t)images, view = 3 * (size_t)config->image_size * (size_t)config->image_size;
    training_batch made = {
        .pixels = calloc(2 * b * view, sizeof(float)), .crops = calloc(2 * b, sizeof(cribo_crop))};
    ck_assert(made.pixels && made.crops);
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < b; i++) {
            paint(config, made.pixels + (v * b + i) * view, number, i, v);
            made.crops[v * b + i] = crop_of(number, i, v);
        }
    made.batch = (cribo_batch){.struct_size = sizeof(cribo_batch),
        .images = images,
        .view1 = made.pixels,
        .view2 = made.pixels + b * view,
        .crops1 = made.crops,
        .crops2 = made.crops + b};
    make_local_crops(config, &made, number);
    return made;
}

void training_batch_free(training_batch *batch)
{
    free(batch->local);
    free(batch->pixels);
    free(batch->crops);
    *batch = (training_batch){0};
}

double training_step(cribo_trainer *trainer, const cribo_trainer_config *config, uint64_t number)
{
    training_batch batch = training_batch_of(config, config->batch_size, number);
    cribo_report report = {.struct_size = sizeof report};
    OK(cribo_trainer_step(trainer, &batch.batch, &report));
    training_batch_free(&batch);
    return report.loss;
}

void training_steps(cribo_trainer *trainer, const cribo_trainer_config *config, int steps)
{
    for (int i = 0; i < steps; i++) training_step(trainer, config, (uint64_t)i);
}

/* --- state --- */

static void *grow(training_state *state, size_t bytes)
{
    state->bytes = realloc(state->bytes, state->count + bytes);
    ck_assert_ptr_nonnull(state->bytes);
    memset(state->bytes + state->count, 0, bytes);
    state->count += bytes;
    return state->bytes + state->count - bytes;
}

static void append(training_state *state, const void *bytes, size_t count)
{
    memcpy(grow(state, count), bytes, count);
}

static void append_parameter(training_state *state, cribo_trainer *trainer, const cribo_parameter *p)
{
    int64_t updates = 0;
    size_t n = (size_t)p->count;
    float *values = calloc(n, 4 * sizeof *values);
    ck_assert_ptr_nonnull(values);
    OK(cribo_model_read_parameter(cribo_trainer_student(trainer), p->name, values, p->count));
    OK(cribo_model_read_parameter(cribo_trainer_teacher(trainer), p->name, values + n, p->count));
    OK(cribo_trainer_moments(trainer, p->name, values + 2 * n, values + 3 * n, p->count, &updates));
    append(state, values, 4 * n * sizeof *values);
    append(state, &updates, sizeof updates);
    free(values);
}

static void append_centres(training_state *state, cribo_trainer *trainer)
{
    cribo_parameter p = {.struct_size = sizeof p}, q = p;
    OK(cribo_model_find_parameter(cribo_trainer_student(trainer), "head.last_layer.weight_g", &p));
    OK(cribo_model_find_parameter(cribo_trainer_student(trainer), "head.last_layer_c.weight_g", &q));
    float *centres = calloc((size_t)(p.count + q.count), sizeof *centres);
    ck_assert_ptr_nonnull(centres);
    OK(cribo_trainer_get_centres(trainer, centres, centres + p.count));
    append(state, centres, (size_t)(p.count + q.count) * sizeof *centres);
    free(centres);
}

static size_t width_of(cribo_trainer *trainer)
{
    cribo_parameter p = {.struct_size = sizeof p};
    OK(cribo_model_find_parameter(cribo_trainer_student(trainer), "backbone.norm.weight", &p));
    return (size_t)p.count;
}

typedef struct bank_content {
    int64_t images, objects;
    int64_t *counts, *ids;
    float *views; /* [2, objects, D] */
    size_t view;
} bank_content;

static bank_content bank_of(cribo_trainer *trainer)
{
    bank_content b = {0};
    cribo_memory_bank *bank = cribo_trainer_memory_bank(trainer);
    OK(cribo_memory_bank_count(bank, &b.images, &b.objects));
    b.view = (size_t)b.objects * width_of(trainer);
    b.counts = calloc(2 * (size_t)b.images + 1, sizeof *b.counts);
    b.ids = b.counts + b.images;
    b.views = calloc(2 * b.view + 1, sizeof *b.views);
    ck_assert(b.counts && b.views);
    OK(cribo_memory_bank_export(bank, b.counts, b.ids, b.views, b.views + b.view));
    return b;
}

static void bank_content_free(bank_content *b)
{
    free(b->counts);
    free(b->views);
}

training_state training_state_of(cribo_trainer *trainer)
{
    training_state state = {0};
    cribo_parameter p;
    int64_t steps;
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) append_parameter(&state, trainer, &p);
    append_centres(&state, trainer);
    bank_content bank = bank_of(trainer);
    append(&state, bank.counts, 2 * (size_t)bank.images * sizeof *bank.counts);
    append(&state, bank.views, 2 * bank.view * sizeof *bank.views);
    bank_content_free(&bank);
    OK(cribo_trainer_step_count(trainer, &steps));
    append(&state, &steps, sizeof steps);
    return state;
}

void training_state_free(training_state *state)
{
    free(state->bytes);
    *state = (training_state){0};
}

bool training_state_equal(const training_state *a, const training_state *b)
{
    return a->count == b->count && memcmp(a->bytes, b->bytes, a->count) == 0;
}

bool training_same(cribo_trainer *a, cribo_trainer *b)
{
    training_state x = training_state_of(a), y = training_state_of(b);
    bool same = training_state_equal(&x, &y);
    training_state_free(&x);
    training_state_free(&y);
    return same;
}

void training_copy_bank(cribo_trainer *from, cribo_trainer *to)
{
    bank_content bank = bank_of(from);
    cribo_object_batch objects = {.struct_size = sizeof objects,
        .images = bank.images,
        .objects_per_image = bank.counts,
        .view1 = bank.views,
        .view2 = bank.views + bank.view,
        .ids = bank.ids};
    OK(cribo_memory_bank_import(cribo_trainer_memory_bank(to), &objects));
    bank_content_free(&bank);
}

bool training_parameter(cribo_trainer *trainer, int64_t index, cribo_parameter *parameter)
{
    int64_t count;
    OK(cribo_model_parameter_count(cribo_trainer_student(trainer), &count));
    if (index >= count) return false;
    *parameter = (cribo_parameter){.struct_size = sizeof *parameter};
    OK(cribo_model_parameter(cribo_trainer_student(trainer), index, parameter));
    return true;
}
