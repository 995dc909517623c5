/* An objective, an optimiser and their steps. See learner.h. */
#include "training/learner.h"

#include "base/clock.h"
#include "base/digest.h"
#include "objective/centring.h"
#include "objective/commit.h"
#include "objective/exchange.h"
#include "objective/koleo.h"
#include "objective/learn.h"
#include "objective/match.h"
#include "objective/project.h"
#include "tensor/rows.h"
#include "training/schedule.h"

#include <math.h>
#include <string.h>

/* The gradients, and the objective's sums. */
static cribo_status create_leaves(const cb_allocator *allocator, cb_learner *l)
{
    const cb_target_sizes *sizes = &l->objective->sizes;
    cb_sum_array arrays[CB_LEAF_ARRAYS] = {
        {l->student->gradients + l->student->frozen, l->student->total - l->student->frozen}};
    cb_objective_sums(l->objective, arrays + 1);
    l->leaves.rounded = l->objective->config.exchange_precision == CRIBO_BF16;
    return cb_leaves_create(allocator, &l->leaves, sizes->shards / sizes->ranks, arrays);
}

cribo_status cb_learner_create(const cb_runtime *runtime, cb_learner *l, const cb_learner_parts *parts)
{
    const cb_allocator *allocator = &runtime->allocator;
    size_t d = (size_t)parts->config.width;
    cb_schedule_warn(runtime, &parts->config);
    *l = (cb_learner){
        .runtime = runtime, .student = parts->student, .teacher = parts->teacher, .ranks = parts->ranks};
    CB_TRY(cb_optimiser_create(runtime, &l->optimiser, parts->student, parts->teacher->values, l->ranks));
    CB_TRY(cb_objective_create(runtime, &l->objective, &parts->config, &parts->masking, &parts->layout,
        parts->student_heads, parts->teacher_heads, l->ranks));
    CB_TRY(create_leaves(allocator, l));
    CB_TRY(CB_ALLOCATE(allocator, &l->scratch.sums, 2 * d, "sums of a report"));
    return CB_ALLOCATE(allocator, &l->scratch.unit, d, "sums of a report");
}

void cb_learner_free(cb_learner *l)
{
    if (!l->runtime) return;
    const cb_allocator *allocator = &l->runtime->allocator;
    cb_pass_free(allocator, &l->pass);
    cb_release(allocator, l->scratch.unit);
    cb_release(allocator, l->scratch.sums);
    cb_leaves_free(allocator, &l->leaves);
    cb_objective_free(l->runtime, l->objective);
    cb_optimiser_free(l->runtime, &l->optimiser);
}

/* --- teach --- */

cribo_status cb_learner_begin(cb_learner *l, size_t images, const int64_t *ids, const int64_t *seed_tokens,
    const cribo_step_values *values, float **positions)
{
    cribo_step_values now;
    cb_share_notice whole;
    l->teach_start = cb_clock_ms();
    l->heads_only = l->renews_anchor = false;
    cb_learner_forget_targets(l);
    cb_schedule_at(&l->objective->config, l->step, &now);
    if (values) now = *values;
    const cb_share_notice own = {.images = images,
        .ids = ids != NULL,
        .seed_tokens = seed_tokens != NULL,
        .values = cb_digest(0, &now, sizeof now),
        .compared = l->compared};
    CB_TRY(cb_objective_join_shares(l->objective, &own, &whole));
    l->compared = whole.compared != 0;
    *positions = cb_objective_begin(
        l->objective, &(cb_objective_batch){(size_t)whole.images, ids, seed_tokens, l->step, &now});
    return CRIBO_OK;
}

static cribo_status find_targets(cb_learner *l, cribo_status status)
{
    CB_TRY(cb_ranks_agree(l->ranks, status));
    CB_TRY(cb_objective_exchange_objects(l->objective));
    CB_TRY(cb_objective_match(l->objective));
    for (size_t m = 0; m < l->objective->targets.micro_batches; m++) {
        cb_tape tape = cb_pass_begin(&l->pass, false);
        cb_objective_project(l->objective, m, &tape);
    }
    return cb_objective_centre(l->objective);
}

cribo_status cb_learner_end_teaching(cb_learner *l, cribo_status status)
{
    status = find_targets(l, status);
    if (status != CRIBO_OK) {
        cb_learner_forget_targets(l);
        return status;
    }
    l->phase = CB_PHASE_TAUGHT;
    l->teach_ms = cb_clock_ms() - l->teach_start;
    return CRIBO_OK;
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

void cb_learner_begin_learning(cb_learner *l)
{
    l->learn_ms = 0;
    l->phase = CB_PHASE_TAUGHT;
    l->tallied = 0;
    l->joins = false;
    cb_leaves_begin(&l->leaves, l->runtime->pool);
    cb_objective_begin_learning(l->objective);
}

cribo_status cb_learner_end_collecting(cb_learner *l, cribo_status status)
{
    CB_TRY(cb_ranks_agree(l->ranks, status));
    return cb_objective_koleo(l->objective);
}

/* The objective's part of the shards before shard `next` of this rank. */
static void tally_leaves(cb_learner *l, size_t next)
{
    for (; l->tallied < next; l->tallied++) cb_objective_end_leaf(l->objective, l->tallied);
}

/* Ends the shards before shard `next` of this rank. */
static void end_leaves(cb_learner *l, size_t next)
{
    while (l->leaves.ended < next) {
        tally_leaves(l, l->leaves.ended + 1);
        cb_leaves_end(&l->leaves, l->runtime->pool);
    }
}

void cb_learner_learn(cb_learner *l, size_t m, cb_tape *tape, cb_tensor tokens)
{
    end_leaves(l, l->objective->targets.micro[m].leaf);
    cb_objective_learn(l->objective, m, tape, tokens);
}

/* Between two operations of the last backward pass. */
static void join_complete(void *context, const cb_real *complete)
{
    cb_learner *l = context;
    size_t from = complete ? (size_t)(complete - l->student->gradients) : l->student->total;
    size_t buckets = cb_optimiser_buckets_from(&l->optimiser, from);
    if (buckets > 0)
        cb_leaves_complete(
            &l->leaves, l->runtime->pool, cb_optimiser_begin_of(&l->optimiser, buckets) - l->student->frozen);
    cb_ranks_advance_sums(l->ranks, buckets);
}

static void begin_joining(cb_learner *l)
{
    const cb_bucket_sums sums = cb_optimiser_sums(&l->optimiser, l->leaves.rounded);
    l->joins = true;
    cb_ranks_begin_sums(l->ranks, &sums);
}

/* The last shard may have no images; then the gradients are joined later. */
static bool joins_early(const cb_learner *l, size_t m)
{
    return l->ranks && l->objective->targets.micro[m].leaf + 1 == l->leaves.count;
}

cribo_status cb_learner_backward(cb_learner *l, size_t m, cb_tape *tape, bool last)
{
    CB_TRY(cb_objective_check_losses(l->objective));
    if (last && joins_early(l, m)) {
        tally_leaves(l, l->leaves.count); /* all losses are known, and the last layers' gradients */
        tape->watch = join_complete;
        tape->watcher = l;
        begin_joining(l);
    }
    cb_tape_backward(tape);
    return CRIBO_OK;
}

/* The objective's sums, over all ranks; the arrays are small. */
static cribo_status join_sums(cb_learner *l)
{
    size_t offsets[CB_MAX_RANKS + 1], ranks = cb_ranks_size(l->ranks);
    for (size_t a = 1; a < CB_LEAF_ARRAYS; a++) {
        const cb_sum_array *array = &l->leaves.arrays[a];
        for (size_t p = 0; p <= ranks; p++) offsets[p] = array->count * p / ranks;
        CB_TRY(cb_ranks_sum(l->ranks, "signs of collapse", array->values, offsets, false));
        CB_TRY(cb_ranks_spread(l->ranks, "signs of collapse", array->values, sizeof(cb_real), offsets));
    }
    return CRIBO_OK;
}

/* The gradients of all ranks. After begin_joining nothing fails on one rank alone. */
static cribo_status join_gradients(cb_learner *l, cribo_status status)
{
    if (status != CRIBO_OK) return cb_ranks_agree(l->ranks, status);
    end_leaves(l, l->leaves.count);
    if (!l->joins) begin_joining(l);
    return cb_ranks_end_sums(l->ranks);
}

static cribo_status join_ranks(cb_learner *l, cribo_status status)
{
    CB_TRY(join_gradients(l, status));
    CB_TRY(cb_objective_finish_learning(l->objective));
    return l->ranks ? join_sums(l) : CRIBO_OK;
}

cribo_status cb_learner_end_learning(cb_learner *l, cribo_status status)
{
    CB_TRY(join_ranks(l, status));
    l->phase = CB_PHASE_LEARNED;
    return CRIBO_OK;
}

/* --- update --- */

static cribo_status check_gradients(const cb_learner *l, double norm)
{
    if (isfinite(norm)) return CRIBO_OK;
    for (size_t p = 0; p < l->student->count; p++)
        if (!isfinite(l->optimiser.norms[p]))
            return cb_fail(CRIBO_NOT_FINITE, "the gradient of %s is not finite at step %lld",
                l->student->list[p].name, (long long)l->step + 1);
    return cb_fail(
        CRIBO_NOT_FINITE, "the gradient's norm is not finite at step %lld", (long long)l->step + 1);
}

static cb_frozen_parts frozen_parts(const cb_learner *l)
{
    return (cb_frozen_parts){
        .last_layers = l->objective->now.last_layer_frozen != 0, .backbone = l->heads_only};
}

/* The last part of a step that can fail. */
static cribo_status measure_gradients(cb_learner *l, double *norm)
{
    CB_TRY(cb_ranks_agree(l->ranks, cb_progress(l->runtime, "update", 0)));
    CB_TRY(cb_optimiser_measure(&l->optimiser, l->runtime->pool, frozen_parts(l), norm));
    return check_gradients(l, *norm);
}

static cb_optimiser_step optimiser_step(const cb_learner *l)
{
    const cribo_objective_config *c = &l->objective->config;
    const cribo_step_values *now = &l->objective->now;
    return (cb_optimiser_step){now->learning_rate, now->weight_decay, now->ema_momentum, c->clip_norm,
        c->clip_per_tensor != 0, frozen_parts(l)};
}

/* mean ← mean + (θ − mean) / n after n steps; the first mean is a copy, of the frozen parameters, too. */
static void average_part(void *context, size_t part, size_t worker)
{
    const cb_learner *l = context;
    size_t total = l->student->total, frozen = l->student->frozen,
           parts = cb_pool_parts(l->runtime->pool, total);
    cb_range some = cb_part(total, part, parts, CB_ALIGNMENT / sizeof(cb_real));
    (void)worker;
    if (l->averaged == 1)
        memcpy(l->average + some.begin, l->student->values + some.begin,
            (some.end - some.begin) * sizeof *l->average);
    else if (some.end > frozen) {
        size_t begin = some.begin > frozen ? some.begin : frozen;
        cb_rows()->ema(l->average + begin, l->student->values + begin, (cb_real)(1 - 1 / (double)l->averaged),
            some.end - begin);
    }
}

static void average_student(cb_learner *l)
{
    l->averaged = l->average && l->step >= l->average_from ? l->averaged + 1 : 0;
    if (l->averaged == 0) return;
    cb_pool_run(l->runtime->pool, cb_pool_parts(l->runtime->pool, l->student->total), average_part, l);
}

/* The parameters of the backbone come first in the teacher. */
static void renew_anchor(cb_learner *l)
{
    if (l->renews_anchor)
        memcpy(l->anchor->values, l->teacher->values, l->anchor->total * sizeof *l->anchor->values);
}

static void report_step(cb_learner *l, double norm, double start, cribo_report *report)
{
    cb_report_fill(l->objective, norm, &l->scratch, report);
    report->teach_ms = l->teach_ms;
    report->learn_ms = l->learn_ms;
    report->update_ms = cb_clock_ms() - start;
}

/* Steps beyond the schedules' end keep the last values, so the teacher may not change. Logged once. */
static void warn_of_end(const cb_learner *l, int64_t total)
{
    if (l->step != total + 1) return;
    cb_log(l->runtime, CRIBO_LOG_WARNING,
        "step %lld is beyond the %lld steps of the schedules, which keep their last values: check epochs, "
        "steps_per_epoch and total_steps",
        (long long)l->step, (long long)total);
}

cribo_status cb_learner_update(cb_learner *l, cribo_report *report)
{
    double start = cb_clock_ms(), norm;
    CB_TRY(measure_gradients(l, &norm));
    const cb_optimiser_step step = optimiser_step(l);
    CB_TRY(cb_optimiser_exchange(&l->optimiser, l->runtime->pool, &step));
    cb_objective_move_centres(l->objective);
    renew_anchor(l);
    cb_optimiser_update(&l->optimiser, l->runtime->pool, &step);
    average_student(l);
    cb_objective_remember(l->objective);
    report_step(l, norm, start, report);
    l->step++;
    l->phase = CB_PHASE_IDLE;
    int64_t total = cb_schedule_total_steps(&l->objective->config);
    cb_collapse_look(&l->collapse, l->runtime, &l->objective->config, total, report);
    warn_of_end(l, total);
    return CRIBO_OK;
}
