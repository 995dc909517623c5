/* See pretrain.h. */
#include "pretrain.h"

#include "loader.h"
#include "plot.h"
#include "run.h"
#include "saving.h"
#include "say.h"
#include "showcase.h"
#include "weights.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* All that a run owns. */
struct session {
    const struct pretrain_options *options;
    struct problem problem;
    cribo_trainer_config config;
    struct pictures pictures;
    enum run_mode mode;
    struct folder checkpoints; /* that were there, the newest first; none in a fresh run */
    struct run run;
    cribo_trainer *trainer;
    struct loader *loader;
    struct showcase showcase;
    struct history history;   /* of the whole run */
    const char *checkpoint;   /* resumed from; NULL: a fresh run */
    struct position position; /* after the last step */
    struct saving saving;
    struct watch watch;
    struct look look;
    struct stall stall;
    int64_t first_step, step; /* where this session began, and where it stands */
    int64_t total_steps;      /* of the run */
    int64_t last_step;        /* of this session */
    double began;             /* seconds */
    double last_line, last_save;
    double seconds_per_step; /* running mean */
    double waited;           /* seconds for the batch of this step */
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

static void say_broken(void *user, const char *name, const char *reason)
{
    (void)user;
    say_warning("%s: %s; others take its place", name, reason);
}

static bool library_failed(struct session *session)
{
    return problem_set(&session->problem, "%s", cribo_last_error());
}

/* Before the run's folder is made. */
static bool check_sources(struct session *session)
{
    const struct pretrain_options *options = session->options;
    for (size_t i = 0; i < options->source_count; i++)
        if (access(options->sources[i], R_OK))
            return problem_set(&session->problem, "%s: %s", options->sources[i], strerror(errno));
    return true;
}

static bool open_run(struct session *session)
{
    const struct pretrain_options *options = session->options;
    if (!checkpoints_list(&session->checkpoints, options->out, &session->problem)) return false;
    bool there = session->checkpoints.count > 0;
    if (options->resume && !there)
        return problem_set(
            &session->problem, "%s: no checkpoint to resume from; start without --resume", options->out);
    session->mode = options->overwrite ? RUN_OVERWRITE : there ? RUN_RESUME : RUN_NEW;
    if (!run_open(&session->run, options->out, session->mode, &session->problem)) return false;
    /* Again under the lock: another process may have saved meanwhile. */
    folder_free(&session->checkpoints);
    return options->overwrite || checkpoints_list(&session->checkpoints, options->out, &session->problem);
}

static bool list_pictures(struct session *session)
{
    const struct pretrain_options *options = session->options;
    if (!pictures_open(&session->pictures, session->run.pictures, options->sources, options->source_count,
            options->out, &session->problem))
        return false;
    if (session->pictures.count > UINT32_MAX)
        return problem_set(&session->problem, "%zu pictures are too many", session->pictures.count);
    return session->pictures.count > 0 || problem_set(&session->problem, "%s%s: no JPEG or PNG files in it",
                                              options->sources[0], options->source_count > 1 ? " ..." : "");
}

/* Refuses other pictures than those of the run; where they are allowed, forgets which were broken. */
static bool check_pictures(struct session *session)
{
    const struct pretrain_options *options = session->options;
    struct position *position = &session->position;
    const struct pictures *pictures = &session->pictures;
    bool same = position->digest == pictures->digest && position->files == pictures->count;
    if (!same && !options->settings.override_folder)
        return problem_set(&session->problem,
            "%s: not the list of pictures that the run was begun with (%zu now, %zu then); go on all the "
            "same by --override folder",
            options->sources[0], pictures->count, position->files);
    if (!same) position->broken_count = 0;
    position->digest = pictures->digest;
    position->files = pictures->count;
    return true;
}

static bool check_preset(struct session *session)
{
    const char *given = session->options->settings.preset, *saved = session->position.preset;
    return !given || !strcmp(given, saved) ||
           problem_set(&session->problem, "--preset=%s: the run was begun with %s%s; leave it out", given,
               saved[0] ? "--preset=" : "no preset", saved);
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

static cribo_status load_trainer(struct session *session, const char *path)
{
    const struct settings *settings = &session->options->settings;
    char names[MOST_SETTINGS * 48] = "";
    cribo_load_options options = {.struct_size = sizeof options, .overrides = names};
    for (size_t i = 0; i < settings->override_count; i++) {
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s,", settings->overrides[i]);
    }
    return cribo_trainer_load(session->trainer, path, &options);
}

/* The watch goes on as it was. */
static bool take_watch(struct session *session)
{
    struct watch *watch = &session->watch;
    const struct pretrain_options *options = session->options;
    const char *text = session->position.watch;
    *watch = (struct watch){0};
    if (text[0] && !watch_parse(watch, text))
        return problem_set(
            &session->problem, "what the checkpoint says of the losses makes no sense: %s", text);
    double saved = watch->skip_from, given = options->skip_from;
    if (given < 0 || given == saved) return true;
    watch->skip_from = given;
    return options->settings.override_skip || problem_set(&session->problem,
                                                  "--skip-spikes is %g in the checkpoint (0: off), not %g; "
                                                  "leave it out, or change it by --override "
                                                  "skip-spikes",
                                                  saved, given);
}

/* A checkpoint that is damaged may be passed over; one that does not fit the command line may not. */
enum outcome { TAKEN, DAMAGED, REFUSED };

static enum outcome take_checkpoint(struct session *session, const char *path)
{
    const struct settings *settings = &session->options->settings;
    cribo_trainer_config saved;
    cribo_status status = cribo_trainer_config_init(&saved, sizeof saved);
    if (status == CRIBO_OK) status = cribo_checkpoint_config(path, &saved);
    if (status == CRIBO_OK &&
        !(position_read(&session->position, path, &session->problem) && check_pictures(session) &&
            check_preset(session) && take_watch(session) &&
            settings_resume(settings, &saved, session->pictures.count, &session->config, &session->problem) &&
            make_trainer(session)))
        return REFUSED;
    if (status == CRIBO_OK) status = load_trainer(session, path);
    if (status == CRIBO_OK) return TAKEN;
    library_failed(session);
    return status == CRIBO_CORRUPT ? DAMAGED : REFUSED;
}

/* The newest checkpoint that is whole; damaged ones before it are put out of the way, so that later saves count. */
static bool go_on(struct session *session)
{
    const struct folder *checkpoints = &session->checkpoints;
    for (size_t i = 0; i < checkpoints->count; i++) {
        enum outcome outcome = take_checkpoint(session, checkpoints->paths[i]);
        if (outcome == REFUSED) return false;
        if (outcome == TAKEN) {
            for (size_t k = 0; k < i; k++) checkpoints_set_aside(checkpoints->paths[k]);
            session->checkpoint = checkpoints->paths[i];
            return cribo_trainer_step_count(session->trainer, &session->first_step) == CRIBO_OK ||
                   library_failed(session);
        }
        if (i + 1 < checkpoints->count)
            say_warning("%s; going back to the checkpoint before it", session->problem.text);
        cribo_trainer_free(session->trainer);
        session->trainer = NULL;
        position_free(&session->position);
    }
    return false;
}

static bool begin(struct session *session)
{
    const struct settings *settings = &session->options->settings;
    struct position *position = &session->position;
    session->watch.skip_from = fmax(session->options->skip_from, 0);
    position->digest = session->pictures.digest;
    position->files = session->pictures.count;
    snprintf(position->preset, sizeof position->preset, "%s", settings->preset ? settings->preset : "");
    const struct pretrain_options *options = session->options;
    return settings_apply(settings, session->pictures.count, &session->config, &session->problem) &&
           make_trainer(session) &&
           (!options->weights ||
               weights_load(session->trainer, options->weights, options->weights_heads, &session->problem));
}

/* The log stands where the trainer does. */
static bool open_log(struct session *session)
{
    session->step = session->first_step;
    return run_open_log(&session->run, session->mode, session->step, &session->problem) &&
           (!session->checkpoint || run_rewind(&session->run, session->position.batches, session->step,
                                        &session->history, &session->problem));
}

static bool make_loader(struct session *session)
{
    struct loader_options options = {.pictures = &session->pictures,
        .image_size = (int)session->config.image_size,
        .batch = (size_t)session->config.batch_size,
        .workers = session->options->workers,
        .seed = (uint64_t)session->config.seed,
        .first = session->position.batches,
        .broken = session->position.broken,
        .broken_count = session->position.broken_count,
        .say_broken = say_broken};
    return loader_create(&session->loader, &options, &session->problem);
}

static bool write_config(struct session *session)
{
    const struct pretrain_options *options = session->options;
    struct run_facts facts = {.sources = options->sources,
        .source_count = options->source_count,
        .preset = session->position.preset[0] ? session->position.preset : NULL,
        .pictures = session->pictures.count,
        .threads = options->threads,
        .workers = options->workers};
    return run_write_config(&session->run, &session->config, &facts, &session->problem);
}

static bool open_look(struct session *session)
{
    const struct pretrain_options *options = session->options;
    return look_open(&session->look, &options->look, options->out, session->step, &session->problem);
}

static bool show_clusters(struct session *session, const char *path)
{
    struct image drawing;
    if (session->showcase.images == 0) return true;
    if (!showcase_teach(&session->showcase, session->trainer, &session->problem) ||
        !showcase_draw(&session->showcase, &drawing, &session->problem))
        return false;
    bool shown = run_show(&session->run, path, session->step, &drawing, &session->problem);
    image_free(&drawing);
    return shown;
}

/* From cheap to expensive, so that mistakes show at once. */
static bool prepare(struct session *session)
{
    const cribo_trainer_config *config = &session->config;
    bool prepared = check_sources(session) && open_run(session) && list_pictures(session) &&
                    (session->checkpoints.count ? go_on(session) : begin(session)) && open_log(session) &&
                    open_look(session) && write_config(session) && make_loader(session) &&
                    showcase_make(&session->showcase, &session->pictures, config, &session->problem);
    /* Without this picture the training is worth no less. */
    const char *picture = session->checkpoint ? session->run.clusters : session->run.clusters_start;
    if (prepared && !show_clusters(session, picture)) say_warning("%s", session->problem.text);
    /* Before the first step, or a resume would go on with the run that was replaced. */
    if (prepared)
        checkpoints_prune(session->options->out, session->checkpoint ? session->options->keeping.keep : 0);
    session->total_steps =
        config->total_steps ? config->total_steps : llround(config->epochs * (double)config->steps_per_epoch);
    int64_t stop = session->options->stop_after;
    session->last_step = stop && stop < session->total_steps ? stop : session->total_steps;
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
    if (say_on_terminal() || step == 0 || step + 1 == session->last_step) return true;
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

/* What one batch came to. */
struct outcome_of_step {
    cribo_report report;
    bool skipped;
    double score;
    double seconds;
};

static void warn_of_stall(struct session *session, double seconds)
{
    double share;
    if (stall_note(&session->stall, session->waited, seconds, &share))
        say_warning(
            "%.0f %% of the time went by waiting for pictures: more --workers, smaller files or a faster "
            "disk would help",
            100 * share);
}

/* A batch has been made a step of, or has been skipped: keep it everywhere. */
static bool note_step(struct session *session, const struct outcome_of_step *done)
{
    const cribo_report *report = &done->report;
    struct log_line line = {.report = *report,
        .batch = session->position.batches - 1,
        .images_per_second = done->seconds > 0 ? (double)report->images / done->seconds : 0,
        .wait_ms = 1e3 * session->waited,
        .loss_score = done->score,
        .skipped = done->skipped};
    run_log(&session->run, &line);
    warn_of_stall(session, done->seconds);
    if (done->skipped) return true;
    double weight = fmax(0.05, 1 / (double)(session->step - session->first_step));
    session->seconds_per_step += weight * (done->seconds - session->seconds_per_step);
    say_step(session, report, line.images_per_second);
    return history_add(&session->history, report, &session->problem);
}

/* Where the run stands, for its checkpoint; free with position_free. */
static bool copy_position(struct session *session, struct position *position)
{
    *position = session->position;
    position->broken_count = loader_broken_before(session->loader, position->batches, NULL);
    position->broken = malloc((position->broken_count + 1) * sizeof *position->broken);
    if (!position->broken) return problem_set(&session->problem, "no memory for a checkpoint");
    loader_broken_before(session->loader, position->batches, position->broken);
    watch_print(&session->watch, position->watch);
    return true;
}

static bool save(struct session *session, bool in_background)
{
    const struct pretrain_options *options = session->options;
    struct saving_place place = {options->out, session->run.weights, options->keeping};
    struct position position;
    session->last_save = now();
    run_flush(&session->run);
    if (!copy_position(session, &position)) return false;
    if (in_background)
        return saving_begin(
            &session->saving, &place, session->trainer, session->step, &position, &session->problem);
    struct problem before;
    if (!saving_end(&session->saving, &before)) say_warning("%s", before.text);
    return saving_now(&place, session->trainer, session->step, &position, &session->problem);
}

/* Are the ends of epochs rarer than saves? Then they are saved, too. */
static bool epochs_are_long(const struct session *session)
{
    const struct pretrain_options *options = session->options;
    int64_t steps = session->config.steps_per_epoch;
    double minutes = session->seconds_per_step * (double)steps / 60;
    return (options->save_every && options->save_every < steps) ||
           (options->save_minutes && (double)options->save_minutes < minutes);
}

static bool save_is_due(const struct session *session)
{
    const struct pretrain_options *options = session->options;
    int64_t step = session->step;
    if (step == session->last_step) return false; /* the end is saved anyway */
    if (options->save_every && step % options->save_every == 0) return true;
    double minutes = (now() - session->last_save) / 60;
    if (options->save_minutes && minutes >= (double)options->save_minutes) return true;
    return step % session->config.steps_per_epoch == 0 && epochs_are_long(session);
}

/* A save that fails may work the next time; until then the older checkpoint is there. */
static void save_when_due(struct session *session)
{
    if (!save_is_due(session)) return;
    bool saved = save(session, session->options->save_in_background);
    if (!saved || !show_clusters(session, session->run.clusters))
        say_warning("%s; training goes on", session->problem.text);
}

/* Before a save, so that a run that goes on from it does not look twice. What fails is no loss to the run. */
static void look_when_due(struct session *session)
{
    bool last = session->step == session->last_step;
    if (look_is_due(&session->look, session->step, session->config.steps_per_epoch, last) &&
        !look_now(&session->look, session->trainer, &session->config, &session->showcase, session->step,
            &session->problem))
        say_warning("%s; training goes on", session->problem.text);
}

/* The step in its phases, up to where it is known whether the update is to be made. */
static cribo_status learn(struct session *session, const cribo_batch *batch, struct outcome_of_step *done)
{
    cribo_report *report = &done->report;
    cribo_status status = cribo_trainer_teach(session->trainer, batch);
    if (status == CRIBO_OK) status = cribo_trainer_learn(session->trainer, batch);
    if (status == CRIBO_OK)
        status = cribo_trainer_losses(session->trainer, &report->loss, &report->global_loss,
            &report->cross_view_loss, &report->cross_image_loss);
    return status;
}

/* Which losses the sum has; it leaps when one more begins. */
static int parts_of(const cribo_report *report)
{
    return report->cross_image_loss > 0 ? 3 : 2;
}

static double score_of(const struct session *session, const cribo_report *report)
{
    return watch_score(&session->watch, report->loss, parts_of(report));
}

/* Leaves the update out when the loss leaps or is no number; the trainer is then as it was. */
static cribo_status step_or_skip(
    struct session *session, const cribo_batch *batch, struct outcome_of_step *done)
{
    cribo_status status = learn(session, batch, done);
    done->score = status == CRIBO_OK ? score_of(session, &done->report) : INFINITY;
    done->skipped = watch_skips(&session->watch, done->score);
    if (status == CRIBO_OK && !done->skipped) status = cribo_trainer_update(session->trainer, &done->report);
    if (status == CRIBO_NOT_FINITE) done->skipped = watch_skips(&session->watch, INFINITY);
    if (status == CRIBO_NOT_FINITE && done->skipped) {
        say_warning("%s", cribo_last_error());
        done->report.loss = NAN;
        done->score = INFINITY;
        status = CRIBO_OK;
    }
    done->report.step = session->step;
    done->report.images = batch->images;
    if (status != CRIBO_OK || done->skipped) { /* the message of what failed first stays */
        cribo_status forgotten = cribo_trainer_forget(session->trainer);
        if (status == CRIBO_OK) status = forgotten;
    }
    return status;
}

static void warn_of_spike(const struct session *session, const struct outcome_of_step *done)
{
    if (!watch_warns(&session->watch, done->score)) return;
    say_warning("step %lld: loss %.4f is %.1f deviations above the mean of the last %d steps%s",
        (long long)done->report.step, done->report.loss, done->score, WATCH_WINDOW,
        done->skipped                  ? "; its update is left out"
        : session->watch.skip_from > 0 ? "; enough were left out"
                                       : "");
}

static void warn_of_collapse(struct session *session, const cribo_report *report)
{
    const cribo_trainer_config *config = &session->config;
    /* Both views predict each other; the authors take the mean of the two, the paper their sum. */
    double terms = config->authors_normalisation ? 1 : 2;
    const char *sign =
        watch_collapse(&session->watch, report, config->global_weight * terms * report->uniform_loss);
    if (sign) say_warning("step %lld: a sign of collapse: %s", (long long)report->step, sign);
}

static bool do_step(struct session *session, const struct loader_batch *loaded, double began)
{
    struct outcome_of_step done = {.report.struct_size = sizeof done.report};
    cribo_batch batch = {.struct_size = sizeof batch,
        .images = loaded->images,
        .view1_bytes = loaded->view1,
        .view2_bytes = loaded->view2,
        .mean = {IMAGENET_MEAN},
        .deviation = {IMAGENET_DEVIATION},
        .crops1 = loaded->crops1,
        .crops2 = loaded->crops2,
        .ids = loaded->ids};
    cribo_status status = session->watch.skip_from > 0
                              ? step_or_skip(session, &batch, &done)
                              : cribo_trainer_step(session->trainer, &batch, &done.report);
    if (status != CRIBO_OK) return library_failed(session);
    if (session->watch.skip_from <= 0) done.score = score_of(session, &done.report);
    warn_of_spike(session, &done);
    if (!done.skipped) warn_of_collapse(session, &done.report);
    watch_note(&session->watch, done.report.loss, parts_of(&done.report), done.skipped);
    session->step = done.report.step + !done.skipped;
    session->position.batches = loader_taken(session->loader);
    done.seconds = now() - began;
    if (!note_step(session, &done)) return false;
    if (!done.skipped) look_when_due(session);
    if (!done.skipped) save_when_due(session);
    return true;
}

static bool train(struct session *session)
{
    bool trained = true;
    session->began = session->last_line = session->last_save = now();
    while (trained && !signal_heard && session->step < session->last_step) {
        struct loader_batch batch;
        double began = now();
        trained = loader_next(session->loader, &batch, &session->problem);
        session->waited = now() - began;
        if (!trained || batch.images == 0) continue; /* a batch of broken files only makes no step */
        trained = do_step(session, &batch, began);
    }
    say_progress_end();
    return trained;
}

/* Also after a failed step, which leaves the trainer as it was before. */
static bool finish(struct session *session)
{
    bool saved = save(session, false), drawn = true;
    if (session->history.count >= 2)
        drawn = plot_losses(&session->history, session->run.losses, &session->problem);
    return saved && drawn && show_clusters(session, session->run.clusters);
}

static void say_plan(const struct session *session)
{
    const cribo_trainer_config *config = &session->config;
    say_note("%zu pictures in %s; %lld steps of %lld pictures, %lld to an epoch; to %s",
        session->pictures.count, session->options->sources[0], (long long)session->total_steps,
        (long long)config->batch_size, (long long)config->steps_per_epoch, session->options->out);
    if (session->checkpoint)
        say_note("%lld steps are done: going on from %s%s", (long long)session->step, session->checkpoint,
            session->options->resume ? "" : " (--overwrite begins anew)");
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
    if (broken) say_warning("%zu of %zu pictures could not be read", broken, session->pictures.count);
    say_note("%lld steps in %s", (long long)(session->step - session->first_step), took);
    say_losses(&session->history);
    say_note("weights: %s\nlosses:  %s\nobjects: %s (before training: %s)", session->run.weights,
        session->run.losses, session->run.clusters, session->run.clusters_start);
}

static void session_free(struct session *session)
{
    struct problem problem;
    if (!saving_end(&session->saving, &problem)) say_warning("%s", problem.text);
    loader_free(session->loader);
    cribo_trainer_free(session->trainer);
    showcase_free(&session->showcase);
    look_free(&session->look);
    history_free(&session->history);
    run_close(&session->run);
    pictures_close(&session->pictures);
    folder_free(&session->checkpoints);
    position_free(&session->position);
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
    if (session->step >= session->last_step) say_note("nothing to do: these steps are done");
    bool broke = failed(session, train(session));
    if (session->step > session->first_step) {
        if (signal_heard) say_note("stopping early: saving; go on by --resume");
        broke |= failed(session, finish(session));
        say_summary(session);
    }
    return broke ? 1 : signal_heard ? 128 + signal_heard : 0;
}

int pretrain(const struct pretrain_options *options)
{
    struct session session = {.options = options, .run.lock = -1};
    listen_to_signals();
    int status = failed(&session, prepare(&session)) ? 1 : train_and_finish(&session);
    session_free(&session);
    return status;
}
