/*
 * Positions of patches in the original image, and the cost of a token's distance from a cluster.
 *
 * The positional cost g(k, i) of token i for cluster k is the distance to the nearest member of k that is not
 * at the position of i. With shares A instead of members it is the smallest product of distance and share
 * that is not zero:
 *
 *     g(k, i) = min { |q_i - q_j| A(k, j) : the product is not 0 }, at most 100 000; 0 when there is no such
 *     j
 *
 * Then zeros are replaced by the mean of all g of the image, and g is divided by its largest value, so that
 * its range is 0 ... 1. All arrays over clusters and tokens are [K, 2N] here: rows of 2N suit the row
 * kernels.
 */
#ifndef CB_CLUSTERING_POSITIONS_H
#define CB_CLUSTERING_POSITIONS_H

#include "cribo/objective.h"
#include "tensor/real.h"

/*
 * The centres of the patches of a view of rows * columns patches, in pixels of the original image, row by
 * row: positions [rows * columns, 2] (x, y). The view is the crop, resized to patches of patch * patch
 * pixels, then mirrored left-right if it is flipped; centre of column c: x + (c patch + patch / 2) width /
 * (columns patch) - 1/2.
 */
void cb_patch_positions(const cribo_crop *crop, size_t rows, size_t columns, size_t patch, float *positions);

/*
 * g [K, 2N] for hard labels [2N]; a negative label belongs to no cluster. x, y [2N]. Rows of clusters that
 * have not `changed` [K] stay. O((2N)^2).
 */
void cb_nearest_members(cb_real *g, const cb_real *x, const cb_real *y, const int32_t *labels,
    const uint8_t *changed, size_t joint_tokens, size_t clusters);

/* distances [2N, 2N] between all tokens. */
void cb_token_distances(cb_real *distances, const cb_real *x, const cb_real *y, size_t joint_tokens);

/* g [K, 2N] for shares [K, 2N]. O((2N)^2 K). */
void cb_least_products(
    cb_real *g, const cb_real *distances, const cb_real *shares, size_t joint_tokens, size_t clusters);

/*
 * cost = g [K, 2N], with zeros replaced by the mean, divided by the largest value; if all are 0 they stay 0.
 * `ones` [2N] is scratch.
 */
void cb_normalise_positional_cost(
    cb_real *cost, const cb_real *g, size_t joint_tokens, size_t clusters, cb_real *ones);

#endif
