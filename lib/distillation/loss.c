/* The self-distillation losses from logits. See loss.h. */
#include "distillation/loss.h"

#include "tensor/rows.h"

#include <math.h>
#include <string.h>

#define INTEGER(...) CB_INTEGER(cribo_loss_config, __VA_ARGS__)
#define REAL(...) CB_REAL(cribo_loss_config, __VA_ARGS__)
static const cb_field fields[] = {
    INTEGER(prototypes, 1, 16777216, 65536, "prototypes of the [CLS] head"),
    INTEGER(object_prototypes, 1, 16777216, 65536, "prototypes of the object head"),
    REAL(student_temperature, 1e-4, 1e4, 0.1, "student's softmax temperature for the [CLS] loss"),
    REAL(object_student_temperature, 1e-4, 1e4, 0.1, "student's softmax temperature for the object losses"),
    REAL(centre_momentum, 0, 1, 0.9,
        "momentum of the moving averages that centre the teacher's outputs; 1: constant centres"),
    INTEGER(authors_normalisation, 0, 1, 0,
        "1: scale the losses as the authors' code does; 0: as the paper does"),
};
const cb_config_table cb_loss_settings = CB_CONFIG_TABLE(cribo_loss_config, fields);

#define MAX_PARTS 64       /* stretches of rows, shared out: fixed, for their sums are added in order */
#define CENTRE_COLUMNS 512 /* of a centre, summed at a time in double precision */

struct cb_loss {
    cribo_loss_config config;
    cb_pool *pool;
    size_t prototypes[2];
    cb_real *centre[2]; /* [P] */
    cb_real *scratch;   /* [threads, 2, max P]: a student row, a teacher row */
};

static double inverse_of(double normaliser)
{
    return normaliser > 0 ? 1 / normaliser : 0;
}

cb_loss_weights cb_loss_weights_of(
    bool authors, size_t images, size_t objects, size_t matches1, size_t matches2)
{
    double half = authors ? 0.5 : 1;
    return (cb_loss_weights){half * inverse_of((double)images), half * inverse_of((double)objects),
        {half * inverse_of((double)matches1), half * inverse_of((double)(authors ? matches1 : matches2))}};
}

static size_t widest(const cb_loss *loss)
{
    return loss->prototypes[0] > loss->prototypes[1] ? loss->prototypes[0] : loss->prototypes[1];
}

static cribo_status create_parts(const cb_runtime *runtime, cb_loss *loss)
{
    for (int head = 0; head < 2; head++)
        CB_TRY(CB_ALLOCATE(&runtime->allocator, &loss->centre[head], loss->prototypes[head], "loss: centre"));
    CB_TRY(CB_ALLOCATE(&runtime->allocator, &loss->scratch, cb_pool_threads(runtime->pool) * 2 * widest(loss),
        "loss: rows"));
    return CRIBO_OK;
}

cribo_status cb_loss_create(const cb_runtime *runtime, cb_loss **out, const cribo_loss_config *config)
{
    cb_loss *loss;
    *out = NULL;
    CB_TRY(CB_ALLOCATE(&runtime->allocator, &loss, 1, "loss: handle"));
    *loss = (cb_loss){.config = *config,
        .pool = runtime->pool,
        .prototypes = {(size_t)config->prototypes, (size_t)config->object_prototypes}};
    cribo_status status = create_parts(runtime, loss);
    if (status == CRIBO_OK)
        *out = loss;
    else
        cb_loss_free(runtime, loss);
    return status;
}

void cb_loss_free(const cb_runtime *runtime, cb_loss *loss)
{
    if (!loss) return;
    cb_release(&runtime->allocator, loss->scratch);
    for (int head = 2; head-- > 0;) cb_release(&runtime->allocator, loss->centre[head]);
    cb_release(&runtime->allocator, loss);
}

cribo_loss_config *cb_loss_config(cb_loss *loss)
{
    return &loss->config;
}

size_t cb_loss_prototypes(const cb_loss *loss, int head)
{
    return loss->prototypes[head];
}

cb_real *cb_loss_centre(const cb_loss *loss, int head)
{
    return loss->centre[head];
}

/* Kinds of teacher rows. */
enum { OTHER_VIEW, NEIGHBOUR_1, NEIGHBOUR_2, KINDS };

/* Of some rows, by the kind of teacher: Σ H(p, s), not weighted. */
typedef struct entropies {
    double of[KINDS];
} entropies;

/* The student's rows of one head, for the tasks. */
typedef struct head_rows {
    const cb_loss *loss;
    const cb_loss_input *input;
    cb_loss_weights weights;
    int head;
    double temperature; /* the student's */
    cb_real *gradient;
    size_t parts;
    entropies part[MAX_PARTS];
} head_rows;

/*
 * x = (logits - centre - their maximum) / temperature; returns log Σ exp x. The largest x is 0, so nothing
 * overflows.
 */
static double shift_row(
    cb_real *x, const cb_real *logits, const cb_real *centre, double temperature, size_t n)
{
    cb_real maximum, top = 0, sum = 0, factor = (cb_real)(1 / temperature);
    if (centre)
        for (size_t i = 0; i < n; i++) x[i] = logits[i] - centre[i];
    else
        memcpy(x, logits, n * sizeof *x);
    cb_rows()->arg_max(x, n, &maximum);
    for (size_t i = 0; i < n; i++) x[i] = (x[i] - maximum) * factor;
    cb_rows()->running_sum_exp(x, n, &top, &sum);
    return log((double)sum);
}

static cb_teachers teachers_of(const head_rows *rows, size_t view, size_t k)
{
    const uint8_t *match[2];
    if (rows->head == 0) return cb_teachers_of_image(&rows->weights, view);
    for (int v = 0; v < 2; v++) match[v] = rows->input->neighbour[v] ? rows->input->match[v] : NULL;
    return cb_teachers_of_object(&rows->weights, match, view, k);
}

/* Adds the cross-entropy with one teacher row to the sum of its kind, and -w p / τ to the gradient. */
static void add_teacher(const head_rows *rows, int kind, const cb_real *logits, double weight,
    const cb_real *student, double log_sum, cb_real *teacher, cb_real *gradient, entropies *sums)
{
    const cb_loss *loss = rows->loss;
    size_t n = loss->prototypes[rows->head];
    double temperature = rows->input->head[rows->head].teacher_temperature;
    double teacher_log_sum = shift_row(teacher, logits, loss->centre[rows->head], temperature, n);
    cb_rows()->exp_shifted(teacher, teacher, (cb_real)teacher_log_sum, n);
    sums->of[kind] += log_sum - (double)cb_rows()->dot(teacher, student, n);
    if (gradient) cb_rows()->add_scaled(gradient, teacher, (cb_real)(-weight / rows->temperature), n);
}

/* One row of the student: its cross-entropies into `sums`, its gradient in place. */
static void loss_of_row(
    const head_rows *rows, size_t row, cb_real *student, cb_real *teacher, entropies *sums)
{
    const cb_head_logits *logits = &rows->input->head[rows->head];
    size_t n = rows->loss->prototypes[rows->head], k = row % logits->rows;
    cb_teachers teachers = teachers_of(rows, row / logits->rows, k);
    cb_real *gradient = rows->gradient ? rows->gradient + row * n : NULL;

    double log_sum = shift_row(student, logits->student + row * n, NULL, rows->temperature, n);
    double weight = teachers.weight[0];
    if (gradient) memset(gradient, 0, n * sizeof *gradient);
    add_teacher(rows, OTHER_VIEW, logits->teacher + (teachers.view * logits->rows + k) * n,
        teachers.weight[0], student, log_sum, teacher, gradient, sums);
    if (teachers.neighbour && teachers.weight[1] != 0) {
        add_teacher(rows, NEIGHBOUR_1 + (int)teachers.view, rows->input->neighbour[teachers.view] + k * n,
            teachers.weight[1], student, log_sum, teacher, gradient, sums);
        weight += teachers.weight[1];
    }
    if (!gradient) return;
    cb_rows()->exp_shifted(student, student, (cb_real)log_sum, n);
    cb_rows()->add_scaled(gradient, student, (cb_real)(weight / rows->temperature), n);
}

static void loss_of_part(void *context, size_t task, size_t worker)
{
    head_rows *rows = context;
    size_t most = widest(rows->loss);
    cb_real *student = rows->loss->scratch + worker * 2 * most, *teacher = student + most;
    cb_range part = cb_part(2 * rows->input->head[rows->head].rows, task, rows->parts, 1);
    for (size_t row = part.begin; row < part.end; row++)
        loss_of_row(rows, row, student, teacher, &rows->part[task]);
}

static entropies loss_of_head(head_rows *rows)
{
    entropies sum = {{0}};
    size_t count = 2 * rows->input->head[rows->head].rows;
    rows->parts = count < MAX_PARTS ? count : MAX_PARTS;
    cb_pool_run(rows->loss->pool, rows->parts, loss_of_part, rows);
    for (size_t part = 0; part < rows->parts; part++)
        for (int kind = 0; kind < KINDS; kind++) sum.of[kind] += rows->part[part].of[kind];
    return sum;
}

static size_t count_matches(const cb_loss_input *input, int view)
{
    size_t matches = 0;
    for (size_t k = 0; input->neighbour[view] && k < input->head[1].rows; k++)
        matches += input->match[view][k] != 0;
    return matches;
}

void cb_loss_compute(const cb_loss *loss, const cb_loss_input *input, cb_loss_output *output)
{
    const cribo_loss_config *config = &loss->config;
    cb_loss_weights weights = cb_loss_weights_of(config->authors_normalisation != 0, input->head[0].rows,
        input->head[1].rows, count_matches(input, 0), count_matches(input, 1));

    head_rows images = {.loss = loss,
        .input = input,
        .weights = weights,
        .head = 0,
        .temperature = config->student_temperature,
        .gradient = output->gradient[0]};
    output->global = weights.global * loss_of_head(&images).of[OTHER_VIEW];

    head_rows objects = {.loss = loss,
        .input = input,
        .weights = weights,
        .head = 1,
        .temperature = config->object_student_temperature,
        .gradient = output->gradient[1]};
    entropies sum = loss_of_head(&objects);
    output->cross_view = weights.cross_view * sum.of[OTHER_VIEW];
    output->cross_image =
        weights.cross_image[0] * sum.of[NEIGHBOUR_1] + weights.cross_image[1] * sum.of[NEIGHBOUR_2];
}

/* A centre's move, for the tasks. */
typedef struct centre_move {
    cb_real *centre;
    const cb_real *logits; /* [rows, n] */
    size_t rows, n;
    double momentum;
} centre_move;

static void move_columns(void *context, size_t task, size_t worker)
{
    const centre_move *move = context;
    double sum[CENTRE_COLUMNS] = {0};
    size_t begin = task * CENTRE_COLUMNS, left = move->n - begin;
    size_t n = left < CENTRE_COLUMNS ? left : CENTRE_COLUMNS;
    (void)worker;
    for (size_t r = 0; r < move->rows; r++)
        for (size_t p = 0; p < n; p++) sum[p] += (double)move->logits[r * move->n + begin + p];
    for (size_t p = 0; p < n; p++)
        move->centre[begin + p] = (cb_real)(move->momentum * (double)move->centre[begin + p] +
                                            (1 - move->momentum) * sum[p] / (double)move->rows);
}

void cb_loss_update_centres(cb_loss *loss, const cb_head_logits logits[2])
{
    for (int head = 0; head < 2; head++) {
        if (logits[head].rows == 0) continue;
        centre_move move = {loss->centre[head], logits[head].teacher, 2 * logits[head].rows,
            loss->prototypes[head], loss->config.centre_momentum};
        cb_pool_run(loss->pool, (move.n + CENTRE_COLUMNS - 1) / CENTRE_COLUMNS, move_columns, &move);
    }
}
