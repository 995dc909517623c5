/* An objective, an optimiser and their steps. See learner.h. */
#include "training/learner.h"

#include "base/clock.h"
#include "objective/commit.h"
#include "objective/learn.h"
#include "objective/match.h"
#include "objective/project.h"
#include "training/schedule.h"

#include <math.h>
#include <string.h>

cribo_status cb_learner_create(const cb_runtime *runtime, cb_learner *l, const cb_learner_parts *parts)
{
    const cb_allocator *allocator = &runtime->allocator;
    size_t d = (size_t)parts->config.width;
    *l = (cb_learner){.runtime = runtime, .student = parts->student, .teacher = parts->teacher};
    CB_TRY(cb_optimiser_create(runtime, &l->optimiser, parts->student, parts->teacher->values));
    CB_TRY(cb_objective_create(
        runtime, &l->objective, &parts->config, &parts->layout, parts->student_heads, parts->teacher_heads));
    CB_TRY(cb_allocate(allocator, &l->scratch.sums, 2 * d, sizeof *l->scratch.sums, "sums of a report"));
    return cb_allocate(allocator, &l->scratch.unit, d, sizeof *l->scratch.unit, "sums of a report");
}

void cb_learner_free(cb_learner *l)
{
    if (!l->runtime) return;
    const cb_allocator *allocator = &l->runtime->allocator;
    cb_pass_free(allocator, &l->pass);
    cb_release(allocator, l->scratch.unit);
    cb_release(allocator, l->scratch.sums);
    cb_objective_free(l->runtime, l->objective);
    cb_optimiser_free(l->runtime, &l->optimiser);
}

/* --- teach --- */

float *cb_learner_begin(cb_learner *l, size_t images, const int64_t *ids, const int64_t *seed_tokens,
    const cribo_step_values *values)
{
    cribo_step_values now;
    l->teach_start = cb_clock_ms();
    l->phase = CB_PHASE_IDLE;
    cb_schedule_at(&l->objective->config, l->step, &now);
    return cb_objective_begin(
        l->objective, &(cb_objective_batch){images, ids, seed_tokens, l->step, values ? values : &now});
}

void cb_learner_end_teaching(cb_learner *l)
{
    cb_objective_match(l->objective);
    for (size_t m = 0; m < l->objective->targets.micro_batches; m++) {
        cb_tape tape = cb_pass_begin(&l->pass, false);
        cb_objective_project(l->objective, m, &tape);
    }
    l->phase = CB_PHASE_TAUGHT;
    l->teach_ms = cb_clock_ms() - l->teach_start;
}

void cb_learner_forget(cb_learner *l)
{
    l->phase = CB_PHASE_IDLE;
}

void cb_learner_forget_targets(cb_learner *l)
{
    l->phase = CB_PHASE_IDLE;
    l->objective->targets.images = 0;
}

/* --- learn --- */

static void clear_gradients(void *context, size_t part, size_t worker)
{
    const cb_learner *l = context;
    size_t total = l->student->total;
    cb_range some = cb_part(total, part, cb_pool_parts(l->runtime->pool, total), 1);
    (void)worker;
    memset(l->student->gradients + some.begin, 0, (some.end - some.begin) * sizeof(cb_real));
}

void cb_learner_begin_learning(cb_learner *l)
{
    cb_pool *pool = l->runtime->pool;
    l->learn_ms = 0;
    l->phase = CB_PHASE_TAUGHT;
    cb_pool_run(pool, cb_pool_parts(pool, l->student->total), clear_gradients, l);
    cb_objective_begin_learning(l->objective);
}

cribo_status cb_learner_learn(cb_learner *l, size_t m, cb_tape *tape, cb_tensor tokens)
{
    cb_objective_learn(l->objective, m, tape, tokens);
    cb_tape_backward(tape);
    return cb_objective_check_losses(l->objective);
}

void cb_learner_end_learning(cb_learner *l)
{
    cb_objective_finish_learning(l->objective);
    l->phase = CB_PHASE_LEARNED;
}

/* --- update --- */

static cribo_status check_gradients(const cb_learner *l, double norm)
{
    if (isfinite(norm)) return CRIBO_OK;
    for (size_t p = 0; p < l->student->count; p++)
        if (!isfinite(l->optimiser.norms[p]))
            return cb_fail(CRIBO_NOT_FINITE, "the gradient of %s is not finite at step %lld",
                l->student->list[p].name, (long long)l->step);
    return cb_fail(CRIBO_NOT_FINITE, "the gradient's norm is not finite at step %lld", (long long)l->step);
}

/* The last thing of a step that can fail. */
static cribo_status measure_gradients(cb_learner *l, double *norm)
{
    CB_TRY(cb_progress(l->runtime, "update", 0));
    *norm = cb_optimiser_measure(&l->optimiser, l->runtime->pool, l->objective->now.last_layer_frozen != 0);
    return check_gradients(l, *norm);
}

static void update_parameters(cb_learner *l)
{
    const cribo_objective_config *c = &l->objective->config;
    const cribo_step_values *now = &l->objective->now;
    cb_optimiser_update(&l->optimiser, l->runtime->pool,
        &(cb_optimiser_step){now->learning_rate, now->weight_decay, now->ema_momentum, c->clip_norm,
            c->clip_per_tensor != 0, now->last_layer_frozen != 0});
}

static void report_step(cb_learner *l, double norm, double start, cribo_report *report)
{
    cb_report_fill(l->objective, norm, &l->scratch, report);
    report->teach_ms = l->teach_ms;
    report->learn_ms = l->learn_ms;
    report->update_ms = cb_clock_ms() - start;
}

cribo_status cb_learner_update(cb_learner *l, cribo_report *report)
{
    double start = cb_clock_ms(), norm;
    CB_TRY(measure_gradients(l, &norm));
    cb_objective_move_centres(l->objective);
    update_parameters(l);
    cb_objective_remember(l->objective);
    report_step(l, norm, start, report);
    l->step++;
    l->phase = CB_PHASE_IDLE;
    cb_collapse_look(&l->collapse, l->runtime, report);
    return CRIBO_OK;
}
