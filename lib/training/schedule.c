/* Schedules. See schedule.h; the formulas are those of the authors' code. */
#include "training/schedule.h"

#include "objective/settings.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

static int64_t at_most(int64_t value, int64_t limit)
{
    return value < limit ? value : limit;
}

double cb_schedule_cosine(
    double start, double base, double final, int64_t warmup, int64_t total, int64_t step)
{
    step = at_most(step, total - 1);
    if (step < warmup) return cb_schedule_linear(start, base, warmup, step);
    double progress = (double)(step - warmup) / (double)(total - warmup);
    return final + 0.5 * (base - final) * (1 + cos(pi * progress));
}

double cb_schedule_linear(double first, double last, int64_t count, int64_t index)
{
    if (index >= count) return last;
    if (count == 1) return first;
    return first + (last - first) * (double)index / (double)(count - 1);
}

double cb_schedule_position_weight(double first, double last, int64_t epochs, int64_t epoch)
{
    return cb_schedule_linear(first, last, epochs, at_most(epoch, epochs - 1));
}

/* --- epochs --- */

/* The length of a run, and of its beginnings. */
static const struct {
    const char *epochs, *steps, *what;
} spans[] = {
    {"epochs", "total_steps", NULL},
    {"warmup_epochs", "warmup_steps", "the warm-up of the learning rate"},
    {"teacher_temperature_epochs", "teacher_temperature_steps", "the rise of the teacher's temperature"},
    {"cross_image_epochs", "cross_image_steps", "the wait for the cross-image loss"},
    {"freeze_last_layer_epochs", "freeze_last_layer_steps", "the freeze of the prototype layers"},
};

static double value_of(const cb_config_table *table, const void *config, const char *name)
{
    return cb_config_get(cb_config_find(table, name), config);
}

/* Room for every name in `spans`. */
typedef struct name_list {
    char text[160];
} name_list;

static void append(name_list *list, const char *name)
{
    size_t length = strlen(list->text);
    snprintf(list->text + length, sizeof list->text - length, "%s%s", length ? ", " : "", name);
}

/* Lists the settings in epochs that no setting in steps replaces, and their counterparts in steps. */
static void list_spans(const cb_config_table *table, const void *config, name_list *epochs, name_list *steps)
{
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        if (value_of(table, config, spans[i].epochs) == 0 || value_of(table, config, spans[i].steps) != 0)
            continue;
        append(epochs, spans[i].epochs);
        append(steps, spans[i].steps);
    }
}

cribo_status cb_schedule_settle(const cb_config_table *table, void *config)
{
    const cb_field *per_epoch = cb_config_find(table, "steps_per_epoch");
    name_list epochs = {{0}}, steps = {{0}};
    if (cb_config_get(per_epoch, config) != 0) return CRIBO_OK;
    list_spans(table, config, &epochs, &steps);
    CB_REQUIRE(!epochs.text[0],
        "steps_per_epoch is 0 (not set), but these settings are in epochs: %s. Set steps_per_epoch to the "
        "number of batches in an epoch, or set %s",
        epochs.text, steps.text);
    cb_config_put(per_epoch, config, 1);
    return CRIBO_OK;
}

/* --- the values of a step --- */

#define MOST_STEPS 1e18 /* longer spans are cut to this; sums of a few still fit an integer */

/* A span given in steps, or else in epochs. */
static int64_t span_steps(const cribo_objective_config *config, int64_t steps, double epochs)
{
    return steps != 0 ? steps : (int64_t)llround(fmin(epochs * (double)config->steps_per_epoch, MOST_STEPS));
}

int64_t cb_schedule_total_steps(const cribo_objective_config *config)
{
    int64_t total = span_steps(config, config->total_steps, config->epochs);
    return total > 1 ? total : 1;
}

void cb_schedule_warn(const cb_runtime *runtime, const cribo_objective_config *config)
{
    char text[400] = "";
    int64_t total = cb_schedule_total_steps(config);
    for (size_t i = 1; i < sizeof spans / sizeof spans[0]; i++) {
        int64_t steps = span_steps(config, (int64_t)value_of(&cb_objective_settings, config, spans[i].steps),
            value_of(&cb_objective_settings, config, spans[i].epochs));
        size_t length = strlen(text);
        if (steps < total || steps <= 1) continue;
        snprintf(text + length, sizeof text - length, "%s %s takes %lld (%s)", length ? "," : "",
            spans[i].what, (long long)steps, spans[i].steps);
    }
    if (text[0]) cb_log(runtime, CRIBO_LOG_WARNING, "the run has %lld steps, but%s", (long long)total, text);
}

static double temperature(
    const cribo_objective_config *config, double start, double final, int64_t epoch, int64_t step)
{
    if (config->teacher_temperature_steps != 0)
        return cb_schedule_linear(start, final, config->teacher_temperature_steps, step);
    return cb_schedule_linear(start, final, (int64_t)llround(config->teacher_temperature_epochs), epoch);
}

void cb_schedule_at(const cribo_objective_config *config, int64_t step, cribo_step_values *out)
{
    int64_t total = cb_schedule_total_steps(config);
    int64_t epochs = (total + config->steps_per_epoch - 1) / config->steps_per_epoch;
    int64_t warmup = span_steps(config, config->warmup_steps, config->warmup_epochs);
    double peak = config->learning_rate;
    if (config->learning_rate_batch)
        peak = peak * (double)config->batch_size / (double)config->learning_rate_batch;

    *out = (cribo_step_values){.struct_size = sizeof *out, .epoch = step / config->steps_per_epoch};
    step = at_most(step, total - 1);
    int64_t epoch = step / config->steps_per_epoch;
    out->learning_rate = cb_schedule_cosine(0, peak, config->learning_rate_final, warmup, total, step);
    out->weight_decay =
        cb_schedule_cosine(0, config->weight_decay, config->weight_decay_final, 0, total, step);
    out->ema_momentum =
        cb_schedule_cosine(0, config->ema_momentum, config->ema_momentum_final, 0, total, step);
    out->teacher_temperature =
        temperature(config, config->teacher_temperature_start, config->teacher_temperature, epoch, step);
    out->object_teacher_temperature = temperature(
        config, config->object_teacher_temperature_start, config->object_teacher_temperature, epoch, step);
    out->position_weight =
        cb_schedule_position_weight(config->position_weight, config->position_weight_final, epochs, epoch);
    out->last_layer_frozen =
        step < span_steps(config, config->freeze_last_layer_steps, config->freeze_last_layer_epochs);
    out->cross_image = step >= span_steps(config, config->cross_image_steps, config->cross_image_epochs);
}
