/* See session.h: one batch, and its reports. */
#include "session/session.h"

#include "base/say.h"

#include <math.h>

/* The outcome of a batch. */
struct outcome_of_step {
    cribo_report report;
    bool skipped;
    double score;
    double seconds;
    double view_retrieval; /* in per cent; NaN: not measured */
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

/* Records a batch that was used or skipped in log, history and watch. */
static bool note_step(struct session *session, const struct outcome_of_step *done)
{
    const cribo_report *report = &done->report;
    struct log_line line = {.report = *report,
        .batch = session->position.batches - 1,
        .images_per_second = done->seconds > 0 ? (double)report->images / done->seconds : 0,
        .wait_ms = 1e3 * session->waited,
        .loss_score = done->score,
        .view_retrieval = done->view_retrieval,
        .view_retrieval_start = history_retrieval_start(&session->history),
        .warning = session->warning,
        .skipped = done->skipped};
    if (session_writes(session)) run_log(&session->run, &line);
    session->warning[0] = '\0';
    warn_of_stall(session, done->seconds);
    if (done->skipped) return true;
    double weight = fmax(0.05, 1 / (double)(session->step - session->first_step));
    session->seconds_per_step += weight * (done->seconds - session->seconds_per_step);
    session->images_per_step += weight * ((double)report->images - session->images_per_step);
    if (!history_add(&session->history, report, &session->problem)) return false;
    session_say_step(session, report);
    return true;
}

static bool look(void *argument, struct problem *problem)
{
    struct session *session = argument;
    const struct look_subject subject = {
        session->trainer, &session->config, &session->recipe, &session->showcase, session->step};
    return look_now(&session->look, &subject, problem);
}

void session_look(struct session *session)
{
    bool looked = ranks_alone(&session->ranks, look, session, &session->problem);
    if (!looked) session_warn_and_go_on(session);
    if (!looked || !session->look.options->data.train) return;
    if (session_writes(session)) run_log_score(&session->run, session->step, session->look.scores.newest);
    int64_t best = look_is_best(&session->look);
    if (ranks_follow(&session->ranks, &best, &session->problem) && best && !session_save_best(session))
        session_warn_and_go_on(session);
}

void session_end_without_gain(struct session *session)
{
    int64_t ends = look_ends_run(&session->look);
    if (!ranks_follow(&session->ranks, &ends, &session->problem) || !ends) return;
    session->last_step = session->step;
    say_note("the run ends: no evaluation after that of step %lld was better (--patience %lld)",
        (long long)session->look.scores.best_step, (long long)session->look.options->patience);
}

/* Before a save, so that a resumed run does not repeat the look. A failure does not stop the run. */
static void look_when_due(struct session *session)
{
    bool last = session->step == session->total_steps;
    if (!look_is_due(&session->look, session->step, session->config.steps_per_epoch, last)) return;
    session_look(session);
    session_end_without_gain(session);
}

/* A measurement by rank 0, and its result. */
struct retrieval {
    struct session *session;
    double percent;
};

static bool retrieve(void *argument, struct problem *problem)
{
    struct retrieval *retrieval = argument;
    struct session *session = retrieval->session;
    struct frozen frozen =
        frozen_of(cribo_trainer_teacher(session->trainer), &session->config, &session->recipe);
    return view_retrieval_measure(
               &session->view_retrieval, &frozen, session->options->threads, &retrieval->percent, problem) &&
           (!isfinite(retrieval->percent) ||
               history_add_retrieval(&session->history, (double)session->step, retrieval->percent, problem));
}

double session_retrieve(struct session *session)
{
    struct retrieval retrieval = {session, NAN};
    if (!ranks_alone(&session->ranks, retrieve, &retrieval, &session->problem) && !session->ranks.broken)
        session_warn(session, "%s; training goes on", session->problem.text);
    return retrieval.percent;
}

/* What may help a run whose features find fewer places than before it. */
static const char *advice(const struct session *session, const cribo_report *report)
{
    if (session->options->weights)
        return "a lower --learning-rate or fewer steps keep more of the given weights";
    double directions = session->config.authors_normalisation ? 1 : 2; /* the paper's loss is a sum of both */
    if (report->global_loss > 0.95 * directions * report->uniform_loss && !session->config.sinkhorn_centring)
        return "the loss of [CLS] is near that of equal distributions: try --sinkhorn-centring 3, or "
               "--teacher-temperature 0.025 --teacher-temperature-start 0.025";
    if (report->prototypes_used < 0.1)
        return "few object prototypes are in use: try --cross-view-weight 0.3 --cross-image-weight 0.3, or "
               "fewer --clusters";
    return "try more steps or pictures, or a higher --learning-rate";
}

/* Measures when it is due, and warns once, after a third of the run, if nothing was gained. */
static double retrieve_when_due(struct session *session, const cribo_report *report)
{
    double start = history_retrieval_start(&session->history), percent;
    if (!view_retrieval_is_due(session->step, session->total_steps)) return NAN;
    percent = session_retrieve(session);
    if (view_retrieval_is_conclusive(session->step, session->total_steps) && isfinite(percent) &&
        !history_retrieval_rose(&session->history))
        session_warn(session,
            "step %lld: view retrieval is %.1f %%, before training it was %.1f %%; %s (docs/program.md, "
            "\"View retrieval\")",
            (long long)session->step, percent, start, advice(session, report));
    return percent;
}

/* The phases of a step up to the decision about the update. */
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

/* The losses in the sum, which jumps when another one begins. */
static int parts_of(const cribo_report *report)
{
    return report->cross_image_loss > 0 ? 3 : 2;
}

static double score_of(const struct session *session, const cribo_report *report)
{
    return watch_score(&session->watch, report->loss, parts_of(report));
}

/* Skips the update after a spike or NaN of the loss; the trainer is then unchanged. */
static cribo_status step_or_skip(
    struct session *session, const cribo_batch *batch, struct outcome_of_step *done)
{
    cribo_status status = learn(session, batch, done);
    done->score = status == CRIBO_OK ? score_of(session, &done->report) : INFINITY;
    done->skipped = watch_skips(&session->watch, done->score);
    if (status == CRIBO_OK && !done->skipped) status = cribo_trainer_update(session->trainer, &done->report);
    if (status == CRIBO_NOT_FINITE) done->skipped = watch_skips(&session->watch, INFINITY);
    if (status == CRIBO_NOT_FINITE && done->skipped) {
        session_warn(session, "%s", cribo_last_error());
        done->report.loss = done->report.global_loss = done->report.cross_view_loss =
            done->report.cross_image_loss = NAN; /* not known */
        done->score = INFINITY;
        status = CRIBO_OK;
    }
    done->report.step = session->step;
    done->report.images = session->images;
    if (status != CRIBO_OK || done->skipped) { /* the message of the first failure is kept */
        cribo_status forgotten = cribo_trainer_forget(session->trainer);
        if (status == CRIBO_OK) status = forgotten;
    }
    return status;
}

static void warn_of_spike(struct session *session, const struct outcome_of_step *done)
{
    if (!watch_warns(&session->watch, done->score)) return;
    session_warn(session, "step %lld: loss %.4f is %.1f deviations above the mean of the last %d steps%s",
        (long long)done->report.step + 1, done->report.loss, done->score, WATCH_WINDOW,
        done->skipped                  ? "; its update is left out"
        : session->watch.skip_from > 0 ? "; enough were left out"
                                       : "");
}

static void warn_of_collapse(struct session *session, const cribo_report *report)
{
    if (watch_objects_collapse(&session->watch, report))
        session_warn(session, "collapse at step %lld: few of the object prototypes are in use",
            (long long)report->step + 1);
}

cribo_batch session_batch(const struct loader_batch *loaded, const struct recipe *recipe)
{
    const double *mean = recipe->mean, *deviation = recipe->deviation;
    return (cribo_batch){.struct_size = sizeof(cribo_batch),
        .images = loaded->images,
        .view1_bytes = loaded->view1,
        .view2_bytes = loaded->view2,
        .mean = {mean[0], mean[1], mean[2]},
        .deviation = {deviation[0], deviation[1], deviation[2]},
        .crops1 = loaded->crops1,
        .crops2 = loaded->crops2,
        .ids = loaded->ids,
        .local_views_bytes = loaded->local};
}

bool session_step(struct session *session, const struct loader_batch *loaded, double began)
{
    struct outcome_of_step done = {.report.struct_size = sizeof done.report};
    cribo_batch batch = session_batch(loaded, &session->recipe);
    cribo_status status = session->watch.skip_from > 0
                              ? step_or_skip(session, &batch, &done)
                              : cribo_trainer_step(session->trainer, &batch, &done.report);
    if (status != CRIBO_OK) return problem_library(&session->problem);
    if (session->watch.skip_from <= 0) done.score = score_of(session, &done.report);
    warn_of_spike(session, &done);
    if (!done.skipped) warn_of_collapse(session, &done.report);
    watch_note(&session->watch, done.report.loss, parts_of(&done.report), done.skipped);
    session->step = done.report.step + !done.skipped;
    session->position.batches = loader_taken(session->loader);
    done.seconds = session_now() - began;
    done.view_retrieval = done.skipped ? NAN : retrieve_when_due(session, &done.report);
    if (!note_step(session, &done)) return false;
    if (!done.skipped) look_when_due(session);
    if (!done.skipped) session_save_when_due(session);
    return true;
}
