/*
 * From transport to labels, and from either to Q*: the assignment [N, K] of one view. Each column sums to 1,
 * or to 0 if the cluster is absent from the view.
 */
#ifndef CB_CLUSTERING_ASSIGNMENT_H
#define CB_CLUSTERING_ASSIGNMENT_H

#include "tensor/real.h"

/*
 * labels [2N]: for each token the cluster with its largest share, the lowest of equal clusters. transport [K,
 * 2N]; `best` [2N] is scratch.
 */
void cb_label_tokens(
    int32_t *labels, const cb_real *transport, size_t joint_tokens, size_t clusters, cb_real *best);

/* Hard: 1 / (tokens of the view with this label) at each token's label. `sizes` [K] is scratch. */
void cb_assign_by_labels(
    cb_real *assignment, const int32_t *labels, size_t tokens, size_t clusters, cb_real *sizes);

/*
 * Soft: the view's part of the transport, row k at transport + k * stride, over its sums; then labels [N] are
 * the largest of the assignment's rows, the lowest of equals.
 */
void cb_assign_by_shares(cb_real *assignment, int32_t *labels, const cb_real *transport, size_t stride,
    size_t tokens, size_t clusters);

/* valid [K]: 1 where both views, labels [2, N], have a token with this label. */
void cb_mark_valid(uint8_t *valid, const int32_t *labels, size_t tokens, size_t clusters);

#endif
