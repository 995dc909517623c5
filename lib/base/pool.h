/*
 * The thread pool: a fixed number of workers, asleep when idle, that share out numbered tasks.
 *
 * Each worker begins with a stretch of the tasks, the same one in every run of as many tasks, and helps the
 * others when it has ended its own: so rows of a batch that runs in turn go through stay with one core and
 * its caches, as far as the work allows.
 *
 * Which worker runs a task never changes a result: tasks are cut by the data, what several tasks add up is
 * added in the order of the tasks, and all compute in the floating-point mode of whoever runs them. A forked
 * child finds the pool without its threads and starts them anew at the next run.
 */
#ifndef CB_BASE_POOL_H
#define CB_BASE_POOL_H

#include "base/memory.h"

typedef struct cb_pool cb_pool;

/* `task` counts from 0, `worker` is below cb_pool_threads: the key to per-worker scratch. */
typedef void cb_task(void *context, size_t task, size_t worker);

/*
 * `threads` workers, the caller of cb_pool_run included; 0 takes cb_pool_default_threads. At most
 * CB_POOL_MOST_THREADS.
 */
cribo_status cb_pool_create(const cb_allocator *allocator, cb_pool **out, size_t threads);
void cb_pool_free(cb_pool *pool);

#define CB_POOL_MOST_THREADS 256

/* NULL counts as a pool of one: the caller alone. */
size_t cb_pool_threads(const cb_pool *pool);

/* Runs task 0 ... tasks - 1, each once, and returns when all have ended. Not from inside a task. */
void cb_pool_run(cb_pool *pool, size_t tasks, cb_task *run, void *context);

/* The CPUs this process may use: its affinity mask and its cgroup's quota. */
size_t cb_pool_cpus(void);

/* What a pool takes for 0: what the process has chosen, or all its CPUs. Choosing 0 goes back to them. */
size_t cb_pool_default_threads(void);
void cb_pool_choose_threads(size_t threads);

/*
 * Into how many parts to cut `items` pieces of work: some for each worker, so that one that is slowed down
 * leaves parts to the others.
 */
size_t cb_pool_parts(const cb_pool *pool, size_t items);

/*
 * The items begin ... end - 1 that part `part` of `parts` takes of `items`, in multiples of `grain` but for
 * the last.
 */
typedef struct cb_range {
    size_t begin, end;
} cb_range;
cb_range cb_part(size_t items, size_t part, size_t parts, size_t grain);

#endif
