/* Patch centres and the positional cost. See positions.h. */
#include "clustering/positions.h"

#include "tensor/rows.h"

#include <math.h>

/* The upper bound of a distance in the authors' code, in pixels. */
static const cb_real farthest = 100000;

void cb_patch_positions(const cribo_crop *crop, size_t rows, size_t columns, size_t patch, float *positions)
{
    double width = (double)(columns * patch), height = (double)(rows * patch);
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < columns; column++) {
            size_t source = crop->flipped ? columns - 1 - column : column;
            double u = ((double)source + 0.5) * (double)patch, v = ((double)row + 0.5) * (double)patch;
            *positions++ = (float)(crop->x + u * crop->width / width - 0.5);
            *positions++ = (float)(crop->y + v * crop->height / height - 0.5);
        }
}

static void fill(cb_real *x, cb_real value, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = value;
}

/* Computes g from the smallest value found, which is infinite if there was none. */
static void close_minimum(cb_real *g, size_t n)
{
    for (size_t i = 0; i < n; i++) g[i] = g[i] == (cb_real)INFINITY ? 0 : g[i];
}

void cb_nearest_members(cb_real *g, const cb_real *x, const cb_real *y, const int32_t *labels,
    const uint8_t *changed, size_t joint_tokens, size_t clusters)
{
    const cb_real most = farthest * farthest;
    for (size_t k = 0; k < clusters; k++)
        if (changed[k]) fill(g + k * joint_tokens, (cb_real)INFINITY, joint_tokens);
    for (size_t j = 0; j < joint_tokens; j++)
        if (labels[j] >= 0 && changed[labels[j]])
            cb_rows()->least_square(
                g + (size_t)labels[j] * joint_tokens, x, y, x[j], y[j], most, joint_tokens);
    for (size_t k = 0; k < clusters; k++)
        if (changed[k]) cb_rows()->finite_root(g + k * joint_tokens, joint_tokens);
}

void cb_token_distances(cb_real *distances, const cb_real *x, const cb_real *y, size_t joint_tokens)
{
    for (size_t j = 0; j < joint_tokens; j++)
        for (size_t i = 0; i < joint_tokens; i++) {
            cb_real dx = x[i] - x[j], dy = y[i] - y[j];
            distances[j * joint_tokens + i] = (cb_real)sqrt(dx * dx + dy * dy);
        }
}

void cb_least_products(
    cb_real *g, const cb_real *distances, const cb_real *shares, size_t joint_tokens, size_t clusters)
{
    fill(g, (cb_real)INFINITY, clusters * joint_tokens);
    for (size_t j = 0; j < joint_tokens; j++)
        for (size_t k = 0; k < clusters; k++) {
            cb_real share = shares[k * joint_tokens + j];
            if (share > 0) /* 0 times an infinite distance would not be 0 */
                cb_rows()->least_product(
                    g + k * joint_tokens, distances + j * joint_tokens, share, farthest, joint_tokens);
        }
    close_minimum(g, clusters * joint_tokens);
}

void cb_normalise_positional_cost(
    cb_real *cost, const cb_real *g, size_t joint_tokens, size_t clusters, cb_real *ones)
{
    double sum = 0;
    fill(ones, 1, joint_tokens);
    for (size_t k = 0; k < clusters; k++)
        sum += (double)cb_rows()->dot(g + k * joint_tokens, ones, joint_tokens);

    /*
     * The mean is never above the largest value, so the largest is unchanged after zeros are replaced by the
     * mean.
     */
    const cb_real mean = (cb_real)(sum / (double)(clusters * joint_tokens));
    const cb_real most = cb_rows()->largest(g, clusters * joint_tokens);
    cb_rows()->divide(cost, g, mean, most > 0 ? most : 1, clusters * joint_tokens); /* all 0: one position */
}
