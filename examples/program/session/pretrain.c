/* See pretrain.h. */
#include "session/pretrain.h"

#include "base/output.h"
#include "base/say.h"
#include "session/session.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

double session_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static volatile sig_atomic_t signal_heard;
static volatile double signal_time;

/*
 * The first signal stops the run after the step; the second ends the process at once. A second signal within
 * half a second counts as the first: programs like timeout signal both the process and its group.
 */
static void hear_signal(int signal)
{
    double time = session_now(); /* clock_gettime is safe in a handler */
    if (signal_heard && time - signal_time > 0.5) {
        output_drop_all();
        _exit(128 + signal);
    }
    if (!signal_heard) signal_time = time;
    signal_heard = signal;
}

static void listen_to_signals(void)
{
    struct sigaction action = {.sa_handler = hear_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction before;
    bool ignored = sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler == SIG_IGN; /* set by nohup */
    if (!ignored) sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL); /* the reader of the messages may exit; the run continues */
    sigaction(SIGXFSZ, &action, NULL); /* a write beyond the limit of a file's size fails, and is reported */
}

static bool train(struct session *session)
{
    bool trained = true;
    session->began = session->last_line = session->last_save = session_now();
    while (trained && !session->signal && session->step < session->last_step) {
        struct loader_batch batch;
        double began = session_now();
        trained = session_next_batch(session, &batch, signal_heard);
        session->waited = session_now() - began;
        /* A batch with only broken files gives no step. */
        if (!trained || session->signal || session->images == 0) continue;
        trained = session_step(session, &batch, began);
    }
    say_progress_end();
    return trained;
}

/* A failure of this rank alone, or one that rank 0 may not live to report. */
static void say_own_failure(const struct session *session, int64_t rank)
{
    say_silent(false);
    say_error("rank %lld: %s", (long long)rank, session->problem.text);
    say_silent(true);
}

/* Reports a failure; returns whether there was one. */
static bool failed(const struct session *session, bool worked)
{
    if (!worked && session->ranks.broken && session->ranks.rank > 0)
        say_own_failure(session, session->ranks.rank);
    else if (!worked)
        say_error("%s", session->problem.text);
    return !worked;
}

/*
 * Also after a failed step, which leaves the trainer unchanged. Each part is tried, even if an earlier one
 * fails.
 */
static bool finish(struct session *session)
{
    bool broke = failed(session, session_save(session, false));
    if (session->ranks.broken) return true;
    if (session_writes(session) && session->history.count >= 2)
        broke |= failed(session, history_draw(&session->history, session->run.losses, &session->problem));
    return failed(session, session_show_clusters(session, session->run.clusters, true)) || broke;
}

/* Whether the process before this one ended between the checkpoint and the weights of its last step. */
static bool weights_lag(struct session *session)
{
    cribo_weights_info info = {.struct_size = sizeof info};
    int64_t lag =
        session->checkpoint &&
        (cribo_weights_describe(session->run.weights, NULL, &info) != CRIBO_OK || info.step != session->step);
    return ranks_follow(&session->ranks, &lag, &session->problem) && lag;
}

static int train_and_finish(struct session *session)
{
    session_say_plan(session);
    if (session->step >= session->last_step) say_note("nothing to do: these steps are done");
    bool broke = failed(session, train(session));
    if (session->ranks.broken) {
        say_note(
            "the same command with --resume goes on from the newest checkpoint, with any number of ranks");
        return 1;
    }
    if (session->step > session->first_step || weights_lag(session)) {
        if (session->signal)
            say_note("stopping early and saving; the same command%s continues the run",
                session->options->overwrite ? " without --overwrite" : "");
        broke |= finish(session);
        session_say_summary(session);
    }
    return broke ? 1 : session->signal ? 128 + session->signal : 0;
}

/* Ranks on one machine divide its CPUs; a single one leaves the number of threads to the library. */
static bool share_cpus(struct session *session, struct pretrain_options *options)
{
    int cpus;
    if (!ranks_cpus(&session->ranks, &cpus, &session->problem)) return false;
    if (options->workers == 0) options->workers = cpus;
    if (options->threads == 0 && session->ranks.size > 1) options->threads = cpus;
    options->look.threads = options->threads;
    return true;
}

/* Rank 0 reports what all ranks find; only the library may be missing on one machine alone. */
static bool connect(struct session *session, const struct launcher *launcher)
{
    const struct ranks_options *options = &session->options->ranks;
    if (failed(session, ranks_check(options, launcher, &session->problem))) return false;
    bool connected = ranks_open(&session->ranks, options, launcher, &session->problem);
    if (connected) say_silent(session->ranks.rank > 0);
    if (connected || session->ranks.library || launcher->rank == 0) return !failed(session, connected);
    say_own_failure(session, launcher->rank);
    return false;
}

int pretrain(const struct pretrain_options *given)
{
    const struct launcher launcher = launcher_find();
    struct pretrain_options options = *given;
    struct session session = {
        .options = &options, .run = {.lock = -1, .folder = -1}, .ranks.size = 1, .started = session_now()};
    int status = 1;
    say_silent(launcher.rank > 0);
    listen_to_signals();
    if (connect(&session, &launcher) && !failed(&session, share_cpus(&session, &options)) &&
        !failed(&session, session_prepare(&session)))
        status = train_and_finish(&session);
    session_free(&session);
    ranks_close(&session.ranks, status);
    return status;
}
