/* See pretrain.h. */
#include "pretrain.h"

#include "folder.h"
#include "loader.h"
#include "plot.h"
#include "run.h"
#include "say.h"
#include "showcase.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* All that a run owns. */
struct session {
    const struct pretrain_options *options;
    struct problem problem;
    cribo_trainer_config config;
    struct folder folder;
    struct run run;
    cribo_trainer *trainer;
    struct loader *loader;
    struct showcase showcase;
    struct history history;
    int64_t total_steps;
    double began; /* seconds */
    double last_line;
    double seconds_per_step; /* running mean */
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static volatile sig_atomic_t signal_heard;
static volatile double signal_time;

/*
 * The first signal asks to stop after the step; the second ends at once. One that follows within half a
 * second is the first again: programs like timeout signal both the process and its group.
 */
static void hear_signal(int signal)
{
    double time = now(); /* clock_gettime is safe in a handler */
    if (signal_heard && time - signal_time > 0.5) _exit(128 + signal);
    if (!signal_heard) signal_time = time;
    signal_heard = signal;
}

static void listen_to_signals(void)
{
    struct sigaction action = {.sa_handler = hear_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL); /* whoever read our lines may leave; the run goes on */
}

static void say_message(void *user, int level, const char *message)
{
    (void)user;
    if (level == CRIBO_LOG_WARNING)
        say_warning("%s", message);
    else
        say_note("%s", message);
}

static void say_broken(void *user, const char *path, const char *reason)
{
    (void)user;
    say_warning("%s: %s; left out", path, reason);
}

static bool library_failed(struct session *session)
{
    return problem_set(&session->problem, "%s", cribo_last_error());
}

static bool list_pictures(struct session *session)
{
    const char *path = session->options->folder;
    if (!folder_list(&session->folder, path, &session->problem)) return false;
    return session->folder.count > 0 ||
           problem_set(&session->problem, "%s: no JPEG or PNG files in it", path);
}

static bool make_trainer(struct session *session)
{
    cribo_runtime runtime;
    if (cribo_runtime_init(&runtime, sizeof runtime) != CRIBO_OK) return library_failed(session);
    runtime.threads = session->options->threads;
    runtime.log = say_message;
    return cribo_trainer_create(&session->trainer, &session->config, &runtime) == CRIBO_OK ||
           library_failed(session);
}

static bool make_loader(struct session *session)
{
    struct loader_options options = {.paths = session->folder.paths,
        .count = session->folder.count,
        .image_size = (int)session->config.image_size,
        .batch = (size_t)session->config.batch_size,
        .workers = session->options->workers,
        .seed = (uint64_t)session->config.seed,
        .broken = say_broken};
    return loader_create(&session->loader, &options, &session->problem);
}

static bool write_config(struct session *session)
{
    const struct pretrain_options *options = session->options;
    struct run_facts facts = {.folder = options->folder,
        .preset = options->settings.preset,
        .pictures = session->folder.count,
        .threads = options->threads,
        .workers = options->workers};
    return run_write_config(&session->run, &session->config, &facts, &session->problem);
}

static bool show_clusters(struct session *session, const char *path)
{
    return showcase_teach(&session->showcase, session->trainer, &session->problem) &&
           (session->showcase.images == 0 || showcase_draw(&session->showcase, path, &session->problem));
}

/* From cheap to expensive, so that mistakes show at once. */
static bool prepare(struct session *session)
{
    const struct pretrain_options *options = session->options;
    cribo_trainer_config *config = &session->config;
    bool prepared = list_pictures(session) &&
                    settings_apply(&options->settings, session->folder.count, config, &session->problem) &&
                    run_open(&session->run, options->out, options->overwrite, &session->problem) &&
                    write_config(session) && make_trainer(session) && make_loader(session) &&
                    showcase_make(&session->showcase, &session->folder, config, &session->problem);
    /* Without this picture the training is worth no less. */
    if (prepared && !show_clusters(session, session->run.clusters_start))
        say_warning("%s", session->problem.text);
    session->total_steps =
        config->total_steps ? config->total_steps : llround(config->epochs * (double)config->steps_per_epoch);
    return prepared;
}

static void format_time(char *text, size_t size, double seconds)
{
    long whole = lround(fmax(seconds, 0));
    if (whole >= 3600)
        snprintf(text, size, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(text, size, "%ld:%02ld", whole / 60, whole % 60);
}

static bool line_is_due(const struct session *session, int64_t step)
{
    if (say_on_terminal() || step == 0 || step + 1 == session->total_steps) return true;
    if (session->options->log_every) return (step + 1) % session->options->log_every == 0;
    return now() - session->last_line >= 10;
}

static void say_step(struct session *session, const cribo_report *report, double images_per_second)
{
    char left[32], between[32] = "-";
    if (!line_is_due(session, report->step)) return;
    session->last_line = now();
    format_time(
        left, sizeof left, session->seconds_per_step * (double)(session->total_steps - report->step - 1));
    if (report->cross_image_on != 0) snprintf(between, sizeof between, "%.3f", report->cross_image_loss);
    say_progress(
        "step %lld/%lld, %s left: loss %.3f (cls %.3f, view %.3f, image %s), %.1f images/s, epoch %lld",
        (long long)report->step + 1, (long long)session->total_steps, left, report->loss, report->global_loss,
        report->cross_view_loss, between, images_per_second, (long long)report->epoch + 1);
}

/* A report has been made: keep it everywhere. */
static bool note_step(struct session *session, const cribo_report *report, double seconds)
{
    double weight = fmax(0.05, 1 / (double)(session->history.count + 1));
    session->seconds_per_step += weight * (seconds - session->seconds_per_step);
    double images_per_second = seconds > 0 ? (double)report->images / seconds : 0;
    run_log(&session->run, report, images_per_second);
    say_step(session, report, images_per_second);
    return history_add(&session->history, report, &session->problem);
}

static bool save_weights(struct session *session)
{
    return cribo_trainer_save_weights(session->trainer, session->run.weights) == CRIBO_OK ||
           library_failed(session);
}

static bool do_step(struct session *session, const struct loader_batch *loaded, double began)
{
    cribo_report report = {.struct_size = sizeof report};
    cribo_batch batch = {.struct_size = sizeof batch,
        .images = loaded->images,
        .view1_bytes = loaded->view1,
        .view2_bytes = loaded->view2,
        .mean = {IMAGENET_MEAN},
        .deviation = {IMAGENET_DEVIATION},
        .crops1 = loaded->crops1,
        .crops2 = loaded->crops2,
        .ids = loaded->ids};
    if (cribo_trainer_step(session->trainer, &batch, &report) != CRIBO_OK) return library_failed(session);
    if (!note_step(session, &report, now() - began)) return false;
    int64_t every = session->options->save_every;
    return every == 0 || (report.step + 1) % every != 0 || save_weights(session);
}

static bool train(struct session *session)
{
    bool trained = true;
    int64_t steps = 0;
    session->began = session->last_line = now();
    while (trained && !signal_heard && steps < session->total_steps) {
        struct loader_batch batch;
        double began = now();
        trained = loader_next(session->loader, &batch, &session->problem);
        if (!trained || batch.images == 0) continue; /* a batch of broken files only makes no step */
        trained = do_step(session, &batch, began);
        steps++;
    }
    say_progress_end();
    return trained;
}

/* Also after a failed step, which leaves the trainer as it was before. */
static bool finish(struct session *session)
{
    bool saved = save_weights(session), drawn = true;
    if (session->history.count >= 2)
        drawn = plot_losses(&session->history, session->run.losses, &session->problem);
    return saved && drawn && show_clusters(session, session->run.clusters);
}

static void say_plan(const struct session *session)
{
    const cribo_trainer_config *config = &session->config;
    say_note("%zu pictures in %s; %lld steps of %lld pictures, %lld to an epoch; to %s",
        session->folder.count, session->options->folder, (long long)session->total_steps,
        (long long)config->batch_size, (long long)config->steps_per_epoch, session->options->out);
}

/* Means over the first and the last twentieth of the steps. */
static void say_losses(const struct history *history)
{
    static const char *const names[HISTORY_CURVES] = {
        "mean of the losses", "[CLS]", "objects, other view", "objects, other image"};
    size_t stretch = history->count / 20 + 1;
    for (int k = 0; k < HISTORY_CURVES; k++) {
        size_t first = 0;
        while (first < history->count && isnan(history->losses[first][k])) first++;
        if (first == history->count) continue;
        say_note("%-20s first %.4f, last %.4f", names[k], history_mean(history, k, first, first + stretch),
            history_mean(history, k, history->count - stretch, history->count));
    }
}

static void say_summary(struct session *session)
{
    char took[32];
    size_t broken = loader_broken(session->loader);
    format_time(took, sizeof took, now() - session->began);
    if (broken) say_warning("%zu of %zu pictures could not be read", broken, session->folder.count);
    say_note("%zu steps in %s", session->history.count, took);
    say_losses(&session->history);
    say_note("weights: %s\nlosses:  %s\nobjects: %s (before training: %s)", session->run.weights,
        session->run.losses, session->run.clusters, session->run.clusters_start);
}

static void session_free(struct session *session)
{
    loader_free(session->loader);
    cribo_trainer_free(session->trainer);
    showcase_free(&session->showcase);
    history_free(&session->history);
    run_close(&session->run);
    folder_free(&session->folder);
}

/* Reports a failure and tells whether there was one. */
static bool failed(const struct session *session, bool worked)
{
    if (!worked) say_error("%s", session->problem.text);
    return !worked;
}

static int train_and_finish(struct session *session)
{
    say_plan(session);
    bool broke = failed(session, train(session));
    if (session->history.count > 0) {
        if (signal_heard) say_note("stopping early: saving the weights");
        broke |= failed(session, finish(session));
        say_summary(session);
    }
    return broke ? 1 : signal_heard ? 128 + signal_heard : 0;
}

int pretrain(const struct pretrain_options *options)
{
    struct session session = {.options = options};
    listen_to_signals();
    int status = failed(&session, prepare(&session)) ? 1 : train_and_finish(&session);
    session_free(&session);
    return status;
}
