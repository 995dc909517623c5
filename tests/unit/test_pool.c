/* The thread pool: every task once, on any number of threads, and after a fork. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_setaffinity */
#endif
#include "base/pool.h"
#include "support/faulty.h"
#include "support/suite.h"

#include <check.h>
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_TASKS 5000

static const cb_allocator plain = {0};

typedef struct count {
    atomic_int runs[MOST_TASKS];
    atomic_size_t largest_worker;
    size_t threads;
} count;

static count counted;

static void count_task(void *context, size_t task, size_t worker)
{
    count *c = context;
    atomic_fetch_add(&c->runs[task], 1);
    size_t largest = atomic_load(&c->largest_worker);
    while (worker > largest && !atomic_compare_exchange_weak(&c->largest_worker, &largest, worker)) {
    }
}

static bool each_once(cb_pool *pool, size_t tasks)
{
    memset(&counted, 0, sizeof counted);
    cb_pool_run(pool, tasks, count_task, &counted);
    for (size_t i = 0; i < MOST_TASKS; i++)
        if (atomic_load(&counted.runs[i]) != (i < tasks)) return false;
    return atomic_load(&counted.largest_worker) < cb_pool_threads(pool);
}

START_TEST(test_pool_any_threads_each_task_once)
{
    const size_t threads[] = {1, 2, 3, 16, CB_POOL_MOST_THREADS}, tasks[] = {0, 1, 2, 3, 17, MOST_TASKS};
    cb_pool *pool;
    ck_assert_int_eq(cb_pool_create(&plain, &pool, threads[_i]), CRIBO_OK);
    ck_assert_uint_eq(cb_pool_threads(pool), threads[_i]);
    for (int repeat = 0; repeat < 20; repeat++)
        for (int i = 0; i < 6; i++) ck_assert(each_once(pool, tasks[i]));
    cb_pool_free(pool);
}
END_TEST

START_TEST(test_pool_null_caller_alone)
{
    ck_assert_uint_eq(cb_pool_threads(NULL), 1);
    ck_assert(each_once(NULL, 100));
    ck_assert_uint_eq(atomic_load(&counted.largest_worker), 0);
    cb_pool_free(NULL);
}
END_TEST

/* Inside a task, work runs without a pool. */
static void nest(void *context, size_t task, size_t worker)
{
    (void)worker;
    count *c = context;
    for (size_t i = 0; i < 10; i++) count_task(c, 10 * task + i, 0);
    cb_pool_run(NULL, 10, count_task, c);
}

START_TEST(test_pool_nested_without_pool_runs)
{
    cb_pool *pool;
    memset(&counted, 0, sizeof counted);
    ck_assert_int_eq(cb_pool_create(&plain, &pool, 4), CRIBO_OK);
    cb_pool_run(pool, 50, nest, &counted);
    for (size_t i = 0; i < 500; i++) ck_assert_int_eq(atomic_load(&counted.runs[i]), 1 + (i < 10 ? 50 : 0));
    cb_pool_free(pool);
}
END_TEST

/* All workers must be at work at once, or this never ends. */
static void meet(void *context, size_t task, size_t worker)
{
    count *c = context;
    (void)task, (void)worker;
    atomic_fetch_add(&c->runs[0], 1);
    while (atomic_load(&c->runs[0]) < (int)c->threads) sched_yield();
}

START_TEST(test_pool_tasks_run_at_once)
{
    cb_pool *pool;
    memset(&counted, 0, sizeof counted);
    counted.threads = 7;
    ck_assert_int_eq(cb_pool_create(&plain, &pool, 7), CRIBO_OK);
    cb_pool_run(pool, 7, meet, &counted);
    ck_assert_int_eq(atomic_load(&counted.runs[0]), 7);
    cb_pool_free(pool);
}
END_TEST

static void compare_rounding(void *context, size_t task, size_t worker)
{
    meet(&counted, task, worker);
    if (fegetround() != *(const int *)context) atomic_fetch_add(&counted.runs[1], 1);
}

static void leave(int number)
{
    (void)number;
    _exit(77);
}

static void fault_in_helper(void *context, size_t task, size_t worker)
{
    meet(&counted, task, worker);
    if (worker > 0) pthread_kill(pthread_self(), *(const int *)context);
}

/* Otherwise a result would depend on the thread. */
START_TEST(test_pool_helpers_round_as_their_caller)
{
    const int modes[] = {FE_UPWARD, FE_TONEAREST};
    cb_pool *pool;
    ck_assert_int_eq(cb_pool_create(&plain, &pool, 4), CRIBO_OK);
    for (int i = 0; i < 2; i++) {
        memset(&counted, 0, sizeof counted);
        counted.threads = 4;
        fesetround(modes[i]);
        cb_pool_run(pool, 4, compare_rounding, (void *)&modes[i]);
        ck_assert_int_eq(fegetround(), modes[i]);
        ck_assert_int_eq(atomic_load(&counted.runs[1]), 0);
    }
    cb_pool_free(pool);
}
END_TEST

/* A crash in a helper is the program's to handle. */
START_TEST(test_pool_helpers_take_their_own_faults)
{
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (int i = 0; i < 4; i++) {
        pid_t child = fork();
        if (child == 0) {
            struct sigaction action = {.sa_handler = leave};
            cb_pool *pool;
            memset(&counted, 0, sizeof counted);
            counted.threads = 2;
            sigaction(faults[i], &action, NULL);
            if (cb_pool_create(&plain, &pool, 2) == CRIBO_OK)
                cb_pool_run(pool, 2, fault_in_helper, (void *)&faults[i]);
            _exit(1);
        }
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 77);
    }
}
END_TEST

START_TEST(test_pool_forked_child_works)
{
#ifdef __SANITIZE_THREAD__
    return; /* gcc's thread sanitizer takes the child's new threads for the parent's old ones */
#endif
    cb_pool *pool;
    ck_assert_int_eq(cb_pool_create(&plain, &pool, 3), CRIBO_OK);
    ck_assert(each_once(pool, 100));
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        bool good = each_once(pool, 100) && each_once(pool, 1000);
        cb_pool_free(pool);
        _exit(good ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);

    child = fork(); /* freed unused */
    if (child == 0) {
        alarm(20);
        cb_pool_free(pool);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert(each_once(pool, 100));
    cb_pool_free(pool);
}
END_TEST

static atomic_int signals;

static void on_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

START_TEST(test_pool_signals_reach_only_the_program)
{
    cb_pool *pool;
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t mask, before;
    sigaction(SIGUSR1, &action, NULL);
    ck_assert_int_eq(cb_pool_create(&plain, &pool, 4), CRIBO_OK);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    ck_assert_int_eq(sigismember(&before, SIGUSR1), 0); /* creating a pool leaves the caller's mask alone */
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    kill(getpid(), SIGUSR1);
    ck_assert(each_once(pool, 1000));
    ck_assert_int_eq(atomic_load(&signals), 0); /* no helper took it while the program's thread did not */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ck_assert_int_eq(atomic_load(&signals), 1);
    cb_pool_free(pool);
}
END_TEST

START_TEST(test_pool_too_many_threads_refused)
{
    cb_pool *pool = (cb_pool *)&counted;
    ck_assert_int_eq(cb_pool_create(&plain, &pool, CB_POOL_MOST_THREADS + 1), CRIBO_INVALID_ARGUMENT);
    ck_assert_ptr_null(pool);
    ck_assert_ptr_nonnull(strstr(cribo_last_error(), "257"));
}
END_TEST

START_TEST(test_pool_no_memory_refused)
{
    faulty memory = {.fail_at = 1};
    const cb_allocator nothing = {faulty_allocate, faulty_release, &memory};
    cb_pool *pool = (cb_pool *)&counted;
    ck_assert_int_eq(cb_pool_create(&nothing, &pool, 2), CRIBO_OUT_OF_MEMORY);
    ck_assert_ptr_null(pool);
    ck_assert_uint_eq(memory.held, 0);
}
END_TEST

START_TEST(test_pool_default_threads_follow_affinity)
{
    ck_assert_uint_ge(cb_pool_default_threads(), 1);
    ck_assert_uint_le(cb_pool_default_threads(), CB_POOL_MOST_THREADS);
    cpu_set_t before, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_uint_eq(cb_pool_default_threads(), 1);
    cb_pool *pool;
    ck_assert_int_eq(cb_pool_create(&plain, &pool, 0), CRIBO_OK);
    ck_assert_uint_eq(cb_pool_threads(pool), 1);
    cb_pool_free(pool);
    sched_setaffinity(0, sizeof before, &before);
}
END_TEST

START_TEST(test_part_any_grain_covers_once)
{
    const size_t items[] = {0, 1, 5, 47, 48, 49, 1000}, grains[] = {1, 6, 48};
    for (int i = 0; i < 7; i++)
        for (int g = 0; g < 3; g++)
            for (size_t parts = 1; parts < 12; parts++) {
                size_t next = 0;
                for (size_t part = 0; part < parts; part++) {
                    cb_range range = cb_part(items[i], part, parts, grains[g]);
                    ck_assert_uint_eq(range.begin, next);
                    ck_assert_uint_ge(range.end, range.begin);
                    ck_assert(range.begin % grains[g] == 0 || range.begin == items[i]);
                    next = range.end;
                }
                ck_assert_uint_eq(next, items[i]);
            }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *cases = tcase_create("pool");
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, test_pool_any_threads_each_task_once, 0, 5);
    tcase_add_test(cases, test_pool_null_caller_alone);
    tcase_add_test(cases, test_pool_nested_without_pool_runs);
    tcase_add_test(cases, test_pool_tasks_run_at_once);
    tcase_add_test(cases, test_pool_helpers_round_as_their_caller);
    tcase_add_test(cases, test_pool_helpers_take_their_own_faults);
    tcase_add_test(cases, test_pool_forked_child_works);
    tcase_add_test(cases, test_pool_signals_reach_only_the_program);
    tcase_add_test(cases, test_pool_too_many_threads_refused);
    tcase_add_test(cases, test_pool_no_memory_refused);
    tcase_add_test(cases, test_pool_default_threads_follow_affinity);
    tcase_add_test(cases, test_part_any_grain_covers_once);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
