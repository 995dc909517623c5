/*
 * Changes of settings while a trainer or an objective lives. See live.h.
 *
 * Every step reads these settings from the configs anew: schedules are functions of settings and step, and
 * the memory of a step does not depend on them.
 */
#include "training/live.h"

#include "communication/meeting.h"
#include "training/schedule.h"
#include "training/settings.h"

static const cb_setting_group groups[] = {
    {"drop_path, position_weight, position_weight_final, sinkhorn_lambda, sinkhorn_iterations, "
     "cluster_iterations, update_marginal, "
     "cross_image_epochs, cross_image_steps, cross_image_objects, "
     "student_temperature, object_student_temperature, teacher_temperature_start, teacher_temperature, "
     "object_teacher_temperature_start, object_teacher_temperature, teacher_temperature_epochs, "
     "teacher_temperature_steps, centre_momentum, authors_normalisation, "
     "learning_rate, learning_rate_final, learning_rate_batch, warmup_epochs, warmup_steps, "
     "weight_decay, weight_decay_final, ema_momentum, ema_momentum_final, clip_norm, clip_per_tensor, "
     "freeze_last_layer_epochs, freeze_last_layer_steps, heads_only_steps, "
     "epochs, steps_per_epoch, total_steps, global_weight, cross_view_weight, cross_image_weight, "
     "koleo_weight, object_koleo_weight, local_weight, gram_weight",
        NULL},
    {"seed", "it is the key of every random draw of the run"},
    {NULL, "networks and memory are made for it at creation"},
};

/* The vectors of KoLeo have memory where its weight was above 0 at creation. */
static cribo_status check_koleo(const char *name, double weight, const cb_koleo_vectors *vectors)
{
    CB_REQUIRE(weight == 0 || vectors->x[0],
        "%s cannot change while the handle lives: it was 0 at creation, so its vectors have no memory", name);
    return CRIBO_OK;
}

static cribo_status check_memory(const cb_objective *objective, const cribo_objective_config *config)
{
    CB_TRY(check_koleo("koleo_weight", config->koleo_weight, &objective->koleo_cls));
    return check_koleo("object_koleo_weight", config->object_koleo_weight, &objective->koleo_objects);
}

/* The new settings of the objective inside. */
static void configure(cb_learner *learner, const cribo_objective_config *config)
{
    cb_objective *objective = learner->objective;
    objective->config = *config;
    cribo_clusterer_config clusterer = *cb_clusterer_config(objective->clusterer);
    cb_config_project(&cb_clusterer_settings, &clusterer, &cb_objective_settings, config);
    cb_clusterer_configure(objective->clusterer, &clusterer);
}

static cribo_status check_token_change(const cb_token_trainer *trainer, cribo_status status, const char *name,
    double value, cribo_objective_config *changed)
{
    CB_TRY(status);
    CB_TRY(cb_config_change(&cb_objective_settings, groups, changed, name, value));
    CB_TRY(cb_schedule_settle(&cb_objective_settings, changed));
    return check_memory(trainer->learner.objective, changed);
}

cribo_status cb_token_trainer_change(
    cb_token_trainer *trainer, cribo_status status, const char *name, double value)
{
    cribo_objective_config changed = trainer->config;
    status = check_token_change(trainer, status, name, value, &changed);
    CB_TRY(cb_ranks_meet(trainer->ranks,
        &(cb_meeting){"cribo_objective_set_setting", &cb_objective_settings, &changed}, status));
    trainer->config = changed;
    configure(&trainer->learner, &changed);
    return CRIBO_OK;
}

static cribo_status check_change(const cb_trainer *trainer, cribo_status status, const char *name,
    double value, cribo_trainer_config *changed)
{
    const cb_objective *objective = trainer->learner.objective;
    CB_TRY(status);
    CB_TRY(cb_config_change(&cb_trainer_settings, groups, changed, name, value));
    CB_TRY(cb_schedule_settle(&cb_trainer_settings, changed));
    CB_REQUIRE(changed->gram_weight == 0 || trainer->anchor,
        "gram_weight cannot change while the handle lives: it was 0 at creation, so there is no anchor");
    const cribo_objective_config method = cb_objective_config_of(changed, &objective->layout);
    return check_memory(objective, &method);
}

static void adopt(cb_trainer *trainer, const cribo_trainer_config *changed)
{
    cb_learner *learner = &trainer->learner;
    cb_model *const models[] = {trainer->student, trainer->teacher, trainer->average};
    const cribo_objective_config objective = cb_objective_config_of(changed, &learner->objective->layout);
    trainer->config = *changed;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        if (models[i])
            cb_config_project(&cb_model_settings, &models[i]->config, &cb_trainer_settings, changed);
    configure(learner, &objective);
    learner->average_from = cb_schedule_total_steps(&objective) - changed->average_steps;
}

cribo_status cb_trainer_change(cb_trainer *trainer, cribo_status status, const char *name, double value)
{
    cribo_trainer_config changed = trainer->config;
    status = check_change(trainer, status, name, value, &changed);
    CB_TRY(cb_ranks_meet(
        trainer->ranks, &(cb_meeting){"cribo_trainer_set_setting", &cb_trainer_settings, &changed}, status));
    adopt(trainer, &changed);
    return CRIBO_OK;
}
