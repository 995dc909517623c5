/*
 * Joint-view clustering (section 1 of the paper; Stegmuller et al., CVPR 2023): the 2N tokens of both views
 * of an image are assigned to K clusters. Each repetition computes the cost of every token and cluster from
 * dissimilarity and distance, M(i, k) = -<z_i, mu_k> + lambda_pos g(i, k), finds the transport P by
 * Sinkhorn's algorithm, gives every token the label of its largest P, and computes the clusters' means again.
 * The result Q* is the last assignment, normalised so that the columns of each view sum to 1.
 *
 * Of clusters that are equally good for a token the lowest is chosen. Images are independent, except for the
 * range of the cost when `batch_cost` is set. Internal arrays over clusters and tokens are [K, 2N].
 */
#ifndef CB_CLUSTERING_CLUSTERER_H
#define CB_CLUSTERING_CLUSTERER_H

#include "base/config.h"
#include "base/runtime.h"
#include "cribo/clusterer.h"
#include "tensor/pooling.h"
#include "tensor/real.h"

typedef struct cb_clusterer cb_clusterer;

extern const cb_config_table cb_clusterer_settings; /* of cribo_clusterer_config */

/*
 * Allocates its workspace from the runtime and borrows the runtime's pool. Errors: settings out of range, K >
 * 2N, no memory.
 */
cribo_status cb_clusterer_create(const cb_runtime *runtime, cb_clusterer **out,
    const cribo_clusterer_config *config, size_t max_images, size_t tokens_per_view, size_t width);
void cb_clusterer_free(const cb_runtime *runtime, cb_clusterer *clusterer);

/* The settings; those that change must not concern its memory: clusters, hard_assignment, batch_cost. */
const cribo_clusterer_config *cb_clusterer_config(const cb_clusterer *clusterer);
void cb_clusterer_configure(cb_clusterer *clusterer, const cribo_clusterer_config *config);

/*
 * A batch to cluster. All arrays are borrowed, and the caller has checked them.
 *
 * images          B
 * view            the tokens of view 1 and of view 2: image b's are [N, D] at view[v] + b * image_stride
 * image_stride    numbers from one image's first token to the next image's, at least N D: (1 + N) D where
 *                 [CLS] tokens stand between
 * positions       [B, 2, N, 2]
 * seed_tokens     [B, K] distinct, below 2N; or NULL: drawn from (seed, call, ids[b])
 * ids             [B]; or NULL: the index b
 * position_weight lambda_pos of this call
 */
typedef struct cb_cluster_job {
    size_t images;
    const cb_real *view[2];
    size_t image_stride;
    const float *positions;
    const int64_t *seed_tokens;
    uint64_t call;
    const int64_t *ids;
    double position_weight;
} cb_cluster_job;

/* Allocates nothing and cannot fail. The results stay until the next run. */
void cb_clusterer_run(cb_clusterer *clusterer, const cb_cluster_job *job);

const cb_real *cb_clusterer_assignment(const cb_clusterer *clusterer);  /* Q* [B, 2, N, K] */
const int32_t *cb_clusterer_labels(const cb_clusterer *clusterer);      /* [B, 2, N] */
const uint8_t *cb_clusterer_valid(const cb_clusterer *clusterer);       /* [B, K] has a label in both views */
size_t cb_clusterer_count(const cb_clusterer *clusterer, size_t image); /* valid clusters of an image */

typedef struct cb_cluster_shape {
    size_t tokens, width, clusters; /* N, D, K */
    bool hard;
} cb_cluster_shape;
cb_cluster_shape cb_clusterer_shape(const cb_clusterer *clusterer);

/* The most entries that one image adds to a pooling of one view. */
size_t cb_clusterer_max_entries(const cb_clusterer *clusterer);

/*
 * Appends to `append` a row for every valid object of `images` images from `first_image` on, image by image,
 * cluster by cluster, in one view: its tokens with a weight in Q* that is not 0. Token n of image b counts as
 * token_base + (b - first_image) * token_stride + n. Where `append` has no rows yet its begin[0] is set to 0.
 * Returns the rows added.
 */
size_t cb_clusterer_objects(const cb_clusterer *clusterer, size_t first_image, size_t images, size_t view,
    cb_pooling *append, size_t token_base, size_t token_stride);

/*
 * The same objects at once: objects [B, 2, K, D] from the tokens of `job`; rows of clusters that are not
 * valid are 0.
 */
void cb_clusterer_pool_objects(
    cb_pool *pool, const cb_clusterer *clusterer, const cb_cluster_job *job, cb_real *objects);

#endif
