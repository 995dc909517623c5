/*
 * A probe: a patch memory and its two readers, nearest neighbours and the linear layer.
 *
 *   shares_r = sum_j softmax_j(<u_r, m_j> / temperature) h_j       over the k nearest entries j of patch r
 */
#ifndef CB_EVALUATION_PROBE_H
#define CB_EVALUATION_PROBE_H

#include "base/config.h"
#include "cribo/evaluation.h"
#include "evaluation/linear_probe.h"
#include "evaluation/patch_search.h"
#include "evaluation/patch_memory.h"

extern const cb_config_table cb_probe_settings;

typedef struct cb_probe {
    const cb_runtime *runtime;
    cribo_probe_config config;
    cb_patch_memory memory;
    cb_patch_search search;
    cb_linear_probe linear;
    cb_real *shares; /* workspace of the largest prediction so far */
    size_t shares_room;
} cb_probe;

/* On failure, allocated memory stays for cb_probe_destroy. The runtime outlives the probe. */
cribo_status cb_probe_create(const cb_runtime *runtime, cb_probe *probe, const cribo_probe_config *config);
void cb_probe_destroy(cb_probe *probe);

/* See cribo_probe_search. The memory may be empty. */
cribo_status cb_probe_search(
    cb_probe *probe, size_t count, const cb_real *features, int64_t *index, cb_real *cosine);

/* See cribo_probe_predict; `grid` has no labels. */
cribo_status cb_probe_predict(cb_probe *probe, bool linear, const cb_label_maps *grid,
    const cb_real *features, cb_real *shares, int32_t *labels);

#endif
