/* What several handles check of their arguments. */
#ifndef CB_API_CHECKS_H
#define CB_API_CHECKS_H

#include "training/trainer.h"

/*
 * Refuses `count` numbers, the argument `name`, when one of them is infinite or NaN. `values` NULL is fine.
 */
cribo_status cb_check_finite(cb_pool *pool, const char *name, const float *values, size_t count);

/*
 * Refuses seeds [images, K] that are no tokens of both views, or not distinct in their image. `seeds` NULL is
 * fine.
 */
cribo_status cb_check_seed_tokens(
    const char *name, const int64_t *seeds, size_t images, cb_cluster_shape shape);

/* A crop with an area and finite edges; `name` is the argument. */
cribo_status cb_check_crop(const char *name, const cribo_crop *crop);

/*
 * The caller's batch in our form. Refuses one that the trainer cannot take, by the name of the field that is
 * wrong.
 */
cribo_status cb_import_batch(const cb_trainer *trainer, cribo_batch *full, const cribo_batch *batch);

/* Gives the sizes of a handle to the caller, whose struct may be older or newer. */
cribo_status cb_export_sizes(const cribo_sizes *full, cribo_sizes *sizes);

/* The sizes of named parameters. */
void cb_size_parameters(cribo_sizes *sizes, const cb_parameters *parameters);

/* Refuses another number than the one that is expected. */
cribo_status cb_check_count(const char *name, int64_t count, size_t expected);

/* Refuses room for fewer numbers than are needed; `name` is the argument. */
cribo_status cb_check_capacity(const char *name, int64_t capacity, size_t needed);

#endif
