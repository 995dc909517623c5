/* The thread pool. See pool.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "base/pool.h"

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

struct cb_pool {
    cb_allocator allocator;
    size_t threads;
    worker *workers; /* [threads]; number 0 is whoever calls cb_pool_run */
    size_t started;  /* helpers that run in this process */
    unsigned generation;

    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    uint64_t round; /* counts runs: a helper works when it moves on */
    size_t working; /* helpers that have not ended this round */
    bool stop;

    size_t tasks;
    cb_task *run;
    void *context;
    fenv_t arithmetic;  /* the caller's rounding and flushing, which hold for all tasks */
    atomic_size_t next; /* the first task that nobody has taken */
};

/* Counts the forks in this process's ancestry, so that a pool can tell that its threads stayed behind in the parent. */
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

static void take_tasks(cb_pool *pool, size_t worker_index)
{
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (task >= pool->tasks) return;
        pool->run(pool->context, task, worker_index);
    }
}

static void *help(void *argument)
{
    worker *self = argument;
    cb_pool *pool = self->pool;
    uint64_t seen = 0;

    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (pool->round == seen && !pool->stop) pthread_cond_wait(&pool->work, &pool->mutex);
        if (pool->stop) break;
        seen = pool->round;
        pthread_mutex_unlock(&pool->mutex);
        fesetenv(&pool->arithmetic);
        take_tasks(pool, self->index);
        pthread_mutex_lock(&pool->mutex);
        if (--pool->working == 0) pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->mutex);
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

/* Helpers block all signals, for handlers belong to the program's own threads: all but their own faults, which nobody else can take. */
static int start_helpers(cb_pool *pool)
{
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t blocked, before;
    int error = 0;
    pool->round = 0;
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

/* In a forked child: the locks may have been held by threads that no longer exist, so they are made anew. */
static void revive(cb_pool *pool)
{
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->generation = atomic_load(&fork_generation);
    pool->started = 0;
    start_helpers(pool); /* should threads be refused, those that started (or the caller alone) do the work */
}

cribo_status cb_pool_create(const cb_allocator *allocator, cb_pool **out, size_t threads)
{
    void *memory;
    *out = NULL;
    if (threads == 0) threads = cb_pool_default_threads();
    CB_REQUIRE(threads <= CB_POOL_MOST_THREADS, "threads = %zu, but at most %d are possible", threads,
        CB_POOL_MOST_THREADS);
    pthread_once(&fork_handler_once, install_fork_handler);

    CB_TRY(cb_allocate(allocator, &memory, 1, sizeof(cb_pool) + threads * sizeof(worker), "thread pool"));
    cb_pool *pool = memory;
    pool->allocator = *allocator;
    pool->threads = threads;
    pool->workers = (worker *)(pool + 1);
    pool->generation = atomic_load(&fork_generation);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);

    int error = start_helpers(pool);
    if (error) {
        cb_pool_free(pool);
        return cb_fail(CRIBO_SYSTEM_ERROR, "threads: the system refused to start %zu of them: %s", threads,
            strerror(error));
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

    pthread_mutex_lock(&pool->mutex);
    pool->tasks = tasks;
    pool->run = run;
    pool->context = context;
    fegetenv(&pool->arithmetic);
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pool->working = pool->started;
    pool->round++;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);

    take_tasks(pool, 0);

    pthread_mutex_lock(&pool->mutex);
    while (pool->working != 0) pthread_cond_wait(&pool->done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

/* CPU time per period that the cgroup (version 2, then 1) grants, in whole CPUs; 0 when it sets no bound. */
static size_t cgroup_cpus(void)
{
    double quota = 0, period = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file) {
        long long q, p;
        if (fscanf(file, "%lld %lld", &q, &p) == 2)
            quota = (double)q, period = (double)p; /* "max" fails: no bound */
        fclose(file);
    } else {
        const char *const names[2] = {
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"};
        double *const values[2] = {&quota, &period};
        for (int i = 0; i < 2; i++) {
            long long value = 0;
            file = fopen(names[i], "re");
            if (!file) return 0;
            if (fscanf(file, "%lld", &value) == 1) *values[i] = (double)value;
            fclose(file);
        }
    }
    if (quota <= 0 || period <= 0) return 0;
    size_t cpus = (size_t)(quota / period);
    return cpus < 1 ? 1 : cpus;
}

size_t cb_pool_cpus(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) == 0) cpus = CPU_COUNT(&mask);
#endif
    size_t granted = cgroup_cpus(), threads = cpus < 1 ? 1 : (size_t)cpus;
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
