/* Probes of frozen features. See probe.h. */
#include "evaluation/probe.h"

#include "evaluation/segmentation.h"
#include "tensor/rows.h"

#include <string.h>

#define INTEGER(...) CB_INTEGER(cribo_probe_config, __VA_ARGS__)
#define REAL(...) CB_REAL(cribo_probe_config, __VA_ARGS__)
static const cb_field fields[] = {
    INTEGER(width, 1, 65536, 384, "components of a feature vector"),
    INTEGER(classes, 1, 65536, 21, "number of classes of the labels"),
    INTEGER(ignore_label, -1, 65536, 255, "label of the pixels that are left out"),
    INTEGER(memory_patches, 0, 2147483648.0, 0,
        "maximum number of patches in the memory, a uniform sample; 0: all patches"),
    INTEGER(seed, 0, 9007199254740992.0, 0, "seed of the sample of patches"),
    INTEGER(neighbours, 1, 4096, 30, "number of nearest patches that vote for a patch's label"),
    REAL(temperature, 1e-4, 1e4, 0.02, "temperature of the softmax over the neighbours' cosines"),
    REAL(weight_penalty, 0, 1e6, 1e-4, "factor of the squared weights (L2 penalty) of the linear layer"),
    INTEGER(iterations, 1, 100000, 200, "maximum number of iterations in which the linear layer is fitted"),
};
const cb_config_table cb_probe_settings = CB_CONFIG_TABLE(cribo_probe_config, fields);

cribo_status cb_probe_create(const cb_runtime *runtime, cb_probe *probe, const cribo_probe_config *config)
{
    probe->runtime = runtime;
    probe->config = *config;
    probe->memory = (cb_patch_memory){.width = (size_t)config->width,
        .classes = (size_t)config->classes,
        .most = (size_t)config->memory_patches,
        .seed = (uint64_t)config->seed,
        .ignore_label = config->ignore_label};
    return cb_patch_search_create(runtime, &probe->search, (size_t)config->width, (size_t)config->neighbours);
}

void cb_probe_destroy(cb_probe *probe)
{
    if (!probe->runtime) return; /* never created */
    const cb_allocator *allocator = &probe->runtime->allocator;
    cb_release(allocator, probe->shares);
    cb_linear_probe_destroy(probe->runtime, &probe->linear);
    cb_patch_search_destroy(probe->runtime, &probe->search);
    cb_patch_memory_destroy(allocator, &probe->memory);
}

cribo_status cb_probe_search(
    cb_probe *probe, size_t count, const cb_real *features, int64_t *index, cb_real *cosine)
{
    size_t k = probe->search.search.neighbours;
    for (size_t begin = 0; begin < count; begin += CB_PATCH_SEARCH_GROUP) {
        size_t queries = cb_min(count - begin, CB_PATCH_SEARCH_GROUP);
        CB_TRY(cb_progress(probe->runtime, "search", (double)begin / (double)count));
        const cb_neighbour *found = cb_patch_search_run(
            &probe->search, &probe->memory, queries, features + begin * probe->memory.width);
        for (size_t i = 0; i < queries * k; i++) {
            bool none = found[i].index < 0;
            if (index) index[begin * k + i] = none ? -1 : found[i].index;
            if (cosine) cosine[begin * k + i] = none ? 0 : found[i].cosine;
        }
    }
    return CRIBO_OK;
}

/* --- shares --- */

typedef struct vote_job {
    const cb_probe *probe;
    const cb_neighbour *found;
    cb_real *shares;
} vote_job;

/* Task: a patch's neighbours mix their histograms. */
static void vote(void *context, size_t row, size_t worker)
{
    const vote_job *job = context;
    const cb_patch_memory *memory = &job->probe->memory;
    size_t classes = memory->classes, k = cb_min(job->probe->search.search.neighbours, memory->count);
    const cb_neighbour *found = job->found + row * job->probe->search.search.neighbours;
    cb_real *shares = job->shares + row * classes, weight, sum = 0;
    cb_real sharpness = (cb_real)(1 / job->probe->config.temperature);
    (void)worker;
    memset(shares, 0, classes * sizeof *shares);
    for (size_t j = 0; j < k; j++) {
        cb_real below = (found[j].cosine - found[0].cosine) * sharpness;
        cb_rows()->exp_shifted(&weight, &below, 0, 1);
        cb_patch_memory_mix(memory, (size_t)found[j].index, weight, shares);
        sum += weight;
    }
    cb_rows()->scale(shares, shares, 1 / sum, classes);
}

static void share_by_neighbours(cb_probe *probe, size_t rows, const cb_real *features, cb_real *shares)
{
    vote_job job = {probe, cb_patch_search_run(&probe->search, &probe->memory, rows, features), shares};
    cb_pool_run(probe->runtime->pool, rows, vote, &job);
}

static cribo_status find_shares(
    cb_probe *probe, bool linear, size_t rows, const cb_real *features, cb_real *shares)
{
    for (size_t begin = 0; begin < rows; begin += CB_PATCH_SEARCH_GROUP) {
        size_t group = cb_min(rows - begin, CB_PATCH_SEARCH_GROUP);
        const cb_real *x = features + begin * probe->memory.width;
        cb_real *to = shares + begin * probe->memory.classes;
        CB_TRY(cb_progress(probe->runtime, "predict", (double)begin / (double)rows));
        if (linear)
            cb_linear_probe_shares(
                probe->runtime->pool, &probe->linear, group, x, probe->search.queries.unit, to);
        else
            share_by_neighbours(probe, group, x, to);
    }
    return CRIBO_OK;
}

/* --- prediction --- */

/* The workspace holds `count` numbers. */
static cribo_status reserve(cb_probe *probe, size_t count)
{
    const cb_allocator *allocator = &probe->runtime->allocator;
    if (count <= probe->shares_room) return CRIBO_OK;
    cb_release(allocator, probe->shares);
    probe->shares_room = 0;
    CB_TRY(CB_ALLOCATE(allocator, &probe->shares, count, "probe: shares of classes"));
    probe->shares_room = count;
    return CRIBO_OK;
}

cribo_status cb_probe_predict(cb_probe *probe, bool linear, const cb_label_maps *grid,
    const cb_real *features, cb_real *shares, int32_t *labels)
{
    size_t patches = grid->rows * grid->columns, rows = grid->images * patches,
           classes = probe->memory.classes;
    cb_share_map map = {.rows = grid->rows,
        .columns = grid->columns,
        .classes = classes,
        .height = grid->height,
        .width = grid->width};
    size_t scratch = labels ? cb_pool_threads(probe->runtime->pool) * cb_label_scratch(&map) : 0;
    CB_TRY(reserve(probe, scratch + (shares ? 0 : rows * classes)));
    if (!shares) shares = probe->shares + scratch;
    CB_TRY(find_shares(probe, linear, rows, features, shares));
    for (size_t b = 0; labels && b < grid->images; b++) {
        map.shares = shares + b * patches * classes;
        cb_label_pixels(probe->runtime->pool, &map, probe->shares, labels + b * grid->height * grid->width);
    }
    return CRIBO_OK;
}
