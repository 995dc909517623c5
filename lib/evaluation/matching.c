/* Assignments of greatest score. See matching.h. */
#include "evaluation/matching.h"

#include <math.h>
#include <string.h>

/*
 * The state of the method. Side A is the smaller one; costs are -score. Potentials keep every reduced cost
 * cost - u - v from below 0, and 0 on matched pairs.
 */
typedef struct assignment {
    size_t a, b, columns; /* a <= b */
    bool swapped;         /* A is the columns */
    const double *score;
    double *u, *v;    /* [a], [b] potentials */
    double *least;    /* [b] the least reduced cost by which the tree reaches an item of B */
    size_t *from;     /* [b] the item of A from which it does */
    size_t *match;    /* [b] partner + 1; 0: none */
    size_t *partner;  /* [a] of the items of A that have one */
    uint8_t *reached; /* [b] in the tree */
} assignment;

static double reduced_cost(const assignment *s, size_t i, size_t j)
{
    size_t row = s->swapped ? j : i, column = s->swapped ? i : j;
    return -s->score[row * s->columns + column] - s->u[i] - s->v[j];
}

/* Grows the tree by item i of A; gives the item of B that is reached next, and *step, its cost. */
static size_t grow(assignment *s, size_t i, double *step)
{
    size_t next = s->b;
    *step = INFINITY;
    for (size_t j = 0; j < s->b; j++) {
        if (s->reached[j]) continue;
        double cost = reduced_cost(s, i, j);
        if (cost < s->least[j]) {
            s->least[j] = cost;
            s->from[j] = i;
        }
        if (next == s->b || s->least[j] < *step) {
            *step = s->least[j];
            next = j;
        }
    }
    return next;
}

/* Moves the potentials so that the next item's reduced cost is 0; `root` is the free item of the tree. */
static void move_potentials(assignment *s, size_t root, double step)
{
    s->u[root] += step;
    for (size_t j = 0; j < s->b; j++)
        if (s->reached[j]) {
            s->u[s->match[j] - 1] += step;
            s->v[j] -= step;
        } else {
            s->least[j] -= step;
        }
}

/* Finds a partner for item `root` of A along the shortest augmenting path. */
static void augment(assignment *s, size_t root)
{
    for (size_t j = 0; j < s->b; j++) s->least[j] = INFINITY, s->reached[j] = 0;
    size_t i = root, j;
    double step;
    for (;;) {
        j = grow(s, i, &step);
        move_potentials(s, root, step);
        if (!s->match[j]) break;
        s->reached[j] = 1;
        i = s->match[j] - 1;
    }
    do { /* along the path each item takes the partner of the one before */
        size_t before = s->partner[i = s->from[j]];
        s->match[j] = i + 1;
        s->partner[i] = j;
        j = before;
    } while (i != root);
}

static void write_columns(const assignment *s, size_t rows, int64_t *column)
{
    for (size_t r = 0; r < rows; r++) column[r] = -1;
    for (size_t j = 0; j < s->b; j++) {
        if (!s->match[j]) continue;
        size_t i = s->match[j] - 1;
        column[s->swapped ? j : i] = (int64_t)(s->swapped ? i : j);
    }
}

static cribo_status allocate(const cb_allocator *allocator, assignment *s)
{
    const char *what = "assignment";
    CB_TRY(CB_ALLOCATE(allocator, &s->u, s->a, what));
    CB_TRY(CB_ALLOCATE(allocator, &s->v, s->b, what));
    CB_TRY(CB_ALLOCATE(allocator, &s->least, s->b, what));
    CB_TRY(CB_ALLOCATE(allocator, &s->from, s->b, what));
    CB_TRY(CB_ALLOCATE(allocator, &s->match, s->b, what));
    CB_TRY(CB_ALLOCATE(allocator, &s->partner, s->a, what));
    return CB_ALLOCATE(allocator, &s->reached, s->b, what);
}

static void release(const cb_allocator *allocator, assignment *s)
{
    void *blocks[] = {s->reached, s->partner, s->match, s->from, s->least, s->v, s->u};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) cb_release(allocator, blocks[i]);
}

cribo_status cb_assign(
    const cb_allocator *allocator, size_t rows, size_t columns, const double *score, int64_t *column)
{
    bool swapped = rows > columns;
    assignment s = {.a = swapped ? columns : rows,
        .b = swapped ? rows : columns,
        .columns = columns,
        .swapped = swapped,
        .score = score};
    cribo_status status = allocate(allocator, &s);
    for (size_t i = 0; status == CRIBO_OK && i < s.a; i++) augment(&s, i);
    if (status == CRIBO_OK) write_columns(&s, rows, column);
    release(allocator, &s);
    return status;
}

/* --- predictions and classes --- */

/* score [classes, predictions]: IoU, 0 where neither occurs; `sums` [classes + predictions] is scratch. */
static void find_ious(const cb_matching *m, double *score, int64_t *sums)
{
    int64_t *truth = sums, *predicted = sums + m->classes;
    for (size_t g = 0; g < m->classes; g++)
        for (size_t p = 0; p < m->predictions; p++) {
            truth[g] += m->confusion[g * m->predictions + p];
            predicted[p] += m->confusion[g * m->predictions + p];
        }
    for (size_t g = 0; g < m->classes; g++)
        for (size_t p = 0; p < m->predictions; p++) {
            int64_t both = m->confusion[g * m->predictions + p], either = truth[g] + predicted[p] - both;
            score[g * m->predictions + p] = either ? (double)both / (double)either : 0;
        }
}

static cribo_status match_one_to_one(const cb_allocator *allocator, const cb_matching *m, int64_t *class_of)
{
    double *score = NULL;
    int64_t *sums = NULL, *partner = NULL;
    cribo_status status = CB_ALLOCATE(allocator, &score, m->classes * m->predictions, "matching");
    if (status == CRIBO_OK) status = CB_ALLOCATE(allocator, &sums, m->classes + m->predictions, "matching");
    if (status == CRIBO_OK) status = CB_ALLOCATE(allocator, &partner, m->classes, "matching");
    if (status == CRIBO_OK) {
        find_ious(m, score, sums);
        status = cb_assign(allocator, m->classes, m->predictions, score, partner);
    }
    if (status == CRIBO_OK) {
        for (size_t p = 0; p < m->predictions; p++) class_of[p] = (int64_t)m->rest;
        for (size_t g = 0; g < m->classes; g++)
            if (partner[g] >= 0) class_of[partner[g]] = (int64_t)g;
    }
    cb_release(allocator, partner);
    cb_release(allocator, sums);
    cb_release(allocator, score);
    return status;
}

static void match_many_to_one(const cb_matching *m, int64_t *class_of)
{
    for (size_t p = 0; p < m->predictions; p++) {
        int64_t most = 0;
        class_of[p] = (int64_t)m->rest;
        for (size_t g = 0; g < m->classes; g++)
            if (m->confusion[g * m->predictions + p] > most) {
                most = m->confusion[g * m->predictions + p];
                class_of[p] = (int64_t)g;
            }
    }
}

cribo_status cb_match_predictions(
    const cb_allocator *allocator, const cb_matching *matching, int64_t *class_of)
{
    if (!matching->many_to_one) return match_one_to_one(allocator, matching, class_of);
    match_many_to_one(matching, class_of);
    return CRIBO_OK;
}

void cb_fold_predictions(const cb_matching *m, const int64_t *class_of, int64_t *matched)
{
    memset(matched, 0, m->classes * m->classes * sizeof *matched);
    for (size_t g = 0; g < m->classes; g++)
        for (size_t p = 0; p < m->predictions; p++)
            matched[g * m->classes + (size_t)class_of[p]] += m->confusion[g * m->predictions + p];
}
