/* The search by all threads. See parallel.h. */
#include "search/parallel.h"

#include "tensor/gemm.h"

#define GATHERED 256 /* queries whose lists one task joins */

static cribo_status create_worker(
    const cb_allocator *allocator, cb_search_worker *worker, const cb_search_sizes *sizes)
{
    CB_TRY(cb_search_create(allocator, &worker->search, sizes->max_entries, sizes->width, sizes->neighbours));
    for (size_t i = 0; i < sizes->searches; i++)
        CB_TRY(cb_allocate(allocator, &worker->best[i], sizes->max_queries,
            sizes->neighbours * sizeof *worker->best[i], "search: nearest entries"));
    return CRIBO_OK;
}

cribo_status cb_parallel_search_create(
    const cb_runtime *runtime, cb_parallel_search *search, const cb_search_sizes *sizes)
{
    const cb_allocator *allocator = &runtime->allocator;
    size_t threads = cb_pool_threads(runtime->pool);
    *search = (cb_parallel_search){.pool = runtime->pool,
        .searches = sizes->searches,
        .neighbours = sizes->neighbours,
        .coarsely = cb_gemm_bf16_is_faster()};
    CB_TRY(CB_ALLOCATE(allocator, &search->workers, threads, "search: workers"));
    for (size_t w = 0; w < threads; w++) CB_TRY(create_worker(allocator, &search->workers[w], sizes));
    return CRIBO_OK;
}

void cb_parallel_search_destroy(const cb_runtime *runtime, cb_parallel_search *search)
{
    const cb_allocator *allocator = &runtime->allocator;
    for (size_t w = 0; search->workers && w < cb_pool_threads(search->pool); w++) {
        for (size_t i = 0; i < search->searches; i++) cb_release(allocator, search->workers[w].best[i]);
        cb_search_destroy(allocator, &search->workers[w].search);
    }
    cb_release(allocator, search->workers);
    *search = (cb_parallel_search){0};
}

static size_t parts_of(size_t count, size_t part)
{
    return count / part + (count % part != 0);
}

static cb_queries stripe_of(const cb_queries *all, size_t begin, size_t most)
{
    return (cb_queries){.rows = cb_min(all->rows - begin, most),
        .width = all->width,
        .unit = all->unit + begin * all->width,
        .coarse = all->coarse + begin * all->width,
        .doubt = all->doubt + begin,
        .id = all->id ? all->id + begin : NULL};
}

static size_t tasks_of(const cb_search_job *job)
{
    return job->blocks * parts_of(job->queries->rows, job->stripe);
}

/*
 * Task: one block of entries and one stripe of queries. A block's tasks follow each other, so that it is read
 * from memory once.
 */
static void search_block(void *context, size_t task, size_t worker)
{
    const cb_parallel_search *s = context;
    cb_search_worker *own = &s->workers[worker];
    size_t i = task % s->searches, place = task / s->searches;
    const cb_search_job *job = &s->jobs[i];
    if (place >= tasks_of(job)) return;
    size_t stripes = parts_of(job->queries->rows, job->stripe), begin = place % stripes * job->stripe;
    cb_queries queries = stripe_of(job->queries, begin, job->stripe);
    cb_entries entries = job->block(job->store, place / stripes);
    cb_search_entries(&own->search, &queries, &entries, s->coarsely, own->best[i] + begin * s->neighbours);
}

/* Task: joins the lists of some queries into those of worker 0. */
static void gather(void *context, size_t task, size_t worker)
{
    const cb_parallel_search *s = context;
    size_t i = task % s->searches, k = s->neighbours, begin = task / s->searches * GATHERED;
    size_t end = cb_min(s->jobs[i].queries->rows, begin + GATHERED);
    (void)worker;
    for (size_t w = 1; w < cb_pool_threads(s->pool); w++)
        for (size_t n = begin * k; n < end * k; n++)
            cb_neighbours_keep(s->workers[0].best[i] + n / k * k, k, s->workers[w].best[i][n]);
}

void cb_parallel_search_run(cb_parallel_search *search, const cb_search_job *jobs)
{
    size_t tasks = 0, queries = 0;
    search->jobs = jobs;
    for (size_t i = 0; i < search->searches; i++) {
        size_t rows = jobs[i].queries->rows;
        tasks = cb_max(tasks, tasks_of(&jobs[i]));
        queries = cb_max(queries, rows);
        for (size_t w = 0; w < cb_pool_threads(search->pool); w++)
            cb_neighbours_forget(search->workers[w].best[i], rows * search->neighbours);
    }
    cb_pool_run(search->pool, tasks * search->searches, search_block, search);
    cb_pool_run(search->pool, parts_of(queries, GATHERED) * search->searches, gather, search);
}
