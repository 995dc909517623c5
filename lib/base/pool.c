/* The thread pool. See pool.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "base/pool.h"

#include "base/cgroup.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct worker {
    cb_pool *pool;
    size_t index;
    pthread_t thread;
} worker;

/*
 * The range of tasks that one worker starts with; others take from it when they are done. On a separate cache
 * line.
 */
typedef struct share {
    _Alignas(CB_ALIGNMENT) atomic_size_t next; /* the first task that is not taken */
    size_t end;
} share;

struct cb_pool {
    cb_allocator allocator;
    size_t threads;
    worker *workers; /* [threads]; number 0 is the caller of cb_pool_run */
    size_t started;  /* helpers that run in this process */
    unsigned generation;
    unsigned patience; /* polls of a counter before sleeping */

    atomic_size_t round;   /* number of runs: a helper works when it changes */
    atomic_size_t working; /* helpers that have not ended this round */

    pthread_mutex_t mutex; /* of the sleeping threads, and of stop */
    pthread_cond_t work, done;
    atomic_size_t sleeping; /* helpers that must be woken for a round */
    atomic_bool caller_sleeps;
    bool stop;

    size_t chunk; /* tasks that are taken at a time */
    cb_task *run;
    void *context;
    fenv_t arithmetic; /* the caller's floating-point mode, used for all tasks */
    share shares[];    /* [threads], and the workers after them */
};

/*
 * Counts the forks in this process's ancestry, so that a pool can detect that its threads exist only in the
 * parent.
 */
static atomic_uint fork_generation;
static pthread_once_t fork_handler_once = PTHREAD_ONCE_INIT;

static void count_fork(void)
{
    atomic_fetch_add(&fork_generation, 1);
}

static void install_fork_handler(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

/* Chunks in which a worker's range is taken. */
#define CHUNKS 16

static void share_out(cb_pool *pool, size_t tasks)
{
    pool->chunk = tasks / (CHUNKS * pool->threads) + 1;
    for (size_t i = 0; i < pool->threads; i++) {
        cb_range part = cb_part(tasks, i, pool->threads, 1);
        atomic_store_explicit(&pool->shares[i].next, part.begin, memory_order_relaxed);
        pool->shares[i].end = part.end;
    }
}

static void take_from(cb_pool *pool, share *from, size_t worker_index)
{
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&from->next, pool->chunk, memory_order_relaxed);
        size_t end = cb_min(from->end, task + pool->chunk);
        if (task >= end) return;
        for (; task < end; task++) pool->run(pool->context, task, worker_index);
    }
}

static void take_tasks(cb_pool *pool, size_t worker_index)
{
    for (size_t i = 0; i < pool->threads; i++)
        take_from(pool, &pool->shares[(worker_index + i) % pool->threads], worker_index);
}

/*
 * Waking a thread takes longer than many runs, so waiting threads poll for about 20 us before they sleep,
 * unless threads share CPUs.
 */
#define PATIENCE 1000

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/* Polls for `counter` to reach `value`; true if it did. */
static bool watch(const cb_pool *pool, atomic_size_t *counter, size_t value)
{
    for (unsigned i = 0; i < pool->patience; i++) {
        if (atomic_load(counter) == value) return true;
        pause_briefly();
    }
    return false;
}

/*
 * A thread registers as sleeping before its last look at the counter, and a thread that changes the counter
 * looks for sleepers afterwards: at least one of them sees the other.
 */
static bool await_round(cb_pool *pool, size_t round)
{
    if (watch(pool, &pool->round, round)) return true;
    pthread_mutex_lock(&pool->mutex);
    pool->sleeping++;
    while (pool->round != round && !pool->stop) pthread_cond_wait(&pool->work, &pool->mutex);
    pool->sleeping--;
    bool comes = !pool->stop;
    pthread_mutex_unlock(&pool->mutex);
    return comes;
}

static void begin_round(cb_pool *pool)
{
    pool->working = pool->started;
    pool->round++;
    if (pool->sleeping == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

static void leave_round(cb_pool *pool)
{
    if (atomic_fetch_sub(&pool->working, 1) > 1 || !pool->caller_sleeps) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->done);
    pthread_mutex_unlock(&pool->mutex);
}

static void await_helpers(cb_pool *pool)
{
    if (watch(pool, &pool->working, 0)) return;
    pthread_mutex_lock(&pool->mutex);
    pool->caller_sleeps = true;
    while (pool->working != 0) pthread_cond_wait(&pool->done, &pool->mutex);
    pool->caller_sleeps = false;
    pthread_mutex_unlock(&pool->mutex);
}

static void *help(void *argument)
{
    worker *self = argument;
    cb_pool *pool = self->pool;
    for (size_t round = 1; await_round(pool, round); round++) {
        fesetenv(&pool->arithmetic);
        take_tasks(pool, self->index);
        leave_round(pool);
    }
    return NULL;
}

static void stop_helpers(cb_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 1; i <= pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
    pool->started = 0;
    pool->stop = false;
}

/*
 * Helpers block all signals, since handlers belong to the program's threads: all except their own faults,
 * which no other thread can receive.
 */
static int start_helpers(cb_pool *pool)
{
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t blocked, before;
    int error = 0;
    pool->round = pool->sleeping = 0;
    pool->caller_sleeps = false;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    while (error == 0 && pool->started + 1 < pool->threads) {
        worker *next = &pool->workers[pool->started + 1];
        *next = (worker){.pool = pool, .index = pool->started + 1};
        error = pthread_create(&next->thread, NULL, help, next);
        if (error == 0) pool->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/*
 * In a forked child: the locks may have been held by threads that no longer exist, so they are created again.
 */
static void revive(cb_pool *pool)
{
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->generation = atomic_load(&fork_generation);
    pool->started = 0;
    start_helpers(
        pool); /* if the system refuses threads, the started ones (or only the caller) do the work */
}

cribo_status cb_pool_create(const cb_allocator *allocator, cb_pool **out, size_t threads)
{
    void *memory;
    *out = NULL;
    if (threads == 0) threads = cb_pool_default_threads();
    CB_REQUIRE(threads <= CB_POOL_MOST_THREADS, "threads = %zu, but at most %d are possible", threads,
        CB_POOL_MOST_THREADS);
    pthread_once(&fork_handler_once, install_fork_handler);

    CB_TRY(cb_allocate(
        allocator, &memory, 1, sizeof(cb_pool) + threads * (sizeof(share) + sizeof(worker)), "thread pool"));
    cb_pool *pool = memory;
    pool->allocator = *allocator;
    pool->threads = threads;
    pool->workers = (worker *)(pool->shares + threads);
    pool->patience = threads <= cb_pool_cpus() ? PATIENCE : 0;
    pool->generation = atomic_load(&fork_generation);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);

    int error = cb_is_plan(allocator) ? 0 : start_helpers(pool);
    if (error) {
        cb_pool_free(pool);
        return cb_fail_errno(CRIBO_SYSTEM_ERROR, error,
            "threads: the system refused to start %zu of them: %s", threads, strerror(error));
    }
    *out = pool;
    return CRIBO_OK;
}

void cb_pool_free(cb_pool *pool)
{
    if (!pool) return;
    if (pool->generation == atomic_load(&fork_generation)) {
        stop_helpers(pool);
        pthread_cond_destroy(&pool->done);
        pthread_cond_destroy(&pool->work);
        pthread_mutex_destroy(&pool->mutex);
    }
    cb_allocator allocator = pool->allocator;
    cb_release(&allocator, pool);
}

size_t cb_pool_threads(const cb_pool *pool)
{
    return pool ? pool->threads : 1;
}

void cb_pool_run(cb_pool *pool, size_t tasks, cb_task *run, void *context)
{
    if (pool && pool->generation != atomic_load(&fork_generation)) revive(pool);
    if (!pool || pool->started == 0 || tasks <= 1) {
        for (size_t task = 0; task < tasks; task++) run(context, task, 0);
        return;
    }

    share_out(pool, tasks);
    pool->run = run;
    pool->context = context;
    fegetenv(&pool->arithmetic);
    begin_round(pool);
    take_tasks(pool, 0);
    await_helpers(pool);
}

size_t cb_pool_cpus(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) == 0) cpus = CPU_COUNT(&mask);
#endif
    size_t granted = cb_cgroup_cpus(""), threads = cpus < 1 ? 1 : (size_t)cpus;
    if (granted && granted < threads) threads = granted;
    return threads < CB_POOL_MOST_THREADS ? threads : CB_POOL_MOST_THREADS;
}

static atomic_size_t chosen_threads;

void cb_pool_choose_threads(size_t threads)
{
    atomic_store(&chosen_threads, threads);
}

size_t cb_pool_default_threads(void)
{
    size_t chosen = atomic_load(&chosen_threads);
    return chosen ? chosen : cb_pool_cpus();
}

size_t cb_pool_parts(const cb_pool *pool, size_t items)
{
    const size_t parts = 4 * cb_pool_threads(pool);
    return items < parts ? items : parts;
}

cb_range cb_part(size_t items, size_t part, size_t parts, size_t grain)
{
    size_t grains = (items + grain - 1) / grain;
    size_t begin = grains * part / parts * grain, end = grains * (part + 1) / parts * grain;
    return (cb_range){begin < items ? begin : items, end < items ? end : items};
}
