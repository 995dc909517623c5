/*
 * See ranks.h. The exchanges here are small and go through rank 0: each rank sends to it, and it sends the
 * result to each. A result begins with the number of the rank that was lost, or NONE; so all ranks name the
 * same one.
 */
#include "session/ranks.h"

#include "base/arguments.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NONE = -1 };
#define DEFAULT_DEADLINE 300.0 /* seconds, as the library's */
#define NOTICE 0.5             /* seconds beyond the deadline in which rank 0 names a lost rank */
#define MOST_BYTES ((size_t)1 << 20)

/* --- the MPI library --- */

static bool is_power_of_two(int64_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

static const char *chosen(const struct ranks_options *options, const struct launcher *launcher)
{
    const char *variable = getenv("CRIBO_COMMUNICATOR");
    if (options->communicator) return options->communicator;
    if (variable && *variable) return variable;
    return launcher->size == 1 ? "none" : launcher->communicator;
}

bool ranks_check(
    const struct ranks_options *options, const struct launcher *launcher, struct problem *problem)
{
    const char *name = chosen(options, launcher);
    if (!name)
        return problem_set(problem,
            "%s started %lld tasks without MPI: give it --mpi=pmix for Open MPI or --mpi=pmi2 for MPICH, or "
            "give cribo --communicator none for separate processes",
            launcher->name, (long long)launcher->size);
    if (strcmp(name, "openmpi") && strcmp(name, "mpich") && strcmp(name, "none"))
        return problem_set(problem, "communicator \"%s\": expected openmpi, mpich or none", name);
    return !strcmp(name, "none") || is_power_of_two(launcher->size) ||
           problem_set(problem, "%s started %lld processes: their number must be a power of two",
               launcher->name, (long long)launcher->size);
}

static bool load(struct ranks *ranks, const char *name, struct problem *problem)
{
    char file[64];
    snprintf(file, sizeof file, "libcribo-%s.so.0", name);
    ranks->library = dlopen(file, RTLD_NOW | RTLD_GLOBAL); /* Open MPI's plugins need its symbols */
    if (!ranks->library)
        return problem_set(problem,
            "cannot load the communicator %s: %s; it is installed with libcribo where the MPI was found",
            name, dlerror());
    void *end = dlsym(ranks->library, "cribo_mpi_end");
    memcpy(&ranks->end, &end, sizeof end); /* ISO C has no cast from an object to a function */
    return end || problem_set(problem, "%s: %s", file, dlerror());
}

/* Begins MPI. */
static bool begin(struct ranks *ranks, const char *name, struct problem *problem)
{
    cribo_status (*begin_mpi)(void **out, cribo_communicator *communicator) = NULL;
    void *symbol = dlsym(ranks->library, "cribo_mpi_begin");
    if (!symbol) return problem_set(problem, "libcribo-%s: %s", name, dlerror());
    memcpy(&begin_mpi, &symbol, sizeof symbol);
    cribo_status status = begin_mpi(&ranks->mpi, &ranks->own);
    if (status == CRIBO_INVALID_ARGUMENT)
        return problem_set(problem, "the number of processes must be a power of two");
    return status == CRIBO_OK || problem_set(problem, "the communicator %s: MPI cannot be initialised", name);
}

/* A process of another MPI's launcher is alone in the world of this MPI. */
static bool check_size(
    const struct ranks *ranks, const char *name, const struct launcher *launcher, struct problem *problem)
{
    return !launcher->name || ranks->own.size == launcher->size ||
           problem_set(problem,
               "%s started %lld processes, but the communicator %s finds %lld: launcher and communicator "
               "must be of the same MPI; use mpirun.%s, or leave --communicator and CRIBO_COMMUNICATOR out",
               launcher->name, (long long)launcher->size, name, (long long)ranks->own.size, name);
}

/* --- the communicator for the trainer: that of the library, and it notes a broken connection --- */

static int note(struct ranks *ranks, int outcome, bool failed)
{
    if (failed) ranks->broken = true;
    return outcome;
}

static int start_send(void *context, int64_t peer, const void *data, size_t bytes, int64_t *request)
{
    struct ranks *ranks = context;
    int outcome = ranks->own.send(ranks->own.context, peer, data, bytes, request);
    return note(ranks, outcome, outcome != 0);
}

static int start_receive(void *context, int64_t peer, void *data, size_t bytes, int64_t *request)
{
    struct ranks *ranks = context;
    int outcome = ranks->own.receive(ranks->own.context, peer, data, bytes, request);
    return note(ranks, outcome, outcome != 0);
}

static int test_request(void *context, int64_t request)
{
    struct ranks *ranks = context;
    int outcome = ranks->own.test(ranks->own.context, request);
    return note(ranks, outcome, outcome < 0);
}

static void cancel_request(void *context, int64_t request)
{
    struct ranks *ranks = context;
    ranks->broken = true;
    ranks->own.cancel(ranks->own.context, request);
}

bool ranks_open(struct ranks *ranks, const struct ranks_options *options, const struct launcher *launcher,
    struct problem *problem)
{
    const char *name = chosen(options, launcher);
    *ranks = (struct ranks){.size = 1, .own.struct_size = sizeof ranks->own};
    if (!strcmp(name, "none")) return true;
    if (!load(ranks, name, problem) || !begin(ranks, name, problem)) return false;
    ranks->own.deadline = options->deadline > 0 ? options->deadline : DEFAULT_DEADLINE;
    if (!check_size(ranks, name, launcher, problem)) return false;
    ranks->rank = ranks->own.rank;
    ranks->size = ranks->own.size;
    ranks->shared = ranks->own;
    ranks->shared.context = ranks;
    ranks->shared.send = start_send;
    ranks->shared.receive = start_receive;
    ranks->shared.test = test_request;
    ranks->shared.cancel = cancel_request;
    return true;
}

/* How a process ends whose MPI does not: after the deadline, with this status. */
static struct ending {
    struct timespec wait;
    int status;
} ending;

static void *end_anyway(void *unused)
{
    (void)unused;
    nanosleep(&ending.wait, NULL);
    _exit(ending.status);
}

/* MPICH's MPI_Finalize has waited for ever behind slow links, with all ranks in it. */
static void watch_the_end(double deadline, int status)
{
    pthread_t thread;
    double seconds = floor(deadline);
    ending = (struct ending){{(time_t)seconds, (long)((deadline - seconds) * 1e9)}, status};
    if (pthread_create(&thread, NULL, end_anyway, NULL) == 0) pthread_detach(thread);
}

/*
 * MPI ends all processes at once after a broken connection, so this waits until the others have had the time
 * for their messages. The library stays loaded: MPI's threads may be in it.
 */
void ranks_close(struct ranks *ranks, int status)
{
    if (ranks->broken) sleep(1);
    if (ranks->mpi) {
        watch_the_end(ranks->own.deadline, status);
        ranks->end(ranks->mpi);
    }
    *ranks = (struct ranks){.size = 1};
}

const cribo_communicator *ranks_communicator(const struct ranks *ranks)
{
    return ranks->size > 1 ? &ranks->shared : NULL;
}

/* --- transfers --- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

enum outcome { DONE, LATE, FAILED };

/* Waits with growing sleeps, from a twentieth of a millisecond to a millisecond. */
static enum outcome wait_for(struct ranks *ranks, int64_t request, double seconds)
{
    const double end = now() + seconds;
    for (long pause = 50000;; pause = pause < 500000 ? 2 * pause : 1000000) {
        int ended = ranks->own.test(ranks->own.context, request);
        if (ended != 0) return ended > 0 ? DONE : FAILED;
        if (now() > end) break;
        nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
    }
    ranks->own.cancel(ranks->own.context, request);
    return LATE;
}

static enum outcome send_to(struct ranks *ranks, int64_t peer, const void *data, size_t bytes, double seconds)
{
    int64_t request;
    if (ranks->own.send(ranks->own.context, peer, data, bytes, &request)) return FAILED;
    return wait_for(ranks, request, seconds);
}

static enum outcome receive_from(struct ranks *ranks, int64_t peer, void *data, size_t bytes, double seconds)
{
    int64_t request;
    if (ranks->own.receive(ranks->own.context, peer, data, bytes, &request)) return FAILED;
    return wait_for(ranks, request, seconds);
}

/* When a call of the trainer broke the connection, its message is still in *problem at the next call. */
static bool is_whole(struct ranks *ranks, struct problem *problem)
{
    if (!ranks->broken) return true;
    if (!ranks->failure.text[0]) ranks->failure = *problem;
    *problem = ranks->failure;
    return false;
}

static bool lose(struct ranks *ranks, int64_t peer, enum outcome outcome, struct problem *problem)
{
    ranks->broken = true;
    if (outcome == LATE)
        problem_set(&ranks->failure, "rank %lld did not answer within %g seconds", (long long)peer,
            ranks->own.deadline);
    else
        problem_set(&ranks->failure, "the communicator cannot reach rank %lld", (long long)peer);
    return is_whole(ranks, problem);
}

/* --- through rank 0 --- */

/* What rank 0 sends: a header, and `bytes` bytes unless a rank was lost. */
struct header {
    int64_t lost, late;
};

static void tell_loss(struct ranks *ranks, int64_t lost, enum outcome outcome)
{
    const struct header header = {lost, outcome == LATE};
    for (int64_t r = 1; r < ranks->size; r++)
        if (r != lost) send_to(ranks, r, &header, sizeof header, NOTICE / (double)ranks->size);
}

static bool send_all(struct ranks *ranks, const void *data, size_t bytes, struct problem *problem)
{
    const struct header header = {.lost = NONE};
    for (int64_t r = 1; r < ranks->size; r++) {
        enum outcome outcome = send_to(ranks, r, &header, sizeof header, ranks->own.deadline);
        for (size_t at = 0; outcome == DONE && at < bytes; at += MOST_BYTES)
            outcome = send_to(ranks, r, (const char *)data + at,
                bytes - at < MOST_BYTES ? bytes - at : MOST_BYTES, ranks->own.deadline);
        if (outcome == DONE) continue;
        tell_loss(ranks, r, outcome);
        return lose(ranks, r, outcome, problem);
    }
    return true;
}

static bool receive_result(struct ranks *ranks, void *data, size_t bytes, struct problem *problem)
{
    struct header header = {0};
    double patience = ranks->own.deadline + NOTICE;
    enum outcome outcome = receive_from(ranks, 0, &header, sizeof header, patience);
    if (outcome == DONE && header.lost != NONE)
        return lose(ranks, header.lost, header.late ? LATE : FAILED, problem);
    for (size_t at = 0; outcome == DONE && at < bytes; at += MOST_BYTES)
        outcome = receive_from(
            ranks, 0, (char *)data + at, bytes - at < MOST_BYTES ? bytes - at : MOST_BYTES, patience);
    return outcome == DONE || lose(ranks, 0, outcome, problem);
}

/* Rank 0's bytes on all ranks. */
static bool spread(struct ranks *ranks, void *data, size_t bytes, struct problem *problem)
{
    return ranks->rank == 0 ? send_all(ranks, data, bytes, problem)
                            : receive_result(ranks, data, bytes, problem);
}

/* The bytes of rank `from`, 1 ... size - 1, come to rank 0. */
static bool collect(struct ranks *ranks, int64_t from, void *data, size_t bytes, struct problem *problem)
{
    if (ranks->rank != 0 && ranks->rank != from) return true;
    enum outcome outcome = ranks->rank == 0 ? receive_from(ranks, from, data, bytes, ranks->own.deadline)
                                            : send_to(ranks, 0, data, bytes, ranks->own.deadline);
    if (outcome == DONE) return true;
    if (ranks->rank == 0) tell_loss(ranks, from, outcome);
    return lose(ranks, ranks->rank == 0 ? from : 0, outcome, problem);
}

bool ranks_gather(struct ranks *ranks, const void *mine, size_t bytes, void *all, struct problem *problem)
{
    char *place = (char *)all + (size_t)ranks->rank * bytes;
    if (!is_whole(ranks, problem)) return false;
    memmove(place, mine, bytes);
    for (int64_t r = 1; r < ranks->size; r++)
        if (!collect(ranks, r, (char *)all + (size_t)r * bytes, bytes, problem)) return false;
    return ranks->size == 1 || spread(ranks, all, (size_t)ranks->size * bytes, problem);
}

bool ranks_share(struct ranks *ranks, void *data, size_t bytes, struct problem *problem)
{
    if (!is_whole(ranks, problem)) return false;
    return ranks->size == 1 || spread(ranks, data, bytes, problem);
}

bool ranks_follow(struct ranks *ranks, int64_t *value, struct problem *problem)
{
    return ranks_share(ranks, value, sizeof *value, problem);
}

/* Of several problems, that of the lowest rank, with its number. */
static bool share_problem(struct ranks *ranks, int64_t from, struct problem *problem)
{
    struct problem theirs = *problem;
    if (ranks->rank == from && from != 0)
        problem_set(&theirs, "rank %lld: %.1000s", (long long)from, problem->text);
    if (from != 0 && !collect(ranks, from, &theirs, sizeof theirs, problem)) return false;
    if (!spread(ranks, &theirs, sizeof theirs, problem)) return false;
    *problem = theirs;
    return false;
}

bool ranks_agree(struct ranks *ranks, bool worked, struct problem *problem)
{
    if (ranks->size == 1) return worked;
    if (!is_whole(ranks, problem)) return false;
    char own = worked, *all = malloc((size_t)ranks->size);
    if (!all) return problem_no_memory(problem);
    struct problem lost = *problem;
    bool gathered = ranks_gather(ranks, &own, 1, all, &lost);
    int64_t first = 0;
    while (gathered && first < ranks->size && all[first]) first++;
    free(all);
    if (!gathered) *problem = lost;
    return gathered && (first == ranks->size || share_problem(ranks, first, problem));
}

/* --- equal texts --- */

/* The line at `text` without its end; the next one is behind it. */
static const char *next_line(const char **text, int *length)
{
    const char *line = *text;
    *length = (int)strcspn(line, "\n");
    *text += *length + (line[*length] != '\0');
    return line;
}

static bool compare_lines(const char *own, const char *first, struct problem *problem)
{
    while (*own || *first) {
        int own_length, first_length;
        const char *mine = next_line(&own, &own_length), *other = next_line(&first, &first_length);
        if (own_length == first_length && !memcmp(mine, other, (size_t)own_length)) continue;
        return problem_set(problem, "%.*s here, but %.*s on rank 0: all ranks must have the same", own_length,
            mine, first_length, other);
    }
    return true;
}

bool ranks_same(struct ranks *ranks, const char *lines, struct problem *problem)
{
    int64_t bytes = (int64_t)strlen(lines) + 1;
    if (ranks->size == 1) return true;
    if (!ranks_follow(ranks, &bytes, problem)) return false;
    char *first = calloc(1, (size_t)bytes);
    bool taken = ranks_agree(ranks, first || problem_no_memory(problem), problem);
    if (taken && ranks->rank == 0) memcpy(first, lines, (size_t)bytes);
    taken = taken && ranks_share(ranks, first, (size_t)bytes, problem);
    bool same = taken && ranks_agree(ranks, compare_lines(lines, first, problem), problem);
    free(first);
    return same;
}

/* --- work of rank 0 alone --- */

struct job {
    bool (*work)(void *argument, struct problem *problem);
    void *argument;
    bool worked;
    struct problem problem;
    atomic_bool ended;
};

static void *do_job(void *argument)
{
    struct job *job = argument;
    job->worked = job->work(job->argument, &job->problem);
    atomic_store(&job->ended, true);
    return NULL;
}

enum { WORKING, ENDED };

/* Reports to the others, several times within a deadline, that the work goes on, and then that it ended. */
static bool report_until_end(struct ranks *ranks, struct job *job, struct problem *problem)
{
    const double interval = fmin(1, ranks->own.deadline / 4);
    double next = now() + interval;
    while (!atomic_load(&job->ended)) {
        int64_t state = WORKING;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        if (now() < next) continue;
        next = now() + interval;
        if (!spread(ranks, &state, sizeof state, problem)) return false;
    }
    int64_t state = ENDED;
    return spread(ranks, &state, sizeof state, problem);
}

static bool work_and_report(struct ranks *ranks, struct job *job, struct problem *problem)
{
    pthread_t thread;
    bool started = pthread_create(&thread, NULL, do_job, job) == 0;
    if (!started) do_job(job);
    bool whole = report_until_end(ranks, job, problem);
    if (started) pthread_join(thread, NULL);
    return whole;
}

static bool wait_for_end(struct ranks *ranks, struct problem *problem)
{
    for (int64_t state = WORKING; state != ENDED;)
        if (!spread(ranks, &state, sizeof state, problem)) return false;
    return true;
}

bool ranks_alone(struct ranks *ranks, bool (*work)(void *argument, struct problem *problem), void *argument,
    struct problem *problem)
{
    struct job job = {.work = work, .argument = argument, .worked = true};
    if (ranks->size == 1) return work(argument, problem);
    if (!is_whole(ranks, problem)) return false;
    bool whole = ranks->rank == 0 ? work_and_report(ranks, &job, problem) : wait_for_end(ranks, problem);
    if (!whole) return false;
    if (!job.worked) *problem = job.problem;
    return ranks_agree(ranks, job.worked, problem);
}

/* --- CPUs --- */

/* The CPUs that a process may use, and the machine that they belong to. */
struct cpus {
    char host[64];
    cpu_set_t set;
};

bool ranks_cpus(struct ranks *ranks, int *cpus, struct problem *problem)
{
    struct cpus own = {0}, *all = calloc((size_t)ranks->size, sizeof *all);
    int sharing = 0;
    if (!all) return problem_no_memory(problem);
    gethostname(own.host, sizeof own.host - 1);
    sched_getaffinity(0, sizeof own.set, &own.set);
    bool gathered = ranks_gather(ranks, &own, sizeof own, all, problem);
    for (int64_t r = 0; gathered && r < ranks->size; r++) sharing += !memcmp(&own, &all[r], sizeof own);
    *cpus = sharing > 1 && command_cpus() > sharing ? command_cpus() / sharing
            : sharing > 1                           ? 1
                                                    : command_cpus();
    free(all);
    return gathered;
}
