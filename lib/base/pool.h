/*
 * The thread pool: a fixed number of workers, asleep when idle, that divide numbered tasks among them.
 *
 * Each worker starts with a range of the tasks, the same range in every run with as many tasks, and takes
 * tasks of the others when it has finished its own. Rows that consecutive runs process therefore stay in one
 * core's caches where possible.
 *
 * The worker of a task never changes a result: the data determine the tasks, sums over tasks are added in the
 * order of the tasks, and all tasks use the floating-point mode of the caller. In a forked child the pool
 * starts its threads again at the next run.
 */
#ifndef CB_BASE_POOL_H
#define CB_BASE_POOL_H

#include "base/memory.h"

typedef struct cb_pool cb_pool;

/* `task` counts from 0, `worker` is below cb_pool_threads: the index of per-worker scratch. */
typedef void cb_task(void *context, size_t task, size_t worker);

/*
 * `threads` workers, the caller of cb_pool_run included; 0 takes cb_pool_default_threads. At most
 * CB_POOL_MOST_THREADS.
 */
cribo_status cb_pool_create(const cb_allocator *allocator, cb_pool **out, size_t threads);
void cb_pool_free(cb_pool *pool);

#define CB_POOL_MOST_THREADS 256

/* NULL is a pool of one thread: the caller. */
size_t cb_pool_threads(const cb_pool *pool);

/*
 * Runs task 0 ... tasks - 1, each once, and returns when all have finished. Must not be called from a task.
 */
void cb_pool_run(cb_pool *pool, size_t tasks, cb_task *run, void *context);

/* The CPUs this process may use: its affinity mask and its cgroup's quota. */
size_t cb_pool_cpus(void);

/*
 * The number of threads for 0: the number set for the process, or all its CPUs. Setting 0 restores the CPUs.
 */
size_t cb_pool_default_threads(void);
void cb_pool_choose_threads(size_t threads);

/*
 * The number of parts for `items` pieces of work: several per worker, so that others can take parts of a slow
 * worker.
 */
size_t cb_pool_parts(const cb_pool *pool, size_t items);

/*
 * The items begin ... end - 1 of part `part` of `parts`, in multiples of `grain` except the last.
 */
typedef struct cb_range {
    size_t begin, end;
} cb_range;
cb_range cb_part(size_t items, size_t part, size_t parts, size_t grain);

#endif
