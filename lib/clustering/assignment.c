/* Labels and Q*. See assignment.h. */
#include "clustering/assignment.h"

#include "tensor/rows.h"

#include <string.h>

void cb_label_tokens(
    int32_t *labels, const cb_real *transport, size_t joint_tokens, size_t clusters, cb_real *best)
{
    memcpy(best, transport, joint_tokens * sizeof *best);
    memset(labels, 0, joint_tokens * sizeof *labels);
    for (size_t k = 1; k < clusters; k++)
        cb_rows()->keep_larger(best, labels, transport + k * joint_tokens, (int32_t)k, joint_tokens);
}

void cb_assign_by_labels(
    cb_real *assignment, const int32_t *labels, size_t tokens, size_t clusters, cb_real *sizes)
{
    memset(assignment, 0, tokens * clusters * sizeof *assignment);
    memset(sizes, 0, clusters * sizeof *sizes);
    for (size_t n = 0; n < tokens; n++) sizes[labels[n]] += 1;
    for (size_t n = 0; n < tokens; n++) assignment[n * clusters + (size_t)labels[n]] = 1 / sizes[labels[n]];
}

void cb_assign_by_shares(cb_real *assignment, int32_t *labels, const cb_real *transport, size_t stride,
    size_t tokens, size_t clusters)
{
    for (size_t k = 0; k < clusters; k++) {
        const cb_real *transport_k = transport + k * stride;
        double sum = 0;
        for (size_t n = 0; n < tokens; n++) sum += (double)transport_k[n];
        const double inverse = sum > 0 ? 1 / sum : 0;
        for (size_t n = 0; n < tokens; n++)
            assignment[n * clusters + k] = (cb_real)((double)transport_k[n] * inverse);
    }
    for (size_t n = 0; n < tokens; n++) {
        cb_real most;
        labels[n] = (int32_t)cb_rows()->arg_max(assignment + n * clusters, clusters, &most);
    }
}

void cb_mark_valid(uint8_t *valid, const int32_t *labels, size_t tokens, size_t clusters)
{
    enum { VIEW_1 = 1, VIEW_2 = 2, BOTH = 3 };
    memset(valid, 0, clusters);
    for (size_t n = 0; n < tokens; n++) valid[labels[n]] |= VIEW_1;
    for (size_t n = tokens; n < 2 * tokens; n++) valid[labels[n]] |= VIEW_2;
    for (size_t k = 0; k < clusters; k++) valid[k] = valid[k] == BOTH;
}
