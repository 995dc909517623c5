/* AdamW and EMA. See optimiser.h. */
#include "training/optimiser.h"

#include "tensor/rows.h"

#include <math.h>

#define PIECE 65536 /* numbers that a task takes */
#define STRIP 1024  /* of them at a time: the average still finds the values in the first-level cache */
#define BETA1 0.9
#define BETA2 0.999
#define EPSILON 1e-8
#define CLIP_EPSILON 1e-6 /* as torch.nn.utils.clip_grad_norm_ */

static size_t cut(const cb_parameters *parameters, cb_piece *pieces)
{
    size_t count = 0;
    for (size_t p = 0; p < parameters->count; p++)
        for (size_t begin = 0; begin < parameters->list[p].count; begin += PIECE) {
            size_t left = parameters->list[p].count - begin;
            if (pieces)
                pieces[count] =
                    (cb_piece){p, parameters->list[p].offset + begin, left < PIECE ? left : PIECE};
            count++;
        }
    return count;
}

static cribo_status allocate(const cb_allocator *allocator, cb_optimiser *o)
{
    size_t total = o->student->total, count = o->student->count;
    CB_TRY(cb_allocate(allocator, &o->first, total, sizeof(cb_real), "first moments"));
    CB_TRY(cb_allocate(allocator, &o->second, total, sizeof(cb_real), "second moments"));
    CB_TRY(cb_allocate(allocator, &o->updates, count, sizeof(int64_t), "update counts"));
    CB_TRY(cb_allocate(allocator, &o->norms, count, sizeof(double), "gradient norms"));
    CB_TRY(cb_allocate(allocator, &o->squares, o->piece_count, sizeof(double), "gradient norms"));
    return cb_allocate(allocator, &o->pieces, o->piece_count, sizeof(cb_piece), "optimiser's pieces");
}

cribo_status cb_optimiser_create(
    const cb_runtime *runtime, cb_optimiser *optimiser, const cb_parameters *student, cb_real *teacher)
{
    *optimiser = (cb_optimiser){.student = student, .teacher = teacher, .piece_count = cut(student, NULL)};
    cribo_status status = allocate(&runtime->allocator, optimiser);
    if (status != CRIBO_OK)
        cb_optimiser_free(runtime, optimiser);
    else
        cut(student, optimiser->pieces);
    return status;
}

void cb_optimiser_free(const cb_runtime *runtime, cb_optimiser *optimiser)
{
    cb_release(&runtime->allocator, optimiser->pieces);
    cb_release(&runtime->allocator, optimiser->squares);
    cb_release(&runtime->allocator, optimiser->norms);
    cb_release(&runtime->allocator, optimiser->updates);
    cb_release(&runtime->allocator, optimiser->second);
    cb_release(&runtime->allocator, optimiser->first);
    *optimiser = (cb_optimiser){0};
}

static bool rests(const cb_parameter *parameter, bool last_layer_frozen)
{
    return parameter->fixed || (parameter->last_layer && last_layer_frozen);
}

static void measure_piece(void *context, size_t task, size_t worker)
{
    cb_optimiser *o = context;
    const cb_piece *piece = &o->pieces[task];
    (void)worker;
    o->squares[task] = cb_rows()->sum_squares(o->student->gradients + piece->begin, piece->count);
}

double cb_optimiser_measure(cb_optimiser *optimiser, cb_pool *pool, bool last_layer_frozen)
{
    cb_optimiser *o = optimiser;
    double total = 0;
    cb_pool_run(pool, o->piece_count, measure_piece, o);
    for (size_t p = 0; p < o->student->count; p++) o->norms[p] = 0;
    for (size_t i = 0; i < o->piece_count; i++)
        if (!rests(&o->student->list[o->pieces[i].parameter], last_layer_frozen))
            o->norms[o->pieces[i].parameter] += o->squares[i];
    for (size_t p = 0; p < o->student->count; p++) {
        total += o->norms[p];
        o->norms[p] = sqrt(o->norms[p]);
    }
    return sqrt(total);
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
    double decay = o->student->list[parameter].decays ? job->step->weight_decay : 0;
    double s = (double)o->updates[parameter];
    return (cb_adamw){
        .learning_rate = (cb_real)(job->step->learning_rate / (1 - pow(BETA1, s))),
        .decay = (cb_real)(1 - job->step->learning_rate * decay),
        .beta1 = (cb_real)BETA1,
        .beta2 = (cb_real)BETA2,
        .root_correction = (cb_real)(1 / sqrt(1 - pow(BETA2, s))),
        .epsilon = (cb_real)EPSILON,
        .gradient_scale = (cb_real)clip_factor(job, o->norms[parameter]),
    };
}

static void update_piece(void *context, size_t task, size_t worker)
{
    const update_job *job = context;
    cb_optimiser *o = job->optimiser;
    const cb_piece *piece = &o->pieces[task];
    const bool moves = !rests(&o->student->list[piece->parameter], job->step->last_layer_frozen);
    const cb_adamw adamw = moves ? step_of(job, piece->parameter) : (cb_adamw){0};
    (void)worker;
    for (size_t done = 0; done < piece->count; done += STRIP) {
        size_t at = piece->begin + done, n = cb_min(STRIP, piece->count - done);
        cb_real *values = o->student->values + at;
        if (moves)
            cb_rows()->adamw(values, o->first + at, o->second + at, o->student->gradients + at, &adamw, n);
        cb_rows()->ema(o->teacher + at, values, (cb_real)job->step->ema_momentum, n);
    }
}

void cb_optimiser_update(cb_optimiser *optimiser, cb_pool *pool, const cb_optimiser_step *step)
{
    update_job job = {optimiser, step, 0};
    for (size_t p = 0; p < optimiser->student->count; p++) {
        job.global_norm += optimiser->norms[p] * optimiser->norms[p];
        if (!rests(&optimiser->student->list[p], step->last_layer_frozen)) optimiser->updates[p]++;
    }
    job.global_norm = sqrt(job.global_norm);
    cb_pool_run(pool, optimiser->piece_count, update_piece, &job);
}
