/*
 * A step of several ranks under MPI: its time, CPU time, exchanged bytes and memory.
 *
 *     mpirun -n RANKS ranks STEPS [NAME=VALUE...]
 *
 * NAME is a setting of the trainer, `threads` (of a rank), or `preset`. Defaults: ViT-S/16 on views of 224²
 * with 65 536 + 65 536 prototypes, 16 images a batch, a bank of 1000 images, as many shards as ranks. The
 * views are noise. One step comes before the measured ones. Rank 0 prints one line:
 *
 *     ranks threads images | ms of a step, of its parts (medians) | CPU s of all ranks, MB sent by a rank,
 *     transfers begun by a rank, each in a step | greatest resident memory of a rank, and the estimate for
 *     one process, MiB
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* clock_gettime */
#endif
#include "cribo/mpi.h"
#include "need.h"

#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { STEP, TEACH, LEARN, UPDATE, TIMES, MAX_STEPS = 1000 };

/* --- what a rank sends --- */

typedef struct counted {
    cribo_communicator inner;
    double bytes, requests;
} counted;

static int count_send(void *context, int64_t peer, const void *data, size_t bytes, int64_t *request)
{
    counted *c = context;
    c->bytes += (double)bytes;
    c->requests++;
    return c->inner.send(c->inner.context, peer, data, bytes, request);
}

static int pass_receive(void *context, int64_t peer, void *data, size_t bytes, int64_t *request)
{
    const counted *c = context;
    return c->inner.receive(c->inner.context, peer, data, bytes, request);
}

static int pass_test(void *context, int64_t request)
{
    const counted *c = context;
    return c->inner.test(c->inner.context, request);
}

static void pass_cancel(void *context, int64_t request)
{
    const counted *c = context;
    c->inner.cancel(c->inner.context, request);
}

static cribo_communicator counting(counted *c)
{
    cribo_communicator outer = c->inner;
    outer.context = c;
    outer.send = count_send;
    outer.receive = pass_receive;
    outer.test = pass_test;
    outer.cancel = pass_cancel;
    return outer;
}

/* --- the batch of a rank --- */

static cribo_batch noise_of(const cribo_trainer_config *c, int64_t images, int64_t rank)
{
    size_t count = 2 * (size_t)images * 3 * (size_t)(c->image_size * c->image_size);
    double *drawn = numbers(count, sizeof *drawn);
    float *pixels = numbers(count, sizeof *pixels);
    cribo_crop *crops = numbers(2 * (size_t)images, sizeof *crops);
    call(cribo_random_uniform(1, 3, rank, (int64_t)count, drawn));
    for (size_t i = 0; i < count; i++) pixels[i] = (float)(4 * drawn[i] - 2);
    free(drawn);
    for (size_t i = 0; i < 2 * (size_t)images; i++)
        crops[i] = (cribo_crop){(double)(i % 7) * 10, 5, 200, 190, (int)(i % 2)};
    return (cribo_batch){.struct_size = sizeof(cribo_batch),
        .images = images,
        .view1 = pixels,
        .view2 = pixels + count / 2,
        .crops1 = crops,
        .crops2 = crops + images};
}

/* --- figures --- */

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

/* VmHWM, in MiB. */
static double peak_mib(void)
{
    char line[256];
    double kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) sscanf(line, "VmHWM: %lf", &kib);
    if (status) fclose(status);
    return kib / 1024;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

typedef struct figures {
    double ms[TIMES], cpu, megabytes, requests;
} figures;

static figures measure(cribo_trainer *trainer, const cribo_batch *batch, int steps, counted *sent)
{
    static double ms[TIMES][MAX_STEPS];
    figures f = {{0}, 0, 0, 0};
    double cpu = 0, bytes = 0, requests = 0;
    for (int s = -1; s < steps; s++) {
        cribo_report r = {.struct_size = sizeof r};
        double begin = seconds_now();
        call(cribo_trainer_step(trainer, batch, &r));
        if (s >= 0) {
            const double times[TIMES] = {1e3 * (seconds_now() - begin), r.teach_ms, r.learn_ms, r.update_ms};
            for (int t = 0; t < TIMES; t++) ms[t][s] = times[t];
            continue;
        }
        cpu = cpu_seconds(); /* the first step touches memory for the first time */
        bytes = sent->bytes, requests = sent->requests;
    }
    for (int t = 0; t < TIMES; t++) f.ms[t] = median(ms[t], (size_t)steps);
    f.cpu = (cpu_seconds() - cpu) / steps;
    f.megabytes = (sent->bytes - bytes) / steps / 1e6;
    f.requests = (sent->requests - requests) / steps;
    return f;
}

typedef struct problem {
    cribo_trainer_config config;
    cribo_runtime runtime;
} problem;

static void set_from(problem *p, const char *assignment)
{
    char name[64];
    const char *equals = strchr(assignment, '=');
    need(equals && (size_t)(equals - assignment) < sizeof name, "usage: ranks STEPS [NAME=VALUE...]");
    snprintf(name, sizeof name, "%.*s", (int)(equals - assignment), assignment);
    if (strcmp(name, "threads") == 0)
        p->runtime.threads = atoll(equals + 1);
    else if (strcmp(name, "preset") == 0)
        call(cribo_trainer_config_preset(&p->config, equals + 1));
    else
        call(cribo_trainer_config_set(&p->config, name, equals + 1));
}

static problem default_problem(int64_t ranks)
{
    problem p;
    call(cribo_trainer_config_init(&p.config, sizeof p.config));
    call(cribo_runtime_init(&p.runtime, sizeof p.runtime));
    p.config.batch_size = 16;
    p.config.bank_images = 1000;
    p.config.steps_per_epoch = 1000;
    p.config.cross_image_epochs = p.config.freeze_last_layer_epochs = 0;
    p.config.shards = ranks;
    p.runtime.threads = 1;
    return p;
}

int main(int count, char **arguments)
{
    counted sent = {{.struct_size = sizeof sent.inner}, 0, 0};
    cribo_mpi *mpi;
    cribo_trainer *trainer;
    int steps = count > 1 ? atoi(arguments[1]) : 0;
    int64_t estimate;
    need(steps > 0 && steps <= MAX_STEPS, "usage: ranks STEPS [NAME=VALUE...]");
    need(cribo_mpi_begin(&mpi, &sent.inner) == CRIBO_OK, "MPI does not start");
    const int64_t rank = sent.inner.rank, ranks = sent.inner.size;
    problem p = default_problem(ranks);
    for (int i = 2; i < count; i++) set_from(&p, arguments[i]);
    call(cribo_trainer_memory(&p.config, &p.runtime, &estimate));
    cribo_communicator communicator = counting(&sent);
    call(cribo_trainer_create_distributed(&trainer, &p.config, &p.runtime, &communicator));
    int64_t images = p.config.batch_size * (rank + 1) / ranks - p.config.batch_size * rank / ranks;
    cribo_batch batch = noise_of(&p.config, images, rank);
    figures f = measure(trainer, &batch, steps, &sent);
    double own[2] = {f.cpu, peak_mib()}, cpu = own[0], peak = own[1];
    MPI_Reduce(&own[0], &cpu, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    MPI_Reduce(&own[1], &peak, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    if (rank == 0)
        printf("%lld %lld %lld | %.1f %.1f %.1f %.1f | %.2f %.2f %.0f | %.0f %.0f\n", (long long)ranks,
            (long long)p.runtime.threads, (long long)p.config.batch_size, f.ms[STEP], f.ms[TEACH],
            f.ms[LEARN], f.ms[UPDATE], cpu, f.megabytes, f.requests, peak, (double)estimate / (1 << 20));
    cribo_trainer_free(trainer);
    free((void *)batch.view1);
    free((void *)batch.crops1);
    cribo_mpi_end(mpi);
    return 0;
}
