/*
 * A training step allocates nothing: neither through the runtime's hooks nor, behind them, from the C
 * library, which BLIS and the library's other dependencies use. Sanitizers replace malloc; with them only the
 * hooks are counted.
 *
 * One allocation cannot be avoided: a BLIS that was built with OpenMP opens a parallel region of one thread
 * for every product, for which GNU's OpenMP runtime allocates and releases about 1.5 KB. Allocations of that
 * runtime are not counted.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strdup, dladdr */
#endif
#include "support/faulty.h"
#include "support/suite.h"
#include "support/training.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define OWN_MALLOC 0
#endif
#endif
#if !defined(OWN_MALLOC) && defined(__GLIBC__)
#define OWN_MALLOC 1
#endif

static atomic_size_t calls;

#if OWN_MALLOC
/* These take the place of the C library's for the whole program. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static void count(const void *caller)
{
    Dl_info from;
    if (dladdr(caller, &from) && from.dli_fname && strstr(from.dli_fname, "libgomp")) return;
    atomic_fetch_add(&calls, 1);
}

void *malloc(size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t size)
{
    count(__builtin_return_address(0));
    return __libc_calloc(n, size);
}

void *realloc(void *memory, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, bytes);
}

void *memalign(size_t alignment, size_t bytes);
void *memalign(size_t alignment, size_t bytes)
{
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes);
int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    count(__builtin_return_address(0));
    *out = __libc_memalign(alignment, bytes);
    return *out ? 0 : ENOMEM;
}
#endif

typedef struct counted_run {
    cribo_trainer *trainer;
    const cribo_batch *batches; /* [3] */
    faulty memory;
    size_t hooked, hidden; /* allocations during the steps */
    int failed;
} counted_run;

static void *count_steps(void *context)
{
    counted_run *run = context;
    cribo_report report = {.struct_size = sizeof report};
    size_t hooked = run->memory.calls, hidden = atomic_load(&calls);
    for (int i = 0; i < 3; i++)
        run->failed += cribo_trainer_step(run->trainer, &run->batches[i], &report) != CRIBO_OK;
    run->hooked = run->memory.calls - hooked;
    run->hidden = atomic_load(&calls) - hidden;
    return NULL;
}

static cribo_trainer *begin(counted_run *run, const cribo_trainer_config *config, int64_t threads)
{
    cribo_runtime runtime = training_runtime(threads);
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = &run->memory;
    OK(cribo_trainer_create(&run->trainer, config, &runtime));
    return run->trainer;
}

/* Settings by the bits of `number`; every step of another kind. */
static cribo_trainer_config config_of(int number)
{
    cribo_trainer_config c = training_config();
    c.hard_assignment = number & 1;
    c.batch_cost = number >> 1 & 1;
    c.micro_batch = number & 4 ? 5 : 1;
    if (number & 8) {
        c.frozen_blocks = 2;
        c.heads_only_steps = 1;
        c.registers = 2;
        c.layer_scale = 0.1;
        c.mlp = CRIBO_MLP_SWIGLU;
        c.position_embedding = CRIBO_POSITIONS_ROPE;
        c.qkv_bias = CRIBO_QKV_BIAS_NO_KEY;
    }
    return c;
}

START_TEST(test_allocations_of_a_step_are_none)
{
    cribo_trainer_config c = config_of(_i);
    training_batch made[3];
    cribo_batch batches[3];
    for (int i = 0; i < 3; i++) {
        made[i] = training_batch_of(&c, 5 - i, (uint64_t)i);
        batches[i] = made[i].batch;
    }
    for (int64_t threads = 1; threads <= 3; threads++) {
        counted_run run = {.batches = batches};
        begin(&run, &c, threads);
        ck_assert_uint_gt(run.memory.calls, 0);
        count_steps(&run);
        ck_assert_int_eq(run.failed, 0);
        ck_assert_msg(run.hooked == 0, "%zu allocations through the hooks", run.hooked);
        ck_assert_msg(run.hidden == 0, "%zu allocations past the hooks", run.hidden);
        cribo_trainer_free(run.trainer);
        ck_assert_uint_eq(run.memory.held, 0);
    }
    for (int i = 0; i < 3; i++) training_batch_free(&made[i]);
}
END_TEST

/* The caller's thread is new to the library and to BLIS. */
START_TEST(test_allocations_of_a_step_in_a_new_thread_are_none)
{
    cribo_trainer_config c = config_of(_i);
    training_batch made = training_batch_of(&c, 5, 0);
    const cribo_batch batches[3] = {made.batch, made.batch, made.batch};
    counted_run run = {.batches = batches};
    pthread_t thread;
    begin(&run, &c, 2);
    int refused = pthread_create(&thread, NULL, count_steps, &run) !=
                  0; /* an assertion here would allocate meanwhile */
    if (!refused) pthread_join(thread, NULL);
    ck_assert_int_eq(refused, 0);
    ck_assert_int_eq(run.failed, 0);
    ck_assert_uint_eq(run.hooked, 0);
    ck_assert_uint_eq(run.hidden, 0);
    cribo_trainer_free(run.trainer);
    training_batch_free(&made);
}
END_TEST

/* Nor does a call that fails. */
START_TEST(test_allocations_of_a_failing_step_are_none)
{
    cribo_trainer_config c = config_of(0);
    training_batch made = training_batch_of(&c, 5, 0);
    counted_run run = {0};
    begin(&run, &c, 2);
    size_t hooked = run.memory.calls, hidden = atomic_load(&calls);
    cribo_status first = cribo_trainer_step(run.trainer, NULL, NULL);
    made.pixels[7] = made.pixels[7] / 0.f;
    cribo_status second = cribo_trainer_step(run.trainer, &made.batch, NULL);
    hidden = atomic_load(&calls) - hidden;
    ck_assert_uint_eq(run.memory.calls, hooked);
    ck_assert_uint_eq(hidden, 0);
    ck_assert_int_eq(first, CRIBO_INVALID_ARGUMENT);
    ck_assert_int_eq(second, CRIBO_INVALID_ARGUMENT);
    cribo_trainer_free(run.trainer);
    training_batch_free(&made);
}
END_TEST

#if OWN_MALLOC
START_TEST(test_allocations_are_counted_at_all)
{
    size_t before = atomic_load(&calls);
    char *volatile copy = strdup("by the C library itself");
    ck_assert_uint_gt(atomic_load(&calls), before);
    free(copy);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("allocations");
    TCase *tests = tcase_create("allocations");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, test_allocations_of_a_step_are_none, 0, 16);
    tcase_add_loop_test(tests, test_allocations_of_a_step_in_a_new_thread_are_none, 0, 2);
    tcase_add_test(tests, test_allocations_of_a_failing_step_are_none);
#if OWN_MALLOC
    tcase_add_test(tests, test_allocations_are_counted_at_all);
#endif
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
