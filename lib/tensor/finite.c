/* Finds numbers that are not finite. See finite.h. */
#include "tensor/finite.h"

#include <stdatomic.h>

/*
 * x - x is zero for a number, and NaN for an infinity or a NaN. No early exit: the loop is one sweep of
 * vectors.
 */
static bool all_finite(const cb_real *x, size_t n)
{
    int strange = 0;
    for (size_t i = 0; i < n; i++) strange |= x[i] - x[i] != 0;
    return !strange;
}

size_t cb_first_not_finite(const cb_real *x, size_t n)
{
    enum { STRETCH = 4096 };
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        size_t length = n - begin < STRETCH ? n - begin : STRETCH;
        if (all_finite(x + begin, length)) continue;
        while (x[begin] - x[begin] == 0) begin++;
        return begin;
    }
    return n;
}

enum { PART = 1 << 16 }; /* numbers of a task */

typedef struct finite_job {
    const cb_real *x;
    size_t n;
    atomic_size_t first;
} finite_job;

static void check_part(void *context, size_t task, size_t worker)
{
    finite_job *job = context;
    const size_t begin = task * PART, length = job->n - begin < PART ? job->n - begin : PART;
    size_t seen = atomic_load_explicit(&job->first, memory_order_relaxed);
    (void)worker;
    if (seen < begin) return;
    const size_t place = cb_first_not_finite(job->x + begin, length);
    if (place == length) return;
    while (begin + place < seen && !atomic_compare_exchange_weak(&job->first, &seen, begin + place)) {
    }
}

size_t cb_pool_first_not_finite(cb_pool *pool, const cb_real *x, size_t n)
{
    finite_job job = {.x = x, .n = n};
    atomic_init(&job.first, n);
    cb_pool_run(pool, (n + PART - 1) / PART, check_part, &job);
    return atomic_load(&job.first);
}
