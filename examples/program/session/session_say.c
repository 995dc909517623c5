/* See session.h: messages of a run. */
#include "session/session.h"

#include "base/say.h"

#include <math.h>
#include <stdarg.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void session_warn(struct session *session, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(session->warning, sizeof session->warning, format, arguments);
    va_end(arguments);
    say_warning("%s", session->warning);
}

void session_warn_and_go_on(struct session *session)
{
    if (!session->ranks.broken) say_warning("%s; training goes on", session->problem.text);
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
    return session_now() - session->last_line >= 10;
}

/* The parts of the progress line; the last ones are left out first where the terminal is narrow. */
enum { PARTS = 7, PART = 128 };

/* Means over the newest steps, as the end of the run has them too. */
static void print_losses(char parts[PARTS][PART], const struct history *history)
{
    char between[32] = "-";
    double means[HISTORY_CURVES];
    size_t first = history->count > SESSION_WINDOW ? history->count - SESSION_WINDOW : 0;
    for (int k = 0; k < HISTORY_CURVES; k++) means[k] = history_mean(history, k, first, history->count);
    if (!isnan(means[3])) snprintf(between, sizeof between, "%.3f", means[3]);
    snprintf(parts[1], PART, "mean loss %.3f", means[0]);
    snprintf(parts[5], PART, "[CLS] %.3f, other view %.3f, other image %s", means[1], means[2], between);
}

/* The newest, and before training. */
static void print_retrieval(char part[PART], const struct history *history)
{
    double start = history_retrieval_start(history), newest = history_retrieval_newest(history);
    if (isnan(newest))
        snprintf(part, PART, "view retrieval -");
    else if (history->retrieval_count < 2 || isnan(start))
        snprintf(part, PART, "view retrieval %.1f %%", newest);
    else
        snprintf(part, PART, "view retrieval %.1f %% (began at %.1f %%)", newest, start);
}

/* Of the newest evaluation; empty if there was none. */
static void print_score(char part[PART], const struct look_scores *scores)
{
    part[0] = '\0';
    if (isfinite(scores->newest))
        snprintf(part, PART, "mIoU %.1f %% (best %.1f %% at step %lld)", 100 * scores->newest,
            100 * scores->best, (long long)scores->best_step);
}

void session_say_step(struct session *session, const cribo_report *report)
{
    char left[32], parts[PARTS][PART], line[PARTS * PART] = "";
    int64_t done = report->step + 1;
    if (!line_is_due(session, report->step)) return;
    session->last_line = session_now();
    format_time(left, sizeof left, session->seconds_per_step * (double)(session->total_steps - done));
    snprintf(
        parts[0], PART, "step %lld/%lld, %s left", (long long)done, (long long)session->total_steps, left);
    print_losses(parts, &session->history);
    print_retrieval(parts[2], &session->history);
    print_score(parts[3], &session->look.scores);
    snprintf(parts[4], PART, "%.1f pictures/s", session->images_per_step / session->seconds_per_step);
    snprintf(parts[6], PART, "epoch %lld", (long long)report->epoch + 1);
    for (int i = 0; i < PARTS && strlen(line) + 2 + strlen(parts[i]) <= say_width(); i++) {
        strcat(line, i && parts[i][0] ? ", " : "");
        strcat(line, parts[i]);
    }
    say_progress("%s", line[0] ? line : parts[0]);
}

/* The choice of the length and, without a preset, of the network. */
static void say_time(const struct session *session)
{
    const struct time_plan *plan = &session->time;
    char choice[256], budget[TIME_TEXT];
    if (plan->budget <= 0 || session->checkpoint) return;
    settings_say_choice(&session->options->settings, session->pictures.count, choice, sizeof choice);
    if (choice[0] && !session->options->weights)
        say_note("width %lld, depth %lld, batches of %lld: %s", (long long)session->config.width,
            (long long)session->config.depth, (long long)session->config.batch_size, choice);
    time_print(budget, plan->budget);
    say_note(
        "--time %s: a step takes %.3g s (%lld were timed), so the run has %lld steps; --steps %lld in place "
        "of --time, with the same network, repeats it exactly",
        budget, plan->seconds_per_step, (long long)plan->measured, (long long)plan->steps,
        (long long)plan->steps);
}

static void say_memory(const struct session *session)
{
    const double gib = 1 << 30;
    double needed = (double)session->trainer_bytes / gib, available = (double)session->available_bytes / gib;
    if (session->available_bytes)
        say_note("%.2f GiB of memory for the trainer, of %.2f GiB available", needed, available);
    else
        say_note("%.2f GiB of memory for the trainer", needed);
}

void session_say_plan(const struct session *session)
{
    const cribo_trainer_config *config = &session->config;
    say_time(session);
    say_note("%zu pictures in %s; %lld steps of %lld pictures, %lld to an epoch; to %s",
        session->pictures.count, session->options->sources[0], (long long)session->total_steps,
        (long long)config->batch_size, (long long)config->steps_per_epoch, session->options->out);
    say_memory(session);
    if (session->checkpoint)
        say_note("%lld steps are done: going on from %s%s", (long long)session->step, session->checkpoint,
            session->options->resume ? "" : " (--overwrite begins anew)");
}

/* Means over the first and the last steps, the latter as in the progress line. */
static void say_losses(const struct history *history)
{
    for (int k = 0; k < HISTORY_CURVES; k++) {
        size_t first = 0, last = history->count > SESSION_WINDOW ? history->count - SESSION_WINDOW : 0;
        while (first < history->count && isnan(history->losses[first][k])) first++;
        if (first == history->count) continue;
        say_note("%-24s first %.3f, last %.3f", history_names[k],
            history_mean(history, k, first, first + SESSION_WINDOW),
            history_mean(history, k, last, history->count));
    }
}

static void say_retrieval(const struct history *history)
{
    double start = history_retrieval_start(history), newest = history_retrieval_newest(history);
    if (history->retrieval_count < 2 || isnan(start)) return;
    say_note("%-24s first %.1f %%, last %.1f %%%s", "view retrieval", start, newest,
        newest > start ? "" : ": no better than before training");
}

static void say_scores(const struct look_scores *scores)
{
    if (!isfinite(scores->newest)) return;
    say_note("%-24s first %.2f %%, last %.2f %%, best %.2f %% at step %lld", "mIoU by retrieval",
        100 * scores->first, 100 * scores->newest, 100 * scores->best, (long long)scores->best_step);
}

/* Names an existing result, with the folder's present name. */
static void say_result(const struct session *session, const char *what, const char *path)
{
    char folder[PATH_MAX];
    if (access(path, F_OK)) return;
    ssize_t length = readlink(session->run.place, folder, sizeof folder - 1);
    folder[length > 0 ? length : 0] = '\0';
    const char *given = session->options->out;
    char now[PATH_MAX];
    bool moved = length > 0 && (!realpath(given, now) || strcmp(now, folder));
    say_note("%-8s %s%s", what, moved ? folder : given, strrchr(path, '/'));
}

void session_say_summary(struct session *session)
{
    char took[32];
    size_t broken = loader_broken(session->loader);
    format_time(took, sizeof took, session_now() - session->began);
    if (broken) say_warning("%zu of %zu pictures could not be read", broken, session->pictures.count);
    complaints_say_rest(&session->complaints);
    say_note("%lld steps in %s", (long long)(session->step - session->first_step), took);
    say_losses(&session->history);
    say_retrieval(&session->history);
    say_scores(&session->look.scores);
    say_result(session, "weights", session->run.weights);
    say_result(session, "best", session->run.best);
    say_result(session, "losses", session->run.losses);
    say_result(session, "before", session->run.clusters_start);
    say_result(session, "objects", session->run.clusters);
    say_result(session, "both", session->run.clusters_both);
}
