/* See session.h: what a run tells its user. */
#include "session/session.h"

#include "base/say.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

void session_warn(struct session *session, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(session->warning, sizeof session->warning, format, arguments);
    va_end(arguments);
    say_warning("%s", session->warning);
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

void session_say_step(struct session *session, const cribo_report *report, double images_per_second)
{
    char left[32], between[32] = "-";
    if (!line_is_due(session, report->step)) return;
    session->last_line = session_now();
    format_time(
        left, sizeof left, session->seconds_per_step * (double)(session->total_steps - report->step - 1));
    if (report->cross_image_on != 0) snprintf(between, sizeof between, "%.3f", report->cross_image_loss);
    say_progress(
        "step %lld/%lld, %s left: loss %.3f (cls %.3f, view %.3f, image %s), %.1f images/s, epoch %lld",
        (long long)report->step + 1, (long long)session->total_steps, left, report->loss, report->global_loss,
        report->cross_view_loss, between, images_per_second, (long long)report->epoch + 1);
}

void session_say_plan(const struct session *session)
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
    size_t stretch = history->count / 20 + 1;
    for (int k = 0; k < HISTORY_CURVES; k++) {
        size_t first = 0;
        while (first < history->count && isnan(history->losses[first][k])) first++;
        if (first == history->count) continue;
        say_note("%-20s first %.4f, last %.4f", history_names[k],
            history_mean(history, k, first, first + stretch),
            history_mean(history, k, history->count - stretch, history->count));
    }
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
    say_note("weights: %s\nlosses:  %s\nobjects: %s (before training: %s)", session->run.weights,
        session->run.losses, session->run.clusters, session->run.clusters_start);
}
