/* See session.h: saving a run. */
#include "session/session.h"

#include "base/say.h"
#include "models/size.h"

#include <stdio.h>
#include <stdlib.h>

/* The position of the run, for its checkpoint; free with position_free. */
static bool copy_position(struct session *session, struct position *position)
{
    *position = session->position;
    position->broken_count = loader_broken_before(session->loader, position->batches, NULL);
    position->broken = malloc((position->broken_count + 1) * sizeof *position->broken);
    if (!position->broken) return problem_no_memory(&session->problem);
    loader_broken_before(session->loader, position->batches, position->broken);
    watch_print(&session->watch, position->watch);
    return true;
}

/* Weights that have diverged do not replace good ones. */
static bool is_sound(struct session *session)
{
    double largest;
    const char *name;
    if (!model_largest(cribo_trainer_student(session->trainer), &largest, &name, &session->problem))
        return false;
    return largest < MODEL_LARGEST ||
           problem_set(&session->problem,
               "the weights have diverged and are not saved: %s reaches %.3g at step %lld; begin again, or "
               "go on from the newest checkpoint, with a lower --learning-rate or with --clip-norm",
               name, largest, (long long)session->step);
}

bool session_save(struct session *session, bool in_background)
{
    if (!is_sound(session)) return false;
    const struct pretrain_options *options = session->options;
    struct saving_place place = {
        session->run.place, session->run.weights, options->keeping, session_writes(session)};
    if (!place.writes) place.keeping.keep = 0;
    struct position position;
    session->last_save = session_now();
    if (session_writes(session)) run_flush(&session->run);
    if (!ranks_agree(&session->ranks, copy_position(session, &position), &session->problem)) return false;
    if (in_background)
        return ranks_agree(&session->ranks,
            saving_begin(
                &session->saving, &place, session->trainer, session->step, &position, &session->problem),
            &session->problem);
    struct problem before;
    if (!saving_end(&session->saving, &before)) say_warning("%s", before.text);
    return saving_now(&place, session->trainer, session->step, &position, &session->problem);
}

bool session_save_best(struct session *session)
{
    char score[32];
    const char *const keys[] = {"augmentation", "mean_iou"}, *const values[] = {
                                                                 session->position.recipe, score};
    const cribo_save_options options = {
        .struct_size = sizeof options, .metadata_count = 2, .metadata_keys = keys, .metadata_values = values};
    snprintf(score, sizeof score, "%.9g", session->look.scores.best);
    return cribo_trainer_save_weights_with(session->trainer, session->run.best, &options) == CRIBO_OK ||
           problem_library(&session->problem);
}

/* Whether the ends of epochs are rarer than saves; then they are saved, too. */
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
    double minutes = (session_now() - session->last_save) / 60;
    if (options->save_minutes && minutes >= (double)options->save_minutes) return true;
    return step % session->config.steps_per_epoch == 0 && epochs_are_long(session);
}

/* After a failed save the next may succeed; until then the older checkpoint is kept. */
void session_save_when_due(struct session *session)
{
    int64_t due = save_is_due(session); /* by the clock of rank 0 */
    if (!ranks_follow(&session->ranks, &due, &session->problem) || !due) return;
    bool saved = session_save(session, session->options->save_in_background);
    if (!saved || !session_show_clusters(session, session->run.clusters, true))
        session_warn_and_go_on(session);
}
