/* cribo/clusterer.h: checks, then the clusterer of lib/clustering. */
#include "cribo/clusterer.h"

#include "api/checks.h"
#include "api/create.h"
#include "api/settings.h"
#include "base/structs.h"
#include "clustering/clusterer.h"
#include "tensor/gemm.h"

struct cribo_clusterer {
    cb_guard own_guard, *guard;
    cb_runtime runtime;
    cb_clusterer *core;
    int64_t max_images;
};

CB_CONFIG_FUNCTIONS(clusterer, &cb_clusterer_settings)
CB_SETTING_GETTERS(clusterer, &cb_clusterer_settings, cb_clusterer_config(clusterer->core))

cribo_status cribo_clusterer_sizes(const cribo_clusterer *clusterer, cribo_sizes *sizes)
{
    CB_ENTER(clusterer);
    const cb_cluster_shape shape = cb_clusterer_shape(clusterer->core);
    const cribo_sizes full = {.images = clusterer->max_images,
        .tokens = (int64_t)shape.tokens,
        .width = (int64_t)shape.width,
        .clusters = (int64_t)shape.clusters};
    return cb_export_sizes(&full, sizes);
}

cribo_status cribo_clusterer_set_setting(cribo_clusterer *clusterer, const char *name, double value)
{
    static const cb_setting_group groups[] = {
        {"clusters, hard_assignment, batch_cost", "the workspace is made for it at creation"}, {NULL, NULL}};
    CB_ENTER(clusterer);
    cribo_clusterer_config changed = *cb_clusterer_config(clusterer->core);
    CB_TRY(cb_config_change(&cb_clusterer_settings, groups, &changed, name, value));
    cb_clusterer_configure(clusterer->core, &changed);
    return CRIBO_OK;
}

static cribo_status check_sizes(int64_t max_images, int64_t tokens_per_view, int64_t width)
{
    CB_REQUIRE(max_images >= 1, "max_images = %lld must be at least 1", (long long)max_images);
    CB_REQUIRE(tokens_per_view >= 1, "tokens_per_view = %lld must be at least 1", (long long)tokens_per_view);
    CB_REQUIRE(width >= 1, "width = %lld must be at least 1", (long long)width);
    return CRIBO_OK;
}

static cribo_status build(cribo_clusterer *clusterer, const cribo_clusterer_config *config,
    int64_t max_images, int64_t tokens_per_view, int64_t width)
{
    cribo_clusterer_config full;
    CB_TRY(cb_config_import(&cb_clusterer_settings, &full, config));
    CB_TRY(cb_gemm_begin(&clusterer->runtime));
    CB_TRY(cb_clusterer_create(&clusterer->runtime, &clusterer->core, &full, (size_t)max_images,
        (size_t)tokens_per_view, (size_t)width));
    clusterer->max_images = max_images;
    return CRIBO_OK;
}

cribo_status cribo_clusterer_create(cribo_clusterer **out, const cribo_clusterer_config *config,
    const cribo_runtime *runtime, int64_t max_images, int64_t tokens_per_view, int64_t width)
{
    cribo_clusterer *clusterer;
    cb_runtime own;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_REQUIRE_POINTER(config);
    CB_TRY(check_sizes(max_images, tokens_per_view, width));
    CB_TRY(cb_handle_begin(&own, runtime, &clusterer, sizeof *clusterer, "clusterer"));
    clusterer->guard = &clusterer->own_guard;
    clusterer->runtime = own;
    cribo_status status = build(clusterer, config, max_images, tokens_per_view, width);
    if (status == CRIBO_OK)
        *out = clusterer;
    else
        cribo_clusterer_free(clusterer);
    return status;
}

cribo_status cribo_clusterer_memory(const cribo_clusterer_config *config, const cribo_runtime *runtime,
    int64_t max_images, int64_t tokens_per_view, int64_t width, int64_t *bytes)
{
    cribo_clusterer *planned;
    cribo_runtime hooks;
    cb_memory_plan plan;
    CB_REQUIRE_POINTER(bytes);
    CB_TRY(cb_runtime_plan(&hooks, runtime, &plan));
    CB_TRY(cribo_clusterer_create(&planned, config, &hooks, max_images, tokens_per_view, width));
    cribo_clusterer_free(planned);
    *bytes = (int64_t)plan.peak;
    return CRIBO_OK;
}

void cribo_clusterer_free(cribo_clusterer *clusterer)
{
    if (!CB_MAY_FREE(clusterer)) return;
    cb_runtime runtime = clusterer->runtime;
    cb_clusterer_free(&runtime, clusterer->core);
    cb_release(&runtime.allocator, clusterer);
    cb_runtime_end(&runtime);
}

static cribo_status check_input(const cribo_clusterer *clusterer, const cribo_cluster_input *input)
{
    const cb_cluster_shape shape = cb_clusterer_shape(clusterer->core);
    CB_REQUIRE(input->images >= 1 && input->images <= clusterer->max_images,
        "images = %lld must be in 1 ... %lld", (long long)input->images, (long long)clusterer->max_images);
    CB_REQUIRE(input->tokens, "tokens is NULL");
    CB_REQUIRE(input->positions, "positions is NULL");
    const size_t rows = (size_t)input->images * 2 * shape.tokens;
    CB_TRY(cb_check_finite(clusterer->runtime.pool, "positions", input->positions, rows * 2));
    CB_TRY(cb_check_seed_tokens("seed_tokens", input->seed_tokens, (size_t)input->images, shape));
    return cb_check_finite(clusterer->runtime.pool, "tokens", input->tokens, rows * shape.width);
}

static void copy_out(
    const cribo_clusterer *clusterer, const cb_cluster_job *job, const cribo_cluster_output *output)
{
    const cb_cluster_shape shape = cb_clusterer_shape(clusterer->core);
    const size_t rows = job->images * 2 * shape.tokens;
    if (output->assignment)
        for (size_t i = 0; i < rows * shape.clusters; i++)
            output->assignment[i] = cb_clusterer_assignment(clusterer->core)[i];
    if (output->labels)
        for (size_t i = 0; i < rows; i++) output->labels[i] = cb_clusterer_labels(clusterer->core)[i];
    if (output->valid)
        for (size_t i = 0; i < job->images * shape.clusters; i++)
            output->valid[i] = cb_clusterer_valid(clusterer->core)[i];
    if (output->objects)
        cb_clusterer_pool_objects(clusterer->runtime.pool, clusterer->core, job, output->objects);
}

cribo_status cribo_clusterer_run(
    cribo_clusterer *clusterer, const cribo_cluster_input *input, const cribo_cluster_output *output)
{
    cribo_cluster_input given = {0};
    cribo_cluster_output wanted = {0};
    CB_ENTER(clusterer);
    CB_TRY(CB_IMPORT(given, input, call));
    CB_TRY(check_input(clusterer, &given));
    CB_TRY(CB_IMPORT(wanted, output, objects));

    const cb_cluster_shape shape = cb_clusterer_shape(clusterer->core);
    const cb_cluster_job job = {
        .images = (size_t)given.images,
        .view = {given.tokens, given.tokens + shape.tokens * shape.width},
        .image_stride = 2 * shape.tokens * shape.width,
        .positions = given.positions,
        .seed_tokens = given.seed_tokens,
        .call = given.call,
        .position_weight = cb_clusterer_config(clusterer->core)->position_weight,
    };
    cb_clusterer_run(clusterer->core, &job);
    copy_out(clusterer, &job, &wanted);
    return CRIBO_OK;
}
