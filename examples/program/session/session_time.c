/* See session.h: the number of steps that fit into a time. */
#include "session/session.h"

#include "base/say.h"

/* A trainer to time: all losses from the first step on, and weights that stay. */
static bool make_trial(struct session *session, cribo_trainer **trainer)
{
    cribo_trainer_config trial = session->config;
    cribo_runtime runtime;
    trial.cross_image_steps = trial.freeze_last_layer_steps = trial.cross_image_objects = 1;
    trial.learning_rate = trial.learning_rate_final = 0;
    if (cribo_runtime_init(&runtime, sizeof runtime) != CRIBO_OK) return problem_library(&session->problem);
    runtime.threads = session->options->threads;
    return cribo_trainer_create_distributed(trainer, &trial, &runtime, ranks_communicator(&session->ranks)) ==
               CRIBO_OK ||
           problem_library(&session->problem);
}

static void say_nothing(void *user, const char *name, const char *reason)
{
    (void)user, (void)name, (void)reason;
}

/* The loader of the trial; the run's begins anew. */
static bool make_loader(struct session *session)
{
    struct loader_options options;
    session_loader_options(session, &options);
    options.say_broken = say_nothing;
    return ranks_agree(
        &session->ranks, loader_create(&session->loader, &options, &session->problem), &session->problem);
}

static bool step(struct session *session, cribo_trainer *trainer)
{
    struct loader_batch loaded;
    if (!session_next_batch(session, &loaded, 0)) return false;
    if (session->images == 0) return true;
    cribo_batch batch = session_batch(&loaded, &session->recipe);
    return cribo_trainer_step(trainer, &batch, NULL) == CRIBO_OK || problem_library(&session->problem);
}

/* By the clock of rank 0. */
static bool goes_on(struct session *session, double spent, int64_t *more)
{
    *more = time_goes_on(&session->time, spent);
    return ranks_follow(&session->ranks, more, &session->problem);
}

static bool measure(struct session *session, cribo_trainer *trainer)
{
    struct time_plan *plan = &session->time;
    for (int i = 0; i < TIME_UNCOUNTED; i++)
        if (!step(session, trainer)) return false;
    const double began = session_now();
    double spent = 0;
    int64_t more = 0;
    for (plan->measured = 0; goes_on(session, spent, &more) && more; plan->measured++) {
        if (!step(session, trainer)) return false;
        spent = session_now() - began;
    }
    plan->seconds_per_step = plan->measured ? spent / (double)plan->measured : 0;
    return !session->ranks.broken;
}

bool session_plan_time(struct session *session, struct settings *settings)
{
    struct time_plan *plan = &session->time;
    cribo_trainer *trainer = NULL;
    plan->budget = settings->time;
    if (settings->time <= 0) return true;
    if (!session_apply(session, settings) || !session_check_ranks(session)) return false;
    say_note("timing some steps");
    bool measured = make_trial(session, &trainer) && make_loader(session) && measure(session, trainer);
    cribo_trainer_free(trainer);
    loader_free(session->loader);
    session->loader = NULL;
    if (!measured) return false;
    time_plan_steps(plan, session_now() - session->started);
    if (!ranks_share(&session->ranks, plan, sizeof *plan, &session->problem)) return false;
    settings->time_steps = plan->steps;
    return true;
}
