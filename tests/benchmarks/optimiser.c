/*
 * The optimiser's sweeps over parameters that no cache holds, as shares of the copying bandwidth: measuring
 * reads the gradients, updating reads five arrays and writes four of them, in one sweep for clipping, AdamW
 * and the teacher's average.
 *
 *   benchmark_optimiser [millions of parameters]
 */
#include "ceilings.h"
#include "training/optimiser.h"

#include <stdlib.h>
#include <string.h>

typedef struct problem {
    cb_parameters student;
    cb_parameter parameter;
    cb_optimiser optimiser;
    cb_real *teacher;
} problem;

static cb_real *numbers(size_t count)
{
    cb_real *x = malloc(count * sizeof *x);
    if (!x) exit(1);
    for (size_t i = 0; i < count; i++) x[i] = (cb_real)0.001 * (cb_real)(i % 7) - (cb_real)0.003;
    return x;
}

static void copy_part(void *context, size_t part, size_t worker)
{
    const problem *p = context;
    cb_range range = cb_part(p->student.total, part, cb_pool_threads(workers), 1);
    (void)worker;
    memcpy(p->optimiser.first + range.begin, p->optimiser.second + range.begin,
        (range.end - range.begin) * sizeof(cb_real));
}

static void copy(void *context)
{
    cb_pool_run(workers, cb_pool_threads(workers), copy_part, context);
}

static void measure(void *context)
{
    problem *p = context;
    double norm;
    if (cb_optimiser_measure(&p->optimiser, workers, (cb_frozen_parts){0}, &norm) != CRIBO_OK) abort();
}

static void update(void *context)
{
    static const cb_optimiser_step step = {1e-4, 0.04, 0.996, 3, false, {0}};
    problem *p = context;
    cb_optimiser_update(&p->optimiser, workers, &step);
}

int main(int count, char **arguments)
{
    size_t total = (count > 1 ? strtoull(arguments[1], NULL, 10) : 16) * 1000000,
           most = cb_pool_default_threads();
    printf("%s\n", cribo_build_info());
    for (size_t threads = 1; threads <= most; threads = threads < most ? most : most + 1) {
        cribo_runtime hooks;
        cb_runtime runtime;
        if (cribo_runtime_init(&hooks, sizeof hooks) != CRIBO_OK) return 1;
        hooks.threads = (int64_t)threads;
        if (cb_runtime_begin(&runtime, &hooks) != CRIBO_OK) return 1;
        workers = runtime.pool;
        problem p = {
            .parameter = {.axes = 1, .shape = {total}, .count = total, .decays = true, .group = {.rate = 1}},
            .teacher = numbers(total)};
        p.student = (cb_parameters){.list = &p.parameter,
            .count = 1,
            .total = total,
            .values = numbers(total),
            .gradients = numbers(total)};
        if (cb_optimiser_create(&runtime, &p.optimiser, &p.student, p.teacher, NULL) != CRIBO_OK) return 1;
        const double bytes = (double)(total * sizeof(cb_real));
        const ceiling bandwidth = {copy, &p, 2 * bytes, "GB/s"};
        printf("%zu thread%s, %zu parameters:\n", threads, threads == 1 ? "" : "s", total);
        report("measure", measure, &p, bytes, &bandwidth);
        report("update", update, &p, 9 * bytes, &bandwidth);
        cb_optimiser_free(&runtime, &p.optimiser);
        free(p.student.values);
        free(p.student.gradients);
        free(p.teacher);
        cb_runtime_end(&runtime);
    }
    return 0;
}
