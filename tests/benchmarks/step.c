/*
 * The time of a training step, and its growth with the sizes: ViT-S/16 on views of 224², 32 clusters, 65 536
 * + 65 536 prototypes, 8 images a batch and a full bank of 1000 images, if no NAME=VALUE says otherwise.
 *
 *     step [NAME=VALUE...]           this step, with a trainer's settings or threads changed
 *     step growth [NAME=VALUE...]    and with one of them changed at a time
 *
 * Each line is measured in a separate process: medians of some steps after the first, and the largest
 * resident size.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* wait4 */
#endif
#include "need.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS 3

/* Uniform in -2 ... 2. */
static float *noise(uint64_t stream, size_t count)
{
    double *drawn = numbers(count, sizeof *drawn);
    float *x = numbers(count, sizeof *x);
    call(cribo_random_uniform(1, stream, 0, (int64_t)count, drawn));
    for (size_t i = 0; i < count; i++) x[i] = (float)(4 * drawn[i] - 2);
    free(drawn);
    return x;
}

/* --- the step --- */

typedef struct problem {
    cribo_trainer_config config;
    int64_t threads; /* 0: the CPUs */
} problem;

/* A setting of the trainer's, "threads", or "both_prototypes" for prototypes and object_prototypes. */
static void set(problem *p, const char *name, const char *value)
{
    if (strcmp(name, "threads") == 0) {
        p->threads = atoll(value);
    } else if (strcmp(name, "both_prototypes") == 0) {
        call(cribo_trainer_config_set(&p->config, "prototypes", value));
        call(cribo_trainer_config_set(&p->config, "object_prototypes", value));
    } else
        call(cribo_trainer_config_set(&p->config, name, value));
}

static void set_from(problem *p, const char *assignment)
{
    char name[64];
    const char *equals = strchr(assignment, '=');
    need(equals && (size_t)(equals - assignment) < sizeof name, "usage: step [growth] [NAME=VALUE...]");
    snprintf(name, sizeof name, "%.*s", (int)(equals - assignment), assignment);
    set(p, name, equals + 1);
}

/* The number of objects of an image is half the number of clusters. */
static void fill_bank(cribo_trainer *trainer, const cribo_trainer_config *c)
{
    int64_t each = c->clusters / 2 > 0 ? c->clusters / 2 : 1, images = c->bank_images;
    int64_t *counts = numbers((size_t)images, sizeof *counts);
    for (int64_t i = 0; i < images; i++) counts[i] = each;
    float *vectors = noise(2, (size_t)(images * each * c->width));
    cribo_object_batch objects = {.struct_size = sizeof objects,
        .images = images,
        .objects_per_image = counts,
        .view1 = vectors,
        .view2 = vectors};
    call(cribo_memory_bank_import(cribo_trainer_memory_bank(trainer), &objects));
    free(counts);
    free(vectors);
}

typedef struct batch {
    cribo_batch views;
    float *pixels;
    cribo_crop *crops;
} batch;

static batch make_batch(const cribo_trainer_config *c)
{
    size_t images = (size_t)c->batch_size, pixels = images * 3 * (size_t)(c->image_size * c->image_size);
    batch made = {.pixels = noise(3, 2 * pixels), .crops = numbers(2 * images, sizeof *made.crops)};
    for (size_t i = 0; i < 2 * images; i++)
        made.crops[i] = (cribo_crop){(double)(i % 7) * 10, 5, 200, 190, (int)(i % 2)};
    made.views = (cribo_batch){.struct_size = sizeof made.views,
        .images = c->batch_size,
        .view1 = made.pixels,
        .view2 = made.pixels + pixels,
        .crops1 = made.crops,
        .crops2 = made.crops + images};
    return made;
}

enum { STEP, TEACH, CLUSTER, MATCH, LEARN, UPDATE, TIMES };

typedef struct cost {
    double ms[TIMES];
    double objects; /* per image */
} cost;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static cost measure(const problem *p)
{
    cribo_runtime runtime;
    cribo_trainer *trainer;
    double ms[TIMES][STEPS];
    cost result = {{0}, 0};
    call(cribo_runtime_init(&runtime, sizeof runtime));
    runtime.threads = p->threads;
    call(cribo_trainer_create(&trainer, &p->config, &runtime));
    fill_bank(trainer, &p->config);
    batch made = make_batch(&p->config);
    for (int s = -1; s < STEPS; s++) {
        cribo_report r = {.struct_size = sizeof r};
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        call(cribo_trainer_step(trainer, &made.views, &r));
        clock_gettime(CLOCK_MONOTONIC, &end);
        if (s < 0) continue; /* it touches memory for the first time */
        double step =
            1e3 * (double)(end.tv_sec - begin.tv_sec) + 1e-6 * (double)(end.tv_nsec - begin.tv_nsec);
        double times[TIMES] = {
            step, r.teach_ms - r.cluster_ms - r.match_ms, r.cluster_ms, r.match_ms, r.learn_ms, r.update_ms};
        for (int t = 0; t < TIMES; t++) ms[t][s] = times[t];
        result.objects = r.objects_per_image;
    }
    for (int t = 0; t < TIMES; t++) {
        qsort(ms[t], STEPS, sizeof ms[t][0], ascending);
        result.ms[t] = ms[t][STEPS / 2];
    }
    free(made.pixels);
    free(made.crops);
    cribo_trainer_free(trainer);
    return result;
}

/* --- the table --- */

static void print_head(void)
{
    printf("%-26s %8s %8s %8s %8s %8s %8s %8s %8s %9s\n", "", "step,", "per", "teacher,", "cluster-", "bank",
        "learn,", "update,", "objects", "peak,");
    printf("%-26s %8s %8s %8s %8s %8s %8s %8s %8s %9s\n", "", "ms", "image", "objects", "ing", "search", "ms",
        "ms", "/ image", "MiB");
}

/* Measures in a child process, for separate figures of memory. */
static void print_line(const char *title, const problem *p)
{
    int ends[2], status;
    struct rusage usage;
    cost c;
    fflush(stdout);
    need(pipe(ends) == 0, "no pipe");
    pid_t child = fork();
    need(child >= 0, "no process");
    if (child == 0) {
        c = measure(p);
        _exit(write(ends[1], &c, sizeof c) == (ssize_t)sizeof c ? 0 : 1);
    }
    close(ends[1]);
    bool told = read(ends[0], &c, sizeof c) == (ssize_t)sizeof c;
    close(ends[0]);
    need(wait4(child, &status, 0, &usage) == child && told, title);
    printf("%-26s %8.0f %8.1f %8.0f %8.1f %8.1f %8.0f %8.1f %8.1f %9.0f\n", title, c.ms[STEP],
        c.ms[STEP] / (double)p->config.batch_size, c.ms[TEACH], c.ms[CLUSTER], c.ms[MATCH], c.ms[LEARN],
        c.ms[UPDATE], c.objects, (double)usage.ru_maxrss / 1024);
}

static const struct growth {
    const char *name, *values[5];
} growths[] = {{"batch_size", {"4", "16", "32"}}, {"image_size", {"112", "160", "320"}},
    {"clusters", {"8", "16", "64"}}, {"both_prototypes", {"16384", "131072", "262144"}},
    {"bank_images", {"5000", "25000"}}, {"micro_batch", {"1", "2", "8"}}, {"recompute", {"1"}},
    {"threads", {"1", "2", "4", "8", "16"}}};

static void print_growth(const problem *base)
{
    for (size_t g = 0; g < sizeof growths / sizeof growths[0]; g++)
        for (size_t v = 0; v < 5 && growths[g].values[v]; v++) {
            char title[64];
            problem p = *base;
            snprintf(title, sizeof title, "%s = %s", growths[g].name, growths[g].values[v]);
            set(&p, growths[g].name, growths[g].values[v]);
            if (p.threads <= sysconf(_SC_NPROCESSORS_ONLN)) print_line(title, &p);
        }
}

int main(int count, char **arguments)
{
    problem base = {.threads = 0};
    bool grow = count > 1 && strcmp(arguments[1], "growth") == 0;
    call(cribo_trainer_config_init(&base.config, sizeof base.config));
    base.config.batch_size = 8;
    base.config.bank_images = 1000;
    base.config.steps_per_epoch = 1;
    base.config.cross_image_epochs = base.config.freeze_last_layer_epochs = 0;
    for (int i = 1 + grow; i < count; i++) set_from(&base, arguments[i]);
    print_head();
    print_line("as given", &base);
    if (grow) print_growth(&base);
    return 0;
}
