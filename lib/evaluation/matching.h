/*
 * Matching predictions that have no names, such as clusters, with classes.
 *
 *   assignment   max over one-to-one maps sigma of sum_i s_(i, sigma(i))
 *   by IoU       s_gp = n_gp / (sum_j n_gj + sum_j n_jp - n_gp)   n: pixels by true class g and prediction p
 */
#ifndef CB_EVALUATION_MATCHING_H
#define CB_EVALUATION_MATCHING_H

#include "base/memory.h"

#include <stdbool.h>

/*
 * column [rows]: the column of each row in an assignment with the greatest total score [rows, columns]; -1:
 * the row has none, since there are more rows than columns. Fails for lack of memory only, before anything is
 * written. Kuhn's Hungarian method with shortest augmenting paths, O(min^2 max).
 */
cribo_status cb_assign(
    const cb_allocator *allocator, size_t rows, size_t columns, const double *score, int64_t *column);

/* Counts [classes, predictions] of pixels, and how to match them. */
typedef struct cb_matching {
    size_t classes, predictions;
    const int64_t *confusion;
    bool many_to_one; /* each prediction with the class of most of its pixels; otherwise one to one, by IoU */
    size_t rest;      /* the class of a prediction without a partner */
} cb_matching;

/* class_of [predictions]. Fails for lack of memory only, before anything is written. */
cribo_status cb_match_predictions(
    const cb_allocator *allocator, const cb_matching *matching, int64_t *class_of);

/* matched [classes, classes]: the counts, with the columns of a class's predictions added up. */
void cb_fold_predictions(const cb_matching *matching, const int64_t *class_of, int64_t *matched);

#endif
