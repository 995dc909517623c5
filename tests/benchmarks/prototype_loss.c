/*
 * The streamed loss at the published sizes: the [CLS] and object rows of one image (2, 40), of a micro-batch
 * of four (8, 160) and of eight (16, 350) over 65 536 prototypes of width 256. Prints the time of each, and
 * the rate of the necessary products as a share of the rate of one large product. The remaining time is spent
 * on the sweeps over the logits, on logits that are computed again, and with few rows on reading the weights.
 */
#include "distillation/prototype_loss.h"
#include "base/random.h"
#include "tensor/gemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PROTOTYPES ((size_t)65536)
#define WIDTH ((size_t)256)
#define REPETITIONS 5

static double seconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static cb_real *random_reals(size_t n, uint64_t index, double deviation)
{
    cb_real *values = malloc(n * sizeof *values);
    cb_random random = cb_random_begin(1, CB_PURPOSE_CALLER, 0, index);
    for (size_t i = 0; i < n; i++) values[i] = (cb_real)(deviation * cb_random_normal(&random));
    return values;
}

static cb_prototypes random_prototypes(cb_pool *pool, uint64_t index)
{
    cb_real *gain = malloc(PROTOTYPES * sizeof *gain);
    for (size_t p = 0; p < PROTOTYPES; p++) gain[p] = 1;
    cb_prototypes result = {PROTOTYPES, WIDTH, random_reals(PROTOTYPES * WIDTH, index, 1), gain,
        malloc(PROTOTYPES * sizeof(cb_real)), false};
    cb_prototypes_refresh(pool, &result);
    return result;
}

static void free_prototypes(cb_prototypes *prototypes)
{
    free((cb_real *)prototypes->direction);
    free((cb_real *)prototypes->gain);
    free(prototypes->scale);
}

/* The best rate of a large product, in FLOP/s. */
static double peak_rate(cb_pool *pool)
{
    const size_t m = 1024, n = 4096, k = WIDTH;
    cb_real *a = random_reals(m * k, 5, 1), *b = random_reals(n * k, 6, 1), *c = calloc(m * n, sizeof *c);
    double best = 1e9;
    for (int i = 0; i < 2 * REPETITIONS; i++) {
        double begin = seconds();
        cb_gemm(pool,
            &(cb_gemm_job){CB_NT, m, n, k, cb_gemm_real(a, k), cb_gemm_real(b, k), {c, n, false}, false});
        double taken = seconds() - begin;
        if (taken < best) best = taken;
    }
    free(a);
    free(b);
    free(c);
    return 2.0 * (double)(m * n * k) / best;
}

static double best_time(cb_pool *pool, cb_prototype_job *job, const cb_prototype_workspace *work)
{
    double best = 1e9;
    for (int i = 0; i < REPETITIONS; i++) {
        double begin = seconds();
        cb_prototype_loss(pool, job, work);
        double taken = seconds() - begin;
        if (taken < best) best = taken;
    }
    return best;
}

/* `rows` student rows and the same number of teacher rows; each student row has two targets. */
static int measure(cb_pool *pool, const cb_prototypes *student, const cb_prototypes *teacher, size_t rows,
    bool frozen, double peak)
{
    const cb_allocator allocator = {0};
    cb_arena measured = cb_arena_measure(), arena;
    (void)cb_prototype_workspace_take(&measured, rows, rows, PROTOTYPES, 0);
    if (cb_arena_create(&allocator, &arena, measured.peak, "workspace") != CRIBO_OK) return 1;
    cb_prototype_workspace work = cb_prototype_workspace_take(&arena, rows, rows, PROTOTYPES, 0);
    cb_row_targets *targets = malloc(rows * sizeof *targets);
    for (size_t r = 0; r < rows; r++)
        targets[r] =
            (cb_row_targets){{(uint32_t)(rows - 1 - r), (uint32_t)r}, {1 / (cb_real)rows, 1 / (cb_real)rows}};
    cb_real *x = random_reals(rows * WIDTH, 7, 1.0 / 16),
            *teacher_x = random_reals(rows * WIDTH, 8, 1.0 / 16);
    cb_real *centre = calloc(PROTOTYPES, sizeof *centre), *dx = malloc(rows * WIDTH * sizeof *dx);
    cb_real *du = frozen ? NULL : calloc(PROTOTYPES * WIDTH, sizeof *du);
    cb_prototype_job job = {.student = student,
        .teacher = teacher,
        .centre = centre,
        .student_temperature = (cb_real)0.1,
        .teacher_temperature = (cb_real)0.07,
        .rows = rows,
        .x = x,
        .targets = targets,
        .teacher_rows = rows,
        .teacher_x = teacher_x,
        .dx = dx,
        .du = du};

    double taken = best_time(pool, &job, &work);
    double once = 2.0 * (double)(rows * PROTOTYPES * WIDTH);
    double done =
        once * (frozen ? 3 : 4); /* what the workspace had no room for is multiplied again: not counted */
    printf("%4zu rows%s: %7.1f ms, workspace %5.1f MiB, ", rows, frozen ? " (frozen)" : "", 1e3 * taken,
        (double)measured.peak / 1048576);
    printf("products %5.1f GFLOP at %4.0f GFLOP/s = %2.0f %% of peak, loss %.6f\n", 1e-9 * done,
        1e-9 * done / taken, 100 * done / taken / peak, job.loss[0] + job.loss[1]);
    free(targets);
    free(x);
    free(teacher_x);
    free(centre);
    free(dx);
    free(du);
    cb_arena_destroy(&allocator, &arena);
    return 0;
}

int main(int count, char **arguments)
{
    const cb_allocator allocator = {0};
    cb_pool *pool;
    if (cb_pool_create(&allocator, &pool, count > 1 ? strtoul(arguments[1], NULL, 10) : 0) != CRIBO_OK)
        return 1;
    cb_prototypes student = random_prototypes(pool, 2), teacher = random_prototypes(pool, 3);
    double peak = peak_rate(pool);
    printf("%zu threads, large product %.0f GFLOP/s\n", cb_pool_threads(pool), 1e-9 * peak);
    int failed = measure(pool, &student, &teacher, 2, false, peak) ||
                 measure(pool, &student, &teacher, 40, false, peak) ||
                 measure(pool, &student, &teacher, 8, false, peak) ||
                 measure(pool, &student, &teacher, 160, false, peak) ||
                 measure(pool, &student, &teacher, 16, false, peak) ||
                 measure(pool, &student, &teacher, 350, false, peak) ||
                 measure(pool, &student, &teacher, 350, true, peak);
    free_prototypes(&student);
    free_prototypes(&teacher);
    cb_pool_free(pool);
    return failed;
}
