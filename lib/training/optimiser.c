/* AdamW and EMA. See optimiser.h. */
#include "training/optimiser.h"

#include "tensor/rows.h"

#include <math.h>
#include <string.h>

#define PIECE 65536 /* numbers that a task takes */
#define STRIP 1024  /* of them at a time: the values are still in the first-level cache for the average */
#define BETA1 0.9
#define BETA2 0.999
#define EPSILON 1e-8
#define CLIP_EPSILON 1e-6 /* as torch.nn.utils.clip_grad_norm_ */

static size_t cut(const cb_parameters *parameters, cb_piece *pieces)
{
    size_t count = 0;
    for (size_t p = 0; p < parameters->count; p++) {
        const cb_parameter *parameter = &parameters->list[p];
        for (size_t begin = 0; begin < parameter->count && !parameter->group.frozen; begin += PIECE) {
            size_t left = parameter->count - begin;
            if (pieces) pieces[count] = (cb_piece){p, parameter->offset + begin, left < PIECE ? left : PIECE};
            count++;
        }
    }
    return count;
}

static cribo_status allocate(const cb_allocator *allocator, cb_optimiser *o)
{
    size_t count = o->student->count;
    CB_TRY(CB_ALLOCATE(allocator, &o->updates, count, "update counts"));
    CB_TRY(CB_ALLOCATE(allocator, &o->norms, count, "gradient norms"));
    CB_TRY(CB_ALLOCATE(allocator, &o->squares, o->piece_count, "gradient norms"));
    return CB_ALLOCATE(allocator, &o->pieces, o->piece_count, "optimiser's pieces");
}

/* Whole pieces in nearly equal parts, and where they begin. */
static void divide(cb_optimiser *o)
{
    size_t ranks = cb_ranks_size(o->ranks), part = cb_ranks_part(o->ranks);
    size_t trained = o->student->total - o->student->frozen, piece = 0;
    for (size_t p = 0; p <= ranks; p++) {
        size_t begin = o->student->frozen + (size_t)((double)trained * (double)p / (double)ranks);
        while (piece < o->piece_count && (p == ranks || o->pieces[piece].begin < begin)) piece++;
        o->part_pieces[p] = piece;
        o->part_numbers[p] = piece < o->piece_count ? o->pieces[piece].begin : o->student->total;
    }
    o->part_numbers[0] = o->student->frozen;
    o->own = (cb_range){o->part_pieces[part], o->part_pieces[part + 1]};
}

static size_t held_numbers(const cb_optimiser *o)
{
    return o->held.end - o->held.begin;
}

static cribo_status create_parts(const cb_allocator *allocator, cb_optimiser *o)
{
    size_t ranks = cb_ranks_size(o->ranks), part = cb_ranks_part(o->ranks);
    CB_TRY(CB_ALLOCATE(allocator, &o->part_pieces, ranks + 1, "optimiser's parts"));
    CB_TRY(CB_ALLOCATE(allocator, &o->part_numbers, ranks + 1, "optimiser's parts"));
    cut(o->student, o->pieces);
    divide(o);
    o->held = o->ranks ? (cb_range){o->part_numbers[part], o->part_numbers[part + 1]}
                       : (cb_range){0, o->student->total};
    CB_TRY(CB_ALLOCATE(allocator, &o->first, held_numbers(o), "first moments"));
    CB_TRY(CB_ALLOCATE(allocator, &o->second, held_numbers(o), "second moments"));
    if (!o->ranks) return CRIBO_OK;
    return CB_ALLOCATE(allocator, &o->gradients, held_numbers(o), "gradients of a rank's part");
}

cribo_status cb_optimiser_create(const cb_runtime *runtime, cb_optimiser *optimiser,
    const cb_parameters *student, cb_real *teacher, cb_ranks *ranks)
{
    *optimiser = (cb_optimiser){
        .student = student, .teacher = teacher, .piece_count = cut(student, NULL), .ranks = ranks};
    cribo_status status = allocate(&runtime->allocator, optimiser);
    if (status == CRIBO_OK) status = create_parts(&runtime->allocator, optimiser);
    if (status != CRIBO_OK) cb_optimiser_free(runtime, optimiser);
    return status;
}

void cb_optimiser_free(const cb_runtime *runtime, cb_optimiser *optimiser)
{
    cb_release(&runtime->allocator, optimiser->gradients);
    cb_release(&runtime->allocator, optimiser->second);
    cb_release(&runtime->allocator, optimiser->first);
    cb_release(&runtime->allocator, optimiser->part_numbers);
    cb_release(&runtime->allocator, optimiser->part_pieces);
    cb_release(&runtime->allocator, optimiser->pieces);
    cb_release(&runtime->allocator, optimiser->squares);
    cb_release(&runtime->allocator, optimiser->norms);
    cb_release(&runtime->allocator, optimiser->updates);
    *optimiser = (cb_optimiser){0};
}

static bool is_frozen(const cb_parameter *parameter, cb_frozen_parts frozen_parts)
{
    return parameter->fixed || (parameter->last_layer && frozen_parts.last_layers) ||
           (parameter->group.backbone && frozen_parts.backbone);
}

static void measure_piece(void *context, size_t task, size_t worker)
{
    cb_optimiser *o = context;
    size_t index = o->own.begin + task;
    const cb_piece *piece = &o->pieces[index];
    (void)worker;
    o->squares[index] = cb_rows()->sum_squares(o->student->gradients + piece->begin, piece->count);
}

cribo_status cb_optimiser_sum_gradients(cb_optimiser *o, bool rounded)
{
    return cb_ranks_sum(o->ranks, "gradients", o->student->gradients, o->part_numbers, rounded);
}

cribo_status cb_optimiser_measure(
    cb_optimiser *optimiser, cb_pool *pool, cb_frozen_parts frozen_parts, double *norm)
{
    cb_optimiser *o = optimiser;
    double total = 0;
    cb_pool_run(pool, o->own.end - o->own.begin, measure_piece, o);
    CB_TRY(cb_ranks_spread(o->ranks, "gradient norms", o->squares, sizeof *o->squares, o->part_pieces));
    for (size_t p = 0; p < o->student->count; p++) o->norms[p] = 0;
    for (size_t i = 0; i < o->piece_count; i++)
        if (!is_frozen(&o->student->list[o->pieces[i].parameter], frozen_parts))
            o->norms[o->pieces[i].parameter] += o->squares[i];
    for (size_t p = 0; p < o->student->count; p++) {
        total += o->norms[p];
        o->norms[p] = sqrt(o->norms[p]);
    }
    *norm = sqrt(total);
    return CRIBO_OK;
}

typedef struct update_job {
    cb_optimiser *optimiser;
    const cb_optimiser_step *step;
    double global_norm;
} update_job;

static double clip_factor(const update_job *job, double norm)
{
    if (!(job->step->clip_norm > 0)) return 1;
    double measured = job->step->clip_per_tensor ? norm : job->global_norm;
    return fmin(1, job->step->clip_norm / (measured + CLIP_EPSILON));
}

static cb_adamw step_of(const update_job *job, size_t parameter)
{
    const cb_optimiser *o = job->optimiser;
    const cb_parameter *p = &o->student->list[parameter];
    double decay = p->decays ? job->step->weight_decay : 0, rate = job->step->learning_rate * p->group.rate;
    double s = (double)(o->updates[parameter] + 1);
    return (cb_adamw){
        .learning_rate = (cb_real)(rate / (1 - pow(BETA1, s))),
        .decay = (cb_real)(1 - rate * decay),
        .beta1 = (cb_real)BETA1,
        .beta2 = (cb_real)BETA2,
        .root_correction = (cb_real)(1 / sqrt(1 - pow(BETA2, s))),
        .epsilon = (cb_real)EPSILON,
        .gradient_scale = (cb_real)clip_factor(job, o->norms[parameter]),
    };
}

static bool moves(const update_job *job, const cb_piece *piece)
{
    return !is_frozen(&job->optimiser->student->list[piece->parameter], job->step->frozen_parts);
}

/* One sweep: the new values and the teacher's average. */
static void update_piece(void *context, size_t task, size_t worker)
{
    const update_job *job = context;
    cb_optimiser *o = job->optimiser;
    const cb_piece *piece = &o->pieces[task];
    const bool trained = moves(job, piece);
    const cb_adamw adamw = trained ? step_of(job, piece->parameter) : (cb_adamw){0};
    (void)worker;
    for (size_t done = 0; done < piece->count; done += STRIP) {
        size_t at = piece->begin + done, n = cb_min(STRIP, piece->count - done);
        cb_real *values = o->student->values + at;
        if (trained)
            cb_rows()->adamw(values, o->first + at, o->second + at, o->student->gradients + at, &adamw, n);
        cb_rows()->ema(o->teacher + at, values, (cb_real)job->step->ema_momentum, n);
    }
}

/* --- over several ranks --- */

/* Copies of a strip's value, first and second moment. */
typedef struct strip_copy {
    cb_real value[STRIP], first[STRIP], second[STRIP];
} strip_copy;

/*
 * The new values of a piece of this rank's part, in place of the gradients, which are kept. Values and
 * moments do not change before all ranks have the new values.
 */
static void advance_piece(void *context, size_t task, size_t worker)
{
    const update_job *job = context;
    cb_optimiser *o = job->optimiser;
    const cb_piece *piece = &o->pieces[o->own.begin + task];
    const bool trained = moves(job, piece);
    const cb_adamw adamw = trained ? step_of(job, piece->parameter) : (cb_adamw){0};
    strip_copy copy;
    (void)worker;
    for (size_t done = 0; done < piece->count; done += STRIP) {
        size_t at = piece->begin + done, held = at - o->held.begin;
        size_t n = cb_min(STRIP, piece->count - done), bytes = n * sizeof(cb_real);
        memcpy(o->gradients + held, o->student->gradients + at, bytes);
        memcpy(copy.value, o->student->values + at, bytes);
        memcpy(copy.first, o->first + held, bytes);
        memcpy(copy.second, o->second + held, bytes);
        if (trained) cb_rows()->adamw(copy.value, copy.first, copy.second, o->gradients + held, &adamw, n);
        memcpy(o->student->gradients + at, copy.value, bytes);
    }
}

/* The same update once more, of values and moments in place. */
static void settle_piece(void *context, size_t task, size_t worker)
{
    const update_job *job = context;
    cb_optimiser *o = job->optimiser;
    const cb_piece *piece = &o->pieces[o->own.begin + task];
    size_t held = piece->begin - o->held.begin;
    (void)worker;
    if (!moves(job, piece)) return;
    const cb_adamw adamw = step_of(job, piece->parameter);
    cb_rows()->adamw(o->student->values + piece->begin, o->first + held, o->second + held,
        o->gradients + held, &adamw, piece->count);
}

/* Copies the new values from the gradients' buffer and updates the teacher. */
static void follow_piece(void *context, size_t task, size_t worker)
{
    const update_job *job = context;
    cb_optimiser *o = job->optimiser;
    const cb_piece *piece = &o->pieces[task];
    cb_real *values = o->student->values + piece->begin;
    (void)worker;
    memcpy(values, o->student->gradients + piece->begin, piece->count * sizeof *values);
    cb_rows()->ema(o->teacher + piece->begin, values, (cb_real)job->step->ema_momentum, piece->count);
}

static update_job job_of(cb_optimiser *o, const cb_optimiser_step *step)
{
    update_job job = {o, step, 0};
    for (size_t p = 0; p < o->student->count; p++) job.global_norm += o->norms[p] * o->norms[p];
    job.global_norm = sqrt(job.global_norm);
    return job;
}

cribo_status cb_optimiser_exchange(cb_optimiser *o, cb_pool *pool, const cb_optimiser_step *step)
{
    if (!o->ranks) return CRIBO_OK;
    update_job job = job_of(o, step);
    cb_pool_run(pool, o->own.end - o->own.begin, advance_piece, &job);
    CB_TRY(
        cb_ranks_spread(o->ranks, "new parameters", o->student->gradients, sizeof(cb_real), o->part_numbers));
    return cb_ranks_agree(o->ranks, CRIBO_OK); /* the student changes on all ranks or on none */
}

void cb_optimiser_update(cb_optimiser *o, cb_pool *pool, const cb_optimiser_step *step)
{
    update_job job = job_of(o, step);
    if (o->ranks) cb_pool_run(pool, o->own.end - o->own.begin, settle_piece, &job);
    cb_pool_run(pool, o->piece_count, o->ranks ? follow_piece : update_piece, &job);
    for (size_t p = 0; p < o->student->count; p++)
        if (!is_frozen(&o->student->list[p], step->frozen_parts)) o->updates[p]++;
}

cribo_status cb_optimiser_collect(
    const cb_optimiser *o, cb_moment moment, size_t begin, size_t count, cb_real *to)
{
    const cb_real *held = moment == CB_FIRST_MOMENT ? o->first : o->second;
    size_t end = begin + count;
    if (cb_ranks_own(o->ranks) == 0) memset(to, 0, count * sizeof *to); /* frozen parameters have none */
    for (size_t p = 0; p < cb_ranks_size(o->ranks); p++) {
        size_t from = cb_max(begin, o->part_numbers[p]), until = cb_min(end, o->part_numbers[p + 1]);
        if (from >= until) continue;
        const cb_real *mine = p == cb_ranks_part(o->ranks) ? held + (from - o->held.begin) : NULL;
        CB_TRY(cb_ranks_collect(o->ranks, "moments", cb_ranks_owner(o->ranks, p), mine,
            (until - from) * sizeof *to, to ? to + (from - begin) : NULL));
    }
    return CRIBO_OK;
}
