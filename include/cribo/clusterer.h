/*
 * cribo/clusterer.h: joint-view clustering (section 1 of the paper). The dense tokens of both views of an
 * image are clustered together into K objects, on a cost that joins feature similarity and position, by
 * Sinkhorn's algorithm.
 *
 * Works on dense features of any network, without a model or a trainer.
 */
#ifndef CRIBO_CLUSTERER_H
#define CRIBO_CLUSTERER_H

#include "cribo/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Clusters batches of images. Holds its settings and its workspace. */
typedef struct cribo_clusterer cribo_clusterer;

/*
 * Settings; cribo_clusterer_config_init sets the published defaults. Fields are only ever appended.
 */
typedef struct cribo_clusterer_config {
    size_t struct_size;          /* sizeof(cribo_clusterer_config), set by _init */
    int64_t clusters;            /* K, at most 2N; 32 (64 for COCO). 1 ... 4096 */
    double position_weight;      /* lambda_pos, of the positional cost; 1.0 (2.0 for COCO). 0 ... 1e6 */
    double sinkhorn_lambda;      /* sharpness of the transport, P = exp(-lambda M); 20. 0.001 ... 1e4 */
    int64_t sinkhorn_iterations; /* row and column scalings; 5. 1 ... 1000 */
    int64_t cluster_iterations;  /* assignments with updated means; 5. 1 ... 1000 */
    int64_t update_marginal;     /* 1: clusters' masses follow their sizes; 0: all masses 1/K. 1 */
    int64_t hard_assignment;     /* 1: a token belongs to one cluster; 0: to all, by shares. 1 */
    int64_t batch_cost;          /* 1: cost normalised over the batch (authors' code); 0: per image. 0 */
    int64_t seed;                /* of the draws of initial tokens; 0. 0 ... 2^53 */
} cribo_clusterer_config;

/*
 * _init sets the defaults; `struct_size` is sizeof(cribo_clusterer_config) as the caller knows it. _set
 * assigns a setting by its name from text, with a decimal point in every locale. _setting describes setting
 * `index`, starting at 0; its strings are static.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, a size this library never had, no such setting, text that is no
 * number, a value out of range, an index past the last).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_clusterer_config_init(
    cribo_clusterer_config *config, size_t struct_size);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_clusterer_config_set(
    cribo_clusterer_config *config, const char *name, const char *value);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_clusterer_config_setting(size_t index, cribo_setting *setting);

/*
 * Makes a clusterer for batches of up to `max_images` images with `tokens_per_view` tokens of `width`
 * numbers (each 1 ... 2^24).
 * Ownership: free with cribo_clusterer_free.
 * Errors: CRIBO_INVALID_ARGUMENT (a setting out of range, K > 2N), CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR
 * (no threads).
 * Cost: memory for max_images * K * 2N floats, and for each worker 2N D + K D + K * 2N more (soft assignment:
 * 2N * 2N, too).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_clusterer_create(cribo_clusterer **out,
    const cribo_clusterer_config *config, const cribo_runtime *runtime, int64_t max_images,
    int64_t tokens_per_view, int64_t width);

/*
 * The bytes that cribo_clusterer_create takes from the allocator; later calls take none. See
 * cribo_trainer_memory.
 * Errors: as cribo_clusterer_create; CRIBO_OUT_OF_MEMORY only where the address space is too small.
 * Cost: as cribo_trainer_memory.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_clusterer_memory(const cribo_clusterer_config *config,
    const cribo_runtime *runtime, int64_t max_images, int64_t tokens_per_view, int64_t width, int64_t *bytes);

/* Frees a clusterer; NULL is fine. */
CRIBO_API void cribo_clusterer_free(cribo_clusterer *clusterer);

/*
 * The settings with which the clusterer works now. _get_config: all of them, into a config whose
 * struct_size is set (_config_init does). _get_setting: one by its name; of a choice its number.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, a size this library never had).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_clusterer_get_config(
    const cribo_clusterer *clusterer, cribo_clusterer_config *config);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_clusterer_get_setting(
    const cribo_clusterer *clusterer, const char *name, double *value);

/*
 * The sizes of the clusterer (cribo_sizes): images, tokens, width, clusters.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_clusterer_sizes(
    const cribo_clusterer *clusterer, cribo_sizes *sizes);

/*
 * Changes a setting for later calls, as if the clusterer had been made with it. All can change but clusters,
 * hard_assignment and batch_cost, for which the workspace is made.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, one that cannot change, with the reason, a value
 * out of range).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_clusterer_set_setting(
    cribo_clusterer *clusterer, const char *name, double value);

/*
 * A batch to cluster.
 *
 * images      B, at most the clusterer's max_images
 * tokens      [B, 2, N, D] dense tokens of view 1, then view 2; finite; normalised inside, so any scale will
 *             do
 * positions   [B, 2, N, 2] centres (x, y) of the patches in pixels of the original image; finite
 * seed_tokens [B, K] the tokens (0 ... 2N - 1) that start the clusters, distinct within an image; NULL draws
 *             them from Philox(seed, call, image)
 * call        number of the draw, a training step's for example; not used when seed_tokens is given
 */
typedef struct cribo_cluster_input {
    size_t struct_size; /* sizeof(cribo_cluster_input) */
    int64_t images;
    const float *tokens;
    const float *positions;
    const int64_t *seed_tokens;
    uint64_t call;
} cribo_cluster_input;

/*
 * Pointers to the results; a result is not computed if its pointer is NULL.
 *
 * assignment  [B, 2, N, K] Q*, each column of each view summing to 1, or to 0 where the cluster is absent
 * labels      [B, 2, N] the cluster to which each token belongs most, the lowest of equals
 * valid       [B, K] 1 where the cluster has a token in both views, else 0
 * objects     [B, 2, K, D] c_v^k = sum_n Q*_v(n, k) z_v^n; rows of clusters that are not valid are zero
 */
typedef struct cribo_cluster_output {
    size_t struct_size; /* sizeof(cribo_cluster_output) */
    float *assignment;
    int64_t *labels;
    uint8_t *valid;
    float *objects;
} cribo_cluster_output;

/*
 * Clusters a batch (equations in docs/algorithm.md, "Joint-view clustering"). With batch_cost = 0 an image's
 * result does not depend on its neighbours in the batch. Any finite input has a defined, finite result:
 * tokens of length 0 have cosine 0 with all others, and if all tokens and positions of an image are equal,
 * cluster 0 contains them all.
 * Errors: CRIBO_INVALID_ARGUMENT names what is NULL, out of range or not finite.
 * Cost: O(B (N^2 + N K D)) time; no array of B * 2N * 2N * K is ever made.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_clusterer_run(
    cribo_clusterer *clusterer, const cribo_cluster_input *input, const cribo_cluster_output *output);

#ifdef __cplusplus
}
#endif

#endif
