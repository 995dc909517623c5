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
    size_t total = o->student->total, count = o->student->count;
    CB_TRY(CB_ALLOCATE(allocator, &o->first, total, "first moments"));
    CB_TRY(CB_ALLOCATE(allocator, &o->second, total, "second moments"));
    CB_TRY(CB_ALLOCATE(allocator, &o->updates, count, "update counts"));
    CB_TRY(CB_ALLOCATE(allocator, &o->norms, count, "gradient norms"));
    CB_TRY(CB_ALLOCATE(allocator, &o->squares, o->piece_count, "gradient norms"));
    return CB_ALLOCATE(allocator, &o->pieces, o->piece_count, "optimiser's pieces");
}

/* Pieces in equal parts, and where they begin. */
static void divide(cb_optimiser *o)
{
    size_t ranks = cb_ranks_size(o->ranks), part = cb_ranks_part(o->ranks);
    for (size_t p = 0; p <= ranks; p++) {
        size_t piece = o->piece_count * p / ranks;
        o->part_pieces[p] = piece;
        o->part_numbers[p] = piece < o->piece_count ? o->pieces[piece].begin : o->student->total;
    }
    o->part_numbers[0] = o->student->frozen;
    o->own = (cb_range){o->part_pieces[part], o->part_pieces[part + 1]};
}

static size_t own_numbers(const cb_optimiser *o)
{
    size_t part = cb_ranks_part(o->ranks);
    return o->part_numbers[part + 1] - o->part_numbers[part];
}

static cribo_status create_parts(const cb_allocator *allocator, cb_optimiser *o)
{
    size_t ranks = cb_ranks_size(o->ranks);
    CB_TRY(CB_ALLOCATE(allocator, &o->part_pieces, ranks + 1, "optimiser's parts"));
    CB_TRY(CB_ALLOCATE(allocator, &o->part_numbers, ranks + 1, "optimiser's parts"));
    cut(o->student, o->pieces);
    divide(o);
    if (!o->ranks) return CRIBO_OK;
    return CB_ALLOCATE(allocator, &o->backup, 3 * own_numbers(o), "optimiser's backup");
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
    cb_release(&runtime->allocator, optimiser->backup);
    cb_release(&runtime->allocator, optimiser->part_numbers);
    cb_release(&runtime->allocator, optimiser->part_pieces);
    cb_release(&runtime->allocator, optimiser->pieces);
    cb_release(&runtime->allocator, optimiser->squares);
    cb_release(&runtime->allocator, optimiser->norms);
    cb_release(&runtime->allocator, optimiser->updates);
    cb_release(&runtime->allocator, optimiser->second);
    cb_release(&runtime->allocator, optimiser->first);
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

cribo_status cb_optimiser_sum_gradients(cb_optimiser *o)
{
    return cb_ranks_sum(o->ranks, "gradients", o->student->gradients, o->part_numbers);
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

/* The new values of a piece of this rank's part. */
static void advance_piece(void *context, size_t task, size_t worker)
{
    const update_job *job = context;
    cb_optimiser *o = job->optimiser;
    const cb_piece *piece = &o->pieces[o->own.begin + task];
    size_t at = piece->begin;
    (void)worker;
    if (!moves(job, piece)) return;
    const cb_adamw adamw = step_of(job, piece->parameter);
    cb_rows()->adamw(o->student->values + at, o->first + at, o->second + at, o->student->gradients + at,
        &adamw, piece->count);
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

/* Copies this rank's part of values and moments to the backup, or back. */
static void copy_own(cb_optimiser *o, bool back)
{
    size_t n = own_numbers(o), at = o->part_numbers[cb_ranks_part(o->ranks)];
    cb_real *const arrays[3] = {o->student->values + at, o->first + at, o->second + at};
    for (int a = 0; a < 3; a++) {
        cb_real *kept = o->backup + (size_t)a * n;
        memcpy(back ? arrays[a] : kept, back ? kept : arrays[a], n * sizeof *kept);
    }
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
    size_t at = o->part_numbers[cb_ranks_part(o->ranks)], bytes = own_numbers(o) * sizeof(cb_real);
    copy_own(o, false);
    cb_pool_run(pool, o->own.end - o->own.begin, advance_piece, &job);
    memcpy(o->student->gradients + at, o->student->values + at, bytes);
    memcpy(o->student->values + at, o->backup, bytes); /* the student changes on all ranks or on none */
    cribo_status status =
        cb_ranks_spread(o->ranks, "new parameters", o->student->gradients, sizeof(cb_real), o->part_numbers);
    if (status == CRIBO_OK) status = cb_ranks_agree(o->ranks, CRIBO_OK);
    if (status != CRIBO_OK) copy_own(o, true);
    return status;
}

void cb_optimiser_update(cb_optimiser *o, cb_pool *pool, const cb_optimiser_step *step)
{
    update_job job = job_of(o, step);
    cb_pool_run(pool, o->piece_count, o->ranks ? follow_piece : update_piece, &job);
    for (size_t p = 0; p < o->student->count; p++)
        if (!is_frozen(&o->student->list[p], step->frozen_parts)) o->updates[p]++;
}

cribo_status cb_optimiser_spread_moments(cb_optimiser *o)
{
    CB_TRY(cb_ranks_spread(o->ranks, "first moments", o->first, sizeof(cb_real), o->part_numbers));
    return cb_ranks_spread(o->ranks, "second moments", o->second, sizeof(cb_real), o->part_numbers);
}
