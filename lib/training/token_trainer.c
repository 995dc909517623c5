/* Heads for the tokens of another network. See token_trainer.h. */
#include "training/token_trainer.h"

#include "base/clock.h"
#include "communication/meeting.h"
#include "objective/koleo.h"
#include "objective/learn.h"
#include "objective/project.h"
#include "tensor/gemm.h"
#include "training/schedule.h"
#include "training/state.h"

#include <string.h>

#define LEARN "cribo_objective_learn"

/* --- heads --- */

static cb_heads heads_of(const cribo_objective_config *c)
{
    return (cb_heads){.input = (size_t)c->width,
        .hidden = (size_t)c->head_hidden,
        .bottleneck = (size_t)c->head_bottleneck,
        .prototypes = (size_t)c->prototypes,
        .object_prototypes = (size_t)c->object_prototypes,
        .fixed_gain = c->normed_last_layer != 0};
}

static cribo_status create_heads(
    const cb_allocator *allocator, cb_parameters *parameters, cb_heads *heads, bool trained)
{
    cb_heads_describe(heads, parameters);
    CB_TRY(cb_parameters_allocate(allocator, parameters, trained));
    cb_heads_describe(heads, parameters);
    return CRIBO_OK;
}

static cribo_status create_networks(const cb_runtime *runtime, cb_token_trainer *t)
{
    t->student_heads = t->teacher_heads = heads_of(&t->config);
    CB_TRY(create_heads(&runtime->allocator, &t->student, &t->student_heads, true));
    CB_TRY(create_heads(&runtime->allocator, &t->teacher, &t->teacher_heads, false));
    cb_parameters_draw(runtime, &t->student, (uint64_t)t->config.seed);
    cb_parameters_copy(runtime, &t->teacher, &t->student);
    return CRIBO_OK;
}

/* --- layout of a view: its global vector, then its tokens --- */

static cb_token_layout layout_of(const cribo_objective_config *c)
{
    size_t n = (size_t)c->tokens;
    return (cb_token_layout){
        .tokens = 1 + n, .rows = 1, .columns = n, .dense = 1, .global = 0, .global_count = 1};
}

static cb_tensor token_rows(const cb_token_trainer *t, cb_tape *tape, size_t images)
{
    return cb_tape_tensor(tape, 2 * images * (1 + (size_t)t->config.tokens), (size_t)t->config.width, true);
}

/* Images first ... of the caller's tokens into rows [images, 2, 1 + N, D]. */
static void gather(
    const cb_token_trainer *t, const cb_token_view *from, size_t first, size_t images, cb_real *to)
{
    size_t d = (size_t)t->config.width, n = (size_t)t->config.tokens;
    for (size_t i = first; i < first + images; i++)
        for (size_t v = 0; v < 2; v++, to += (1 + n) * d) {
            memcpy(to, from->global + i * from->global_image + v * from->global_view, d * sizeof *to);
            memcpy(to + d, from->dense + i * from->dense_image + v * from->dense_view, n * d * sizeof *to);
        }
}

/* The backward copy: gradients of the rows to the caller's arrays. */
static void scatter(
    const cb_token_trainer *t, const cb_token_chunk *chunk, size_t first, size_t images, const cb_real *from)
{
    const cb_token_view *at = &chunk->student;
    size_t d = (size_t)t->config.width, n = (size_t)t->config.tokens;
    for (size_t i = first; i < first + images; i++)
        for (size_t v = 0; v < 2; v++, from += (1 + n) * d) {
            if (chunk->global_gradient)
                memcpy(chunk->global_gradient + i * at->global_image + v * at->global_view, from,
                    d * sizeof *from);
            if (chunk->dense_gradient)
                memcpy(chunk->dense_gradient + i * at->dense_image + v * at->dense_view, from + d,
                    n * d * sizeof *from);
        }
}

/* --- memory of the passes --- */

static void measure_tokens(const void *context, cb_tape *tape)
{
    const cb_token_trainer *t = context;
    token_rows(t, tape, t->learner.objective->sizes.micro_images);
}

static void measure_targets(const void *context, cb_tape *tape)
{
    cb_objective_plan_project(((const cb_token_trainer *)context)->learner.objective, tape);
}

static void measure_collection(const void *context, cb_tape *tape)
{
    const cb_token_trainer *t = context;
    const cb_objective *objective = t->learner.objective;
    if (cb_uses_koleo(&objective->config))
        cb_objective_plan_collect(objective, tape, token_rows(t, tape, objective->sizes.micro_images));
}

static void measure_student(const void *context, cb_tape *tape)
{
    const cb_token_trainer *t = context;
    const cb_objective *objective = t->learner.objective;
    cb_objective_plan_learn(objective, tape, token_rows(t, tape, objective->sizes.micro_images));
}

static cribo_status create_parts(const cb_runtime *runtime, cb_token_trainer *t)
{
    static const cb_pass_plan plans[] = {{measure_tokens, false}, {measure_targets, false},
        {measure_collection, false}, {measure_student, true}};
    CB_TRY(cb_gemm_begin(runtime));
    CB_TRY(cb_schedule_settle(&cb_objective_settings, &t->config));
    CB_TRY(create_networks(runtime, t));
    cb_learner_parts parts = {.config = t->config,
        .layout = layout_of(&t->config),
        .student = &t->student,
        .teacher = &t->teacher,
        .student_heads = &t->student_heads,
        .teacher_heads = &t->teacher_heads,
        .ranks = t->ranks};
    CB_TRY(cb_learner_create(runtime, &t->learner, &parts));
    return cb_pass_create(runtime, &t->learner.pass, t->config.precision == CRIBO_BF16, plans,
        sizeof plans / sizeof plans[0], t);
}

cribo_status cb_token_trainer_meet(const cb_token_trainer *t, const char *call, cribo_status status)
{
    return cb_ranks_meet(t->ranks, &(cb_meeting){call, &cb_objective_settings, &t->config}, status);
}

/* The ranks have compared their settings before they use them. */
static cribo_status connect(cb_token_trainer *t, cribo_status checked, const cribo_communicator *communicator)
{
    CB_TRY(cb_ranks_create(t->runtime, &t->ranks, communicator));
    CB_TRY(cb_token_trainer_meet(t, "cribo_objective_create_distributed", checked));
    return cb_ranks_agree(t->ranks, create_parts(t->runtime, t));
}

cribo_status cb_token_trainer_create(const cb_runtime *runtime, cb_token_trainer **out, cribo_status checked,
    const cribo_objective_config *config, const cribo_communicator *communicator)
{
    cb_token_trainer *t;
    *out = NULL;
    CB_TRY(CB_ALLOCATE(&runtime->allocator, &t, 1, "objective"));
    t->runtime = runtime;
    t->config = *config;
    cribo_status status = connect(t, checked, communicator);
    if (status != CRIBO_OK) {
        cb_token_trainer_free(runtime, t);
        return status;
    }
    *out = t;
    return CRIBO_OK;
}

void cb_token_trainer_free(const cb_runtime *runtime, cb_token_trainer *t)
{
    if (!t) return;
    cb_learner_free(&t->learner);
    cb_ranks_free(runtime, t->ranks);
    cb_parameters_release(&runtime->allocator, &t->teacher);
    cb_parameters_release(&runtime->allocator, &t->student);
    cb_release(&runtime->allocator, t);
}

/* --- teach --- */

/* A micro-batch's first image, of this rank's share. */
static size_t first_of(const cb_targets *targets, const cb_micro_batch *micro)
{
    return micro->first - targets->own.first;
}

static cribo_status observe_all(cb_token_trainer *t, const cb_token_batch *batch)
{
    cb_objective *objective = t->learner.objective;
    const cb_targets *targets = &objective->targets;
    for (size_t m = 0; m < targets->micro_batches; m++) {
        const cb_micro_batch *micro = &targets->micro[m];
        CB_TRY(cb_progress(t->runtime, "teach", (double)m / (double)targets->micro_batches));
        cb_tape tape = cb_pass_begin(&t->learner.pass, false);
        cb_tensor tokens = token_rows(t, &tape, micro->images);
        gather(t, &batch->teacher, first_of(targets, micro), micro->images, tokens.value);
        cb_objective_observe(objective, m, tokens.value);
    }
    return CRIBO_OK;
}

cribo_status cb_token_teach(cb_token_trainer *t, const cb_token_batch *batch)
{
    float *positions;
    CB_TRY(cb_learner_begin(
        &t->learner, batch->images, batch->ids, batch->seed_tokens, batch->values, &positions));
    CB_TRY(cb_state_compare(&t->learner));
    memcpy(positions, batch->positions, batch->images * 2 * (size_t)t->config.tokens * 2 * sizeof *positions);
    t->learned = 0;
    return cb_learner_end_teaching(&t->learner, observe_all(t, batch));
}

/* --- learn --- */

size_t cb_token_learned(const cb_token_trainer *t)
{
    const cb_targets *targets = &t->learner.objective->targets;
    return t->learned < targets->micro_batches ? first_of(targets, &targets->micro[t->learned])
                                               : targets->own.images;
}

bool cb_token_chunk_ends(const cb_token_trainer *t, size_t image)
{
    const cb_targets *targets = &t->learner.objective->targets;
    for (size_t m = 0; m < targets->micro_batches; m++)
        if (first_of(targets, &targets->micro[m]) + targets->micro[m].images == image) return true;
    return false;
}

/* The chunk is the whole share. */
static cribo_status collect_all(cb_token_trainer *t, const cb_token_chunk *chunk)
{
    cb_objective *objective = t->learner.objective;
    for (size_t m = 0; m < objective->targets.micro_batches; m++) {
        const cb_micro_batch *micro = &objective->targets.micro[m];
        CB_TRY(cb_progress(t->runtime, "learn", 0));
        cb_tape tape = cb_pass_begin(&t->learner.pass, false);
        cb_tensor tokens = token_rows(t, &tape, micro->images);
        gather(t, &chunk->student, first_of(&objective->targets, micro), micro->images, tokens.value);
        cb_objective_collect(objective, m, &tape, tokens);
    }
    return CRIBO_OK;
}

static cribo_status learn_micro_batch(cb_token_trainer *t, const cb_token_chunk *chunk, size_t m)
{
    const cb_targets *targets = &t->learner.objective->targets;
    const cb_micro_batch *micro = &targets->micro[m];
    size_t first = first_of(targets, micro) - chunk->first;
    cb_tape tape = cb_pass_begin(&t->learner.pass, true);
    cb_tensor tokens = token_rows(t, &tape, micro->images);
    gather(t, &chunk->student, first, micro->images, tokens.value);
    cb_learner_learn(&t->learner, m, &tape, tokens);
    CB_TRY(cb_learner_backward(&t->learner, m, &tape, false));
    scatter(t, chunk, first, micro->images, tokens.gradient);
    return CRIBO_OK;
}

/* KoLeo compares the vectors of all ranks: they meet before the first micro-batch, too. */
static cribo_status collect(cb_token_trainer *t, cribo_status checked, const cb_token_chunk *chunk)
{
    if (!cb_objective_collects(t->learner.objective)) return checked;
    CB_TRY(cb_token_trainer_meet(t, LEARN, checked));
    return cb_learner_end_collecting(&t->learner, collect_all(t, chunk));
}

static cribo_status learn_chunk(cb_token_trainer *t, const cb_token_chunk *chunk)
{
    const cb_targets *targets = &t->learner.objective->targets;
    while (cb_token_learned(t) < chunk->first + chunk->images) {
        CB_TRY(cb_progress(t->runtime, "learn", (double)t->learned / (double)targets->micro_batches));
        CB_TRY(learn_micro_batch(t, chunk, t->learned));
        t->learned++;
    }
    return CRIBO_OK;
}

/* A chunk, and the ranks' meeting where it is the last or has failed. */
static cribo_status learn(cb_token_trainer *t, cribo_status checked, const cb_token_chunk *chunk)
{
    cribo_status status = checked == CRIBO_OK ? learn_chunk(t, chunk) : checked;
    if (status == CRIBO_OK && t->learned < t->learner.objective->targets.micro_batches) return CRIBO_OK;
    CB_TRY(cb_token_trainer_meet(t, LEARN, status));
    return cb_learner_end_learning(&t->learner, CRIBO_OK);
}

cribo_status cb_token_learn(cb_token_trainer *t, cribo_status checked, const cb_token_chunk *chunk)
{
    double start = cb_clock_ms();
    if (checked != CRIBO_OK && !t->ranks) return checked;
    if (checked == CRIBO_OK && chunk->first == 0) {
        t->learned = 0;
        cb_learner_begin_learning(&t->learner);
    }
    cribo_status status = collect(t, checked, chunk);
    if (status == CRIBO_OK || !cb_objective_collects(t->learner.objective)) status = learn(t, status, chunk);
    t->learner.learn_ms += cb_clock_ms() - start;
    if (status != CRIBO_OK) t->learned = 0;
    return status;
}
