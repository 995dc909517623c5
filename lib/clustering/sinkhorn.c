/*
 * Sinkhorn's algorithm. See sinkhorn.h.
 *
 * Every token's least cost is subtracted before the exponential; the first scaling of rows cancels this. So
 * each token has an entry of 1, and no row can underflow for any lambda.
 */
#include "clustering/sinkhorn.h"

#include "tensor/rows.h"

#include <math.h>

/* Cosines in float32 are exact to about 1e-7: a smaller range than this is only rounding noise. */
static const cb_real flat = (cb_real)1e-6;

/* A cluster with a smaller mass counts as empty; the inverse of this mass is still finite. */
static const cb_real vanished = (cb_real)1e-30;

cb_cost_range cb_find_cost_range(const cb_real *cost, size_t joint_tokens, size_t clusters, cb_real *scratch)
{
    cb_real *least = scratch, *most = scratch + joint_tokens;
    for (size_t i = 0; i < joint_tokens; i++) least[i] = most[i] = cost[i];
    for (size_t k = 1; k < clusters; k++) {
        cb_rows()->lower(least, cost + k * joint_tokens, joint_tokens);
        cb_rows()->raise(most, cost + k * joint_tokens, joint_tokens);
    }
    cb_cost_range range = {least[0], most[0]};
    for (size_t i = 1; i < joint_tokens; i++) {
        if (least[i] < range.low) range.low = least[i];
        if (most[i] > range.high) range.high = most[i];
    }
    return range;
}

/* plan = exp(-sharpness (cost - the token's least cost)); sums [2N] over the clusters. */
static void exponentiate(
    cb_real *plan, size_t joint_tokens, size_t clusters, cb_real sharpness, cb_real *least, cb_real *sums)
{
    for (size_t i = 0; i < joint_tokens; i++) least[i] = plan[i], sums[i] = 0;
    for (size_t k = 1; k < clusters; k++) cb_rows()->lower(least, plan + k * joint_tokens, joint_tokens);
    for (size_t k = 0; k < clusters; k++)
        cb_rows()->exp_above(plan + k * joint_tokens, least, sharpness, sums, joint_tokens);
}

/*
 * Scales the tokens to 1 / 2N each and then the clusters to their masses; updates `sums` over the clusters.
 */
static void rescale(
    cb_real *plan, size_t joint_tokens, size_t clusters, const cb_real *mass, cb_real *factors, cb_real *sums)
{
    const cb_real share = 1 / (cb_real)joint_tokens;
    for (size_t i = 0; i < joint_tokens; i++) factors[i] = share / sums[i], sums[i] = 0;
    for (size_t k = 0; k < clusters; k++) {
        cb_real *plan_k = plan + k * joint_tokens;
        cb_real held = cb_rows()->dot(plan_k, factors, joint_tokens);
        cb_real common = held < vanished ? 0 : mass[k] / held;
        cb_rows()->scale_and_sum(plan_k, factors, common, sums, joint_tokens);
    }
}

void cb_sinkhorn(cb_real *plan, size_t joint_tokens, size_t clusters, const cb_real *mass,
    cb_cost_range range, double lambda, size_t iterations, cb_real *scratch)
{
    cb_real *factors = scratch, *sums = scratch + joint_tokens, width = range.high - range.low;
    cb_real sharpness = width > flat ? (cb_real)(lambda / (double)width) : 0;
    exponentiate(plan, joint_tokens, clusters, sharpness, factors, sums);
    for (size_t t = 0; t < iterations; t++) rescale(plan, joint_tokens, clusters, mass, factors, sums);
}
