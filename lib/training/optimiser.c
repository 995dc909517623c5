/* AdamW and EMA. See optimiser.h. */
#include "training/optimiser.h"

#include "tensor/rows.h"

#include <math.h>
#include <string.h>

#define PIECE 65536              /* numbers that a task takes */
#define BUCKET ((size_t)1 << 22) /* numbers of a bucket, at least */
#define PART_PIECES 4            /* and pieces of each of its parts */
#define STRIP 1024 /* of them at a time: the values are still in the first-level cache for the average */
#define BETA1 0.9
#define BETA2 0.999
#define EPSILON 1e-8
#define CLIP_EPSILON 1e-6 /* as torch.nn.utils.clip_grad_norm_ */

size_t cb_optimiser_chosen_buckets;

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

static size_t count_buckets(const cb_optimiser *o)
{
    size_t ranks = cb_ranks_size(o->ranks), trained = o->student->total - o->student->frozen;
    size_t least = cb_max(BUCKET, PART_PIECES * PIECE * ranks);
    if (!o->ranks) return 1;
    return cb_optimiser_chosen_buckets ? cb_optimiser_chosen_buckets : cb_max(trained / least, 1);
}

/*
 * Buckets and their parts are nearly equal and have whole pieces. The parts of all buckets follow one
 * another: part p of bucket b is part b ranks + p of all, whose end is the next one's begin.
 */
static void divide(cb_optimiser *o)
{
    size_t ranks = cb_ranks_size(o->ranks), parts = o->buckets * ranks, piece = 0;
    size_t frozen = o->student->frozen, trained = o->student->total - frozen;
    for (size_t p = 0; p <= parts; p++) {
        size_t begin = frozen + (size_t)((double)trained * (double)p / (double)parts);
        while (piece < o->piece_count && (p == parts || o->pieces[piece].begin < begin)) piece++;
        size_t number = p == 0 ? frozen : piece < o->piece_count ? o->pieces[piece].begin : o->student->total;
        for (size_t b = p > 0 ? (p - 1) / ranks : 0; b <= p / ranks && b < o->buckets; b++) {
            o->part_pieces[b * (ranks + 1) + p - b * ranks] = piece;
            o->part_numbers[b * (ranks + 1) + p - b * ranks] = number;
        }
    }
}

/* The bounds of this rank's part of a bucket, in pieces or numbers. */
static cb_range own_part(const cb_optimiser *o, const size_t *parts, size_t bucket)
{
    size_t at = bucket * (cb_ranks_size(o->ranks) + 1) + cb_ranks_part(o->ranks);
    return (cb_range){parts[at], parts[at + 1]};
}

static void list_own(cb_optimiser *o)
{
    o->own_count = o->held = 0;
    for (size_t b = 0; b < o->buckets; b++) {
        cb_range pieces = own_part(o, o->part_pieces, b), numbers = own_part(o, o->part_numbers, b);
        o->held_before[b] = o->held;
        for (size_t i = pieces.begin; i < pieces.end; i++)
            o->own[o->own_count++] = (cb_own_piece){i, o->held + o->pieces[i].begin - numbers.begin};
        o->held += numbers.end - numbers.begin;
    }
}

static cribo_status create_parts(const cb_allocator *allocator, cb_optimiser *o)
{
    size_t bounds = o->buckets * (cb_ranks_size(o->ranks) + 1);
    CB_TRY(CB_ALLOCATE(allocator, &o->part_pieces, bounds, "optimiser's parts"));
    CB_TRY(CB_ALLOCATE(allocator, &o->part_numbers, bounds, "optimiser's parts"));
    CB_TRY(CB_ALLOCATE(allocator, &o->held_before, o->buckets, "optimiser's parts"));
    CB_TRY(CB_ALLOCATE(allocator, &o->own, o->piece_count, "optimiser's parts"));
    cut(o->student, o->pieces);
    divide(o);
    list_own(o);
    if (!o->ranks) o->held = o->student->total; /* also of frozen parameters */
    CB_TRY(CB_ALLOCATE(allocator, &o->first, o->held, "first moments"));
    CB_TRY(CB_ALLOCATE(allocator, &o->second, o->held, "second moments"));
    if (!o->ranks) return CRIBO_OK;
    return CB_ALLOCATE(allocator, &o->gradients, o->held, "gradients of a rank's part");
}

cribo_status cb_optimiser_create(const cb_runtime *runtime, cb_optimiser *optimiser,
    const cb_parameters *student, cb_real *teacher, cb_ranks *ranks)
{
    *optimiser = (cb_optimiser){
        .student = student, .teacher = teacher, .piece_count = cut(student, NULL), .ranks = ranks};
    optimiser->buckets = count_buckets(optimiser);
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
    cb_release(&runtime->allocator, optimiser->own);
    cb_release(&runtime->allocator, optimiser->held_before);
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
    size_t index = o->own[task].piece;
    const cb_piece *piece = &o->pieces[index];
    (void)worker;
    o->squares[index] = cb_rows()->sum_squares(o->student->gradients + piece->begin, piece->count);
}

cb_bucket_sums cb_optimiser_sums(const cb_optimiser *o, bool rounded)
{
    return (cb_bucket_sums){"gradients", o->student->gradients, o->part_numbers, o->buckets, rounded};
}

size_t cb_optimiser_begin_of(const cb_optimiser *o, size_t buckets)
{
    return o->part_numbers[(o->buckets - buckets) * (cb_ranks_size(o->ranks) + 1)];
}

size_t cb_optimiser_buckets_from(const cb_optimiser *o, size_t number)
{
    size_t count = 0;
    while (count < o->buckets && cb_optimiser_begin_of(o, count + 1) >= number) count++;
    return count;
}

/* Every rank gets all buckets' parts from their owners; `parts` in the units of the values. */
static cribo_status spread(
    const cb_optimiser *o, const char *what, void *values, size_t size, const size_t *parts)
{
    size_t bounds = cb_ranks_size(o->ranks) + 1;
    for (size_t b = 0; b < o->buckets; b++)
        CB_TRY(cb_ranks_spread(o->ranks, what, values, size, parts + b * bounds));
    return CRIBO_OK;
}

cribo_status cb_optimiser_measure(
    cb_optimiser *optimiser, cb_pool *pool, cb_frozen_parts frozen_parts, double *norm)
{
    cb_optimiser *o = optimiser;
    double total = 0;
    cb_pool_run(pool, o->own_count, measure_piece, o);
    CB_TRY(spread(o, "gradient norms", o->squares, sizeof *o->squares, o->part_pieces));
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
    const cb_piece *piece = &o->pieces[o->own[task].piece];
    const bool trained = moves(job, piece);
    const cb_adamw adamw = trained ? step_of(job, piece->parameter) : (cb_adamw){0};
    strip_copy copy;
    (void)worker;
    for (size_t done = 0; done < piece->count; done += STRIP) {
        size_t at = piece->begin + done, held = o->own[task].held + done;
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
    const cb_piece *piece = &o->pieces[o->own[task].piece];
    size_t held = o->own[task].held;
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
    cb_pool_run(pool, o->own_count, advance_piece, &job);
    CB_TRY(spread(o, "new parameters", o->student->gradients, sizeof(cb_real), o->part_numbers));
    return cb_ranks_agree(o->ranks, CRIBO_OK); /* the student changes on all ranks or on none */
}

void cb_optimiser_update(cb_optimiser *o, cb_pool *pool, const cb_optimiser_step *step)
{
    update_job job = job_of(o, step);
    if (o->ranks) cb_pool_run(pool, o->own_count, settle_piece, &job);
    cb_pool_run(pool, o->piece_count, o->ranks ? follow_piece : update_piece, &job);
    for (size_t p = 0; p < o->student->count; p++)
        if (!is_frozen(&o->student->list[p], step->frozen_parts)) o->updates[p]++;
}

static cb_range common(cb_range a, cb_range b)
{
    size_t begin = cb_max(a.begin, b.begin);
    return (cb_range){begin, cb_max(begin, cb_min(a.end, b.end))};
}

cribo_status cb_optimiser_collect(
    const cb_optimiser *o, cb_moment moment, size_t begin, size_t count, cb_real *to)
{
    const cb_real *held = moment == CB_FIRST_MOMENT ? o->first : o->second;
    size_t ranks = cb_ranks_size(o->ranks);
    if (cb_ranks_own(o->ranks) == 0) memset(to, 0, count * sizeof *to); /* frozen parameters have none */
    for (size_t i = 0; i < o->buckets * ranks; i++) {
        size_t bucket = i / ranks, part = i % ranks;
        const size_t *bounds = o->part_numbers + bucket * (ranks + 1) + part;
        cb_range some = common((cb_range){bounds[0], bounds[1]}, (cb_range){begin, begin + count});
        if (some.begin == some.end) continue;
        const cb_real *mine =
            part == cb_ranks_part(o->ranks) ? held + o->held_before[bucket] + (some.begin - bounds[0]) : NULL;
        CB_TRY(cb_ranks_collect(o->ranks, "moments", cb_ranks_owner(o->ranks, part), mine,
            (some.end - some.begin) * sizeof *to, to ? to + (some.begin - begin) : NULL));
    }
    return CRIBO_OK;
}

void cb_optimiser_keep(
    const cb_optimiser *o, size_t begin, size_t count, const cb_real *values, cb_real *held)
{
    for (size_t b = 0; b < o->buckets; b++) {
        cb_range own = own_part(o, o->part_numbers, b);
        cb_range some = common(own, (cb_range){begin, begin + count});
        if (some.begin == some.end) continue;
        memcpy(held + o->held_before[b] + (some.begin - own.begin), values + (some.begin - begin),
            (some.end - some.begin) * sizeof *held);
    }
}
