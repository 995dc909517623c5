/* cribo/evaluation.h: arguments checked, then the rooms' evaluation. */
#include "cribo/evaluation.h"

#include "api/checks.h"
#include "api/create.h"
#include "api/settings.h"
#include "base/structs.h"
#include "evaluation/k_means.h"
#include "evaluation/linear_segmentation.h"
#include "evaluation/matching.h"
#include "evaluation/principal.h"
#include "evaluation/probe.h"
#include "evaluation/rare_patches.h"
#include "evaluation/segmentation.h"
#include "evaluation/view_retrieval.h"
#include "tensor/gemm.h"

#include <math.h>
#include <stdio.h>

#define MOST_CLASSES 65536

struct cribo_probe {
    cb_guard own_guard, *guard;
    cb_runtime runtime;
    cb_probe probe;
};

CB_CONFIG_FUNCTIONS(probe, &cb_probe_settings)
CB_SETTING_GETTERS(probe, &cb_probe_settings, &probe->probe.config)

cribo_status cribo_probe_set_setting(cribo_probe *probe, const char *name, double value)
{
    static const cb_setting_group groups[] = {{"temperature, weight_penalty, iterations", NULL},
        {NULL, "the memory of patches and its search are made for it"}};
    CB_ENTER(probe);
    return cb_config_change(&cb_probe_settings, groups, &probe->probe.config, name, value);
}

static cribo_status build(cribo_probe *probe, const cribo_probe_config *config)
{
    CB_TRY(cb_gemm_begin(&probe->runtime));
    return cb_probe_create(&probe->runtime, &probe->probe, config);
}

cribo_status cribo_probe_create(
    cribo_probe **out, const cribo_probe_config *config, const cribo_runtime *runtime)
{
    cribo_probe_config full;
    cribo_probe *probe;
    cb_runtime own;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_TRY(cb_config_import(&cb_probe_settings, &full, config));
    CB_TRY(cb_handle_begin(&own, runtime, &probe, sizeof *probe, "probe"));
    probe->guard = &probe->own_guard;
    probe->runtime = own;
    cribo_status status = build(probe, &full);
    if (status == CRIBO_OK)
        *out = probe;
    else
        cribo_probe_free(probe);
    return status;
}

void cribo_probe_free(cribo_probe *probe)
{
    if (!CB_MAY_FREE(probe)) return;
    cb_runtime runtime = probe->runtime;
    cb_probe_destroy(&probe->probe);
    cb_release(&runtime.allocator, probe);
    cb_runtime_end(&runtime);
}

/* A side of a label map, which patches divide. */
static cribo_status check_side(const char *cells_name, int64_t cells, const char *pixels_name, int64_t pixels)
{
    CB_REQUIRE(cells > 0, "maps.%s = %lld must be positive", cells_name, (long long)cells);
    CB_REQUIRE(pixels > 0 && pixels % cells == 0,
        "maps.%s = %lld must be a positive multiple of maps.%s = %lld", pixels_name, (long long)pixels,
        cells_name, (long long)cells);
    return CRIBO_OK;
}

/* Whether features and pixels can be addressed at all. */
static bool fits(const cb_label_maps *grid, size_t width)
{
    size_t patches, pixels;
    return cb_multiply(grid->rows, grid->columns, &patches) && cb_multiply(patches, grid->images, &patches) &&
           cb_multiply(patches, width, &patches) && cb_multiply(patches, sizeof(double), &patches) &&
           cb_multiply(grid->height, grid->width, &pixels) && cb_multiply(pixels, grid->images, &pixels) &&
           cb_multiply(pixels, sizeof(int64_t), &pixels);
}

static cribo_status check_grid(
    const cribo_probe *probe, const cribo_patch_maps *maps, const cb_label_maps *grid)
{
    size_t width = probe->probe.memory.width;
    CB_REQUIRE(fits(grid, width), "maps.images = %lld of %zu x %zu pixels are more than an address can hold",
        (long long)maps->images, grid->height, grid->width);
    CB_REQUIRE(grid->height / grid->rows * (grid->width / grid->columns) <= CB_PATCH_MOST_PIXELS,
        "maps.height = %zu and width = %zu give a patch more than %d pixels", grid->height, grid->width,
        CB_PATCH_MOST_PIXELS);
    CB_REQUIRE(maps->features, "maps.features is NULL");
    return cb_check_finite(probe->runtime.pool, "maps.features", maps->features,
        grid->images * grid->rows * grid->columns * width);
}

/* A caller's maps, complete and as an internal grid; their sizes are checked one by one. */
static cribo_status import_sizes(cribo_patch_maps *full, const cribo_patch_maps *maps, cb_label_maps *grid)
{
    *full = (cribo_patch_maps){0};
    CB_TRY(CB_IMPORT(*full, maps, width));
    CB_REQUIRE(full->images > 0, "maps.images = %lld must be positive", (long long)full->images);
    CB_TRY(check_side("rows", full->rows, "height", full->height));
    CB_TRY(check_side("columns", full->columns, "width", full->width));
    *grid = (cb_label_maps){.images = (size_t)full->images,
        .rows = (size_t)full->rows,
        .columns = (size_t)full->columns,
        .height = (size_t)full->height,
        .width = (size_t)full->width};
    return CRIBO_OK;
}

/* The same for a probe's features, checked but for labels. */
static cribo_status import(
    const cribo_probe *probe, cribo_patch_maps *full, const cribo_patch_maps *maps, cb_label_maps *grid)
{
    CB_TRY(import_sizes(full, maps, grid));
    return check_grid(probe, full, grid);
}

cribo_status cribo_probe_add(cribo_probe *probe, const cribo_patch_maps *maps, const int32_t *labels)
{
    cribo_patch_maps full;
    cb_label_maps grid;
    CB_ENTER(probe);
    CB_TRY(import(probe, &full, maps, &grid));
    CB_REQUIRE_POINTER(labels);
    grid.labels = labels;
    CB_TRY(cb_patch_memory_check(&probe->probe.memory, &grid));
    return cb_patch_memory_add(
        &probe->runtime.allocator, &probe->probe.memory, &grid, full.features, (cb_patch_choice){0});
}

static cribo_status check_count(const cb_label_maps *grid, int64_t count)
{
    size_t patches = grid->rows * grid->columns;
    CB_REQUIRE(count > 0 && (uint64_t)count <= patches,
        "count = %lld must be in 1 ... %zu, the patches of an image", (long long)count, patches);
    return CRIBO_OK;
}

static cribo_status check_choice(const cb_label_maps *grid, int64_t count, const int64_t *index)
{
    int64_t patches = (int64_t)(grid->rows * grid->columns);
    CB_TRY(check_count(grid, count));
    CB_REQUIRE_POINTER(index);
    for (int64_t i = 0; i < (int64_t)grid->images * count; i++)
        CB_REQUIRE(index[i] >= 0 && index[i] < patches, "index[%lld, %lld] = %lld must be in 0 ... %lld",
            (long long)(i / count), (long long)(i % count), (long long)index[i], (long long)patches - 1);
    return CRIBO_OK;
}

cribo_status cribo_probe_add_chosen(cribo_probe *probe, const cribo_patch_maps *maps, const int32_t *labels,
    int64_t count, const int64_t *index)
{
    cribo_patch_maps full;
    cb_label_maps grid;
    CB_ENTER(probe);
    CB_TRY(import(probe, &full, maps, &grid));
    CB_REQUIRE_POINTER(labels);
    grid.labels = labels;
    CB_TRY(cb_patch_memory_check(&probe->probe.memory, &grid));
    CB_TRY(check_choice(&grid, count, index));
    return cb_patch_memory_add(&probe->runtime.allocator, &probe->probe.memory, &grid, full.features,
        (cb_patch_choice){(size_t)count, index});
}

cribo_status cribo_probe_count(const cribo_probe *probe, int64_t *entries)
{
    CB_ENTER(probe);
    CB_REQUIRE_POINTER(entries);
    *entries = (int64_t)probe->probe.memory.count;
    return CRIBO_OK;
}

/* Refuses a number of rows of `width` floats that no array can have. */
static cribo_status check_rows(const char *name, int64_t rows, size_t width)
{
    size_t bytes;
    CB_REQUIRE(
        rows >= 0 && cb_multiply((size_t)rows, width, &bytes) && cb_multiply(bytes, sizeof(double), &bytes),
        "%s = %lld is no number of rows of %zu numbers", name, (long long)rows, width);
    return CRIBO_OK;
}

cribo_status cribo_probe_search(
    cribo_probe *probe, int64_t count, const float *features, int64_t *index, float *cosine)
{
    CB_ENTER(probe);
    size_t width = probe->probe.memory.width, k = probe->probe.search.search.neighbours;
    CB_TRY(check_rows("count", count, width > k ? width : k));
    CB_REQUIRE(features || count == 0, "features is NULL");
    CB_TRY(cb_check_finite(probe->runtime.pool, "features", features, (size_t)count * width));
    return cb_probe_search(&probe->probe, (size_t)count, features, index, cosine);
}

static cribo_status check_filled(const cribo_probe *probe)
{
    if (probe->probe.memory.count == 0)
        return cb_fail(CRIBO_WRONG_STATE, "the probe's memory is empty: call cribo_probe_add first");
    return CRIBO_OK;
}

cribo_status cribo_probe_fit(cribo_probe *probe, double *loss)
{
    CB_ENTER(probe);
    CB_TRY(check_filled(probe));
    cb_linear_probe_options options = {probe->probe.config.weight_penalty, probe->probe.config.iterations};
    CB_TRY(cb_linear_probe_fit(&probe->runtime, &probe->probe.linear, &probe->probe.memory, &options));
    if (loss) *loss = probe->probe.linear.loss;
    return CRIBO_OK;
}

static cribo_status check_fitted(const cribo_probe *probe)
{
    if (!probe->probe.linear.weights)
        return cb_fail(CRIBO_WRONG_STATE, "the probe has no linear layer: call cribo_probe_fit first");
    return CRIBO_OK;
}

cribo_status cribo_probe_fit_report(cribo_probe *probe, cribo_fit_report *report)
{
    CB_ENTER(probe);
    CB_REQUIRE_POINTER(report);
    CB_TRY(cb_check_size("report", report->struct_size, CB_SIZE_THROUGH(*report, reached), sizeof *report));
    CB_TRY(check_fitted(probe));
    const cb_linear_probe *linear = &probe->probe.linear;
    const cribo_fit_report full = {.loss = linear->loss,
        .gradient = linear->gradient,
        .iterations = linear->iterations,
        .reached = linear->gradient <= CB_LINEAR_PROBE_FLAT};
    cb_struct_export(report, &full, sizeof full);
    return CRIBO_OK;
}

cribo_status cribo_probe_predict(
    cribo_probe *probe, int64_t reader, const cribo_patch_maps *maps, float *shares, int32_t *labels)
{
    cribo_patch_maps full;
    cb_label_maps grid;
    CB_ENTER(probe);
    CB_REQUIRE(reader == CRIBO_PROBE_NEAREST || reader == CRIBO_PROBE_LINEAR,
        "reader = %lld must be CRIBO_PROBE_NEAREST or CRIBO_PROBE_LINEAR", (long long)reader);
    CB_TRY(import(probe, &full, maps, &grid));
    CB_TRY(check_rows("maps.images", full.images * full.rows * full.columns, probe->probe.memory.classes));
    if (reader == CRIBO_PROBE_NEAREST) CB_TRY(check_filled(probe));
    if (reader == CRIBO_PROBE_LINEAR) CB_TRY(check_fitted(probe));
    return cb_probe_predict(
        &probe->probe, reader == CRIBO_PROBE_LINEAR, &grid, full.features, shares, labels);
}

/* --- linear segmentation --- */

static cribo_status check_number(const char *name, double value, double most)
{
    CB_REQUIRE(value >= 0 && value <= most, "layer.%s = %g must be in 0 ... %g", name, value, most);
    return CRIBO_OK;
}

static cribo_status import_layer(cribo_linear_layer *full, const cribo_linear_layer *layer)
{
    *full = (cribo_linear_layer){0};
    CB_TRY(CB_IMPORT(*full, layer, velocity));
    CB_REQUIRE(full->width > 0 && full->width <= 65536, "layer.width = %lld must be in 1 ... 65536",
        (long long)full->width);
    CB_REQUIRE(full->classes > 0 && full->classes <= MOST_CLASSES, "layer.classes = %lld must be in 1 ... %d",
        (long long)full->classes, MOST_CLASSES);
    CB_REQUIRE(full->weights, "layer.weights is NULL");
    return CRIBO_OK;
}

/* A call's layer and maps in our form, checked but for labels and numbers. */
typedef struct linear_call {
    cribo_linear_layer layer;
    cribo_patch_maps maps;
    cb_label_maps grid;
    cb_linear_segmentation problem;
} linear_call;

static cribo_status import_linear(
    linear_call *call, const cribo_linear_layer *layer, const cribo_patch_maps *maps)
{
    cribo_linear_layer *l = &call->layer;
    CB_TRY(import_layer(l, layer));
    CB_TRY(import_sizes(&call->maps, maps, &call->grid));
    size_t wider = (size_t)(l->width > l->classes ? l->width : l->classes);
    CB_REQUIRE(fits(&call->grid, wider),
        "maps.images = %lld of %zu x %zu pixels are more than an address can hold",
        (long long)call->maps.images, call->grid.height, call->grid.width);
    CB_REQUIRE(call->maps.features, "maps.features is NULL");
    call->problem = (cb_linear_segmentation){(size_t)l->width, (size_t)l->classes, l->ignore_label, l->rate,
        l->momentum, l->decay, l->weights, l->velocity};
    return CRIBO_OK;
}

/* What a pass over all numbers finds wrong. */
static cribo_status check_linear(const cb_runtime *runtime, const linear_call *call)
{
    size_t weights = call->problem.classes * (call->problem.width + 1);
    CB_TRY(cb_check_finite(runtime->pool, "layer.weights", call->layer.weights, weights));
    CB_TRY(cb_check_finite(runtime->pool, "layer.velocity", call->layer.velocity, weights));
    return cb_check_finite(runtime->pool, "maps.features", call->maps.features,
        call->grid.images * call->grid.rows * call->grid.columns * call->problem.width);
}

static cribo_status check_step(const linear_call *call)
{
    cb_patch_memory rules = {.classes = call->problem.classes, .ignore_label = call->problem.ignore_label};
    CB_TRY(check_number("rate", call->layer.rate, 1e6));
    CB_TRY(check_number("momentum", call->layer.momentum, 1));
    CB_TRY(check_number("decay", call->layer.decay, 1e6));
    CB_REQUIRE(call->layer.velocity, "layer.velocity is NULL");
    return cb_patch_memory_check(&rules, &call->grid);
}

cribo_status cribo_linear_layer_step(const cribo_linear_layer *layer, const cribo_patch_maps *maps,
    const int32_t *labels, double *loss, const cribo_runtime *hooks)
{
    linear_call call;
    cb_runtime runtime;
    double reached;
    CB_TRY(import_linear(&call, layer, maps));
    CB_REQUIRE_POINTER(labels);
    call.grid.labels = labels;
    CB_TRY(check_step(&call));
    CB_TRY(cb_runtime_begin(&runtime, hooks));
    cb_gemm_begin(&runtime);
    cribo_status status = check_linear(&runtime, &call);
    if (status == CRIBO_OK)
        status =
            cb_linear_segmentation_step(&runtime, &call.problem, &call.grid, call.maps.features, &reached);
    if (status == CRIBO_OK && loss) *loss = reached;
    cb_runtime_end(&runtime);
    return status;
}

cribo_status cribo_linear_layer_predict(const cribo_linear_layer *layer, const cribo_patch_maps *maps,
    int32_t *labels, const cribo_runtime *hooks)
{
    linear_call call;
    cb_runtime runtime;
    CB_TRY(import_linear(&call, layer, maps));
    CB_REQUIRE_POINTER(labels);
    CB_TRY(cb_runtime_begin(&runtime, hooks));
    cb_gemm_begin(&runtime);
    cribo_status status = check_linear(&runtime, &call);
    if (status == CRIBO_OK)
        status =
            cb_linear_segmentation_predict(&runtime, &call.problem, &call.grid, call.maps.features, labels);
    cb_runtime_end(&runtime);
    return status;
}

static cribo_status check_classes(int64_t classes, const int64_t *confusion)
{
    CB_REQUIRE(classes > 0 && classes <= MOST_CLASSES, "classes = %lld must be in 1 ... %d",
        (long long)classes, MOST_CLASSES);
    CB_REQUIRE_POINTER(confusion);
    return CRIBO_OK;
}

static cribo_status check_label(const char *name, int64_t place, int64_t label, int64_t classes)
{
    CB_REQUIRE(label >= 0 && label < classes, "%s[%lld] = %lld must be in 0 ... %lld", name, (long long)place,
        (long long)label, (long long)classes - 1);
    return CRIBO_OK;
}

/* Draws that are no uniform numbers would choose patches by no known rule. */
static cribo_status check_draws(const cb_label_maps *grid, const float *draws)
{
    size_t patches = grid->rows * grid->columns;
    CB_REQUIRE_POINTER(draws);
    for (size_t i = 0; i < grid->images * patches; i++)
        CB_REQUIRE(draws[i] >= 0 && draws[i] < 1, "draws[%zu, %zu] = %g must be in [0, 1)", i / patches,
            i % patches, (double)draws[i]);
    return CRIBO_OK;
}

cribo_status cribo_rare_patches(const cribo_patch_maps *maps, int64_t classes, int64_t ignore_label,
    const int32_t *labels, const float *draws, int64_t count, int64_t *index, const cribo_runtime *hooks)
{
    cribo_patch_maps full;
    cb_label_maps grid;
    cb_runtime runtime;
    CB_TRY(import_sizes(&full, maps, &grid));
    CB_REQUIRE(classes > 0 && classes <= MOST_CLASSES, "classes = %lld must be in 1 ... %d",
        (long long)classes, MOST_CLASSES);
    CB_REQUIRE(fits(&grid, (size_t)classes),
        "maps.images = %lld of %zu x %zu pixels are more than an address can hold", (long long)full.images,
        grid.height, grid.width);
    CB_REQUIRE_POINTER(labels);
    grid.labels = labels;
    cb_patch_memory rules = {.classes = (size_t)classes, .ignore_label = ignore_label};
    CB_TRY(cb_patch_memory_check(&rules, &grid));
    CB_TRY(check_draws(&grid, draws));
    CB_TRY(check_count(&grid, count));
    CB_REQUIRE_POINTER(index);
    CB_TRY(cb_runtime_begin(&runtime, hooks));
    cribo_status status = cb_rare_patches(
        &runtime.allocator, &grid, ignore_label, (size_t)classes, draws, (size_t)count, index);
    cb_runtime_end(&runtime);
    return status;
}

cribo_status cribo_confusion_add(int64_t classes, int64_t ignore_label, int64_t count, const int32_t *truth,
    const int32_t *predicted, int64_t *confusion)
{
    CB_TRY(check_classes(classes, confusion));
    CB_REQUIRE(count >= 0, "count = %lld must not be negative", (long long)count);
    CB_REQUIRE(truth || count == 0, "truth is NULL");
    CB_REQUIRE(predicted || count == 0, "predicted is NULL");
    for (int64_t i = 0; i < count; i++) {
        if (truth[i] == ignore_label) continue;
        CB_TRY(check_label("truth", i, truth[i], classes));
        CB_TRY(check_label("predicted", i, predicted[i], classes));
    }
    for (int64_t i = 0; i < count; i++)
        if (truth[i] != ignore_label) confusion[truth[i] * classes + predicted[i]]++;
    return CRIBO_OK;
}

static cribo_status check_counts(int64_t rows, int64_t columns, const int64_t *confusion)
{
    for (int64_t i = 0; i < rows * columns; i++)
        CB_REQUIRE(confusion[i] >= 0, "confusion[%lld, %lld] = %lld must not be negative",
            (long long)(i / columns), (long long)(i % columns), (long long)confusion[i]);
    return CRIBO_OK;
}

cribo_status cribo_confusion_scores(
    int64_t classes, const int64_t *confusion, double *iou, cribo_scores *scores)
{
    cribo_scores full = {0};
    CB_TRY(check_classes(classes, confusion));
    CB_REQUIRE_POINTER(scores);
    CB_TRY(cb_check_size("scores", scores->struct_size, CB_SIZE_THROUGH(full, counted), sizeof full));
    CB_TRY(check_counts(classes, classes, confusion));
    cb_confusion_scores((size_t)classes, confusion, iou, &full);
    cb_struct_export(scores, &full, sizeof full);
    return CRIBO_OK;
}

static cribo_status check_side_count(const char *name, int64_t count)
{
    CB_REQUIRE(count > 0 && count <= MOST_CLASSES, "%s = %lld must be in 1 ... %d", name, (long long)count,
        MOST_CLASSES);
    return CRIBO_OK;
}

cribo_status cribo_assign(
    int64_t rows, int64_t columns, const double *score, int64_t *column, const cribo_runtime *hooks)
{
    cb_runtime runtime;
    CB_TRY(check_side_count("rows", rows));
    CB_TRY(check_side_count("columns", columns));
    CB_REQUIRE_POINTER(score);
    CB_REQUIRE_POINTER(column);
    for (int64_t i = 0; i < rows * columns; i++)
        CB_REQUIRE(isfinite(score[i]), "score[%lld, %lld] = %g must be finite", (long long)(i / columns),
            (long long)(i % columns), score[i]);
    CB_TRY(cb_runtime_begin(&runtime, hooks));
    cribo_status status = cb_assign(&runtime.allocator, (size_t)rows, (size_t)columns, score, column);
    cb_runtime_end(&runtime);
    return status;
}

/* Matches into `class_of`, a temporary array if the caller has none. */
static cribo_status match(
    const cb_allocator *allocator, const cb_matching *matching, int64_t *class_of, int64_t *matched)
{
    int64_t *own = NULL;
    if (!class_of) CB_TRY(CB_ALLOCATE(allocator, &own, matching->predictions, "matching"));
    if (own) class_of = own;
    cribo_status status = cb_match_predictions(allocator, matching, class_of);
    if (status == CRIBO_OK && matched) cb_fold_predictions(matching, class_of, matched);
    cb_release(allocator, own);
    return status;
}

cribo_status cribo_confusion_match(int64_t classes, int64_t predictions, const int64_t *confusion,
    int64_t method, int64_t rest, int64_t *class_of, int64_t *matched, const cribo_runtime *hooks)
{
    cb_runtime runtime;
    CB_TRY(check_classes(classes, confusion));
    CB_TRY(check_side_count("predictions", predictions));
    CB_TRY(check_counts(classes, predictions, confusion));
    CB_REQUIRE(method == CRIBO_MATCH_ONE_TO_ONE || method == CRIBO_MATCH_MANY_TO_ONE,
        "method = %lld must be CRIBO_MATCH_ONE_TO_ONE or CRIBO_MATCH_MANY_TO_ONE", (long long)method);
    CB_REQUIRE(rest >= 0 && rest < classes, "rest = %lld must be in 0 ... %lld", (long long)rest,
        (long long)classes - 1);
    CB_TRY(cb_runtime_begin(&runtime, hooks));
    cb_matching matching = {.classes = (size_t)classes,
        .predictions = (size_t)predictions,
        .confusion = confusion,
        .many_to_one = method == CRIBO_MATCH_MANY_TO_ONE,
        .rest = (size_t)rest};
    cribo_status status = match(&runtime.allocator, &matching, class_of, matched);
    cb_runtime_end(&runtime);
    return status;
}

/* Rows, width and clusters of k-means. */
static cribo_status check_k_means(int64_t rows, int64_t width, int64_t clusters)
{
    CB_REQUIRE(rows > 0 && rows <= INT64_C(1) << 31, "rows = %lld must be in 1 ... 2^31", (long long)rows);
    CB_REQUIRE(width > 0 && width <= 65536, "width = %lld must be in 1 ... 65536", (long long)width);
    CB_TRY(check_rows("rows", rows, (size_t)width));
    return check_side_count("clusters", clusters);
}

static cribo_status run_k_means(const cb_k_means *problem, const cribo_runtime *hooks, const float *centres)
{
    cb_runtime runtime;
    CB_TRY(cb_runtime_begin(&runtime, hooks));
    cribo_status status = cb_gemm_begin(&runtime);
    if (status == CRIBO_OK)
        status = cb_check_finite(runtime.pool, "features", problem->x, problem->rows * problem->width);
    if (status == CRIBO_OK)
        status = cb_check_finite(runtime.pool, "centres", centres, problem->clusters * problem->width);
    if (status == CRIBO_OK)
        status = centres ? cb_k_means_assign(&runtime, problem) : cb_k_means_fit(&runtime, problem);
    cb_runtime_end(&runtime);
    return status;
}

cribo_status cribo_k_means(int64_t rows, int64_t width, const float *features, int64_t clusters, int64_t seed,
    int64_t iterations, float *centres, int32_t *labels, double *inertia, const cribo_runtime *hooks)
{
    double unwanted;
    CB_TRY(check_k_means(rows, width, clusters));
    CB_REQUIRE(clusters <= rows, "clusters = %lld must not be more than rows = %lld", (long long)clusters,
        (long long)rows);
    CB_REQUIRE(seed >= 0 && seed <= INT64_C(1) << 53, "seed = %lld must be in 0 ... 2^53", (long long)seed);
    CB_REQUIRE(iterations >= 0 && iterations <= 100000, "iterations = %lld must be in 0 ... 100000",
        (long long)iterations);
    CB_REQUIRE_POINTER(features);
    CB_REQUIRE_POINTER(centres);
    CB_REQUIRE_POINTER(labels);
    cb_k_means problem = {.rows = (size_t)rows,
        .width = (size_t)width,
        .clusters = (size_t)clusters,
        .x = features,
        .seed = (uint64_t)seed,
        .iterations = iterations,
        .centres = centres,
        .labels = labels,
        .inertia = inertia ? inertia : &unwanted};
    return run_k_means(&problem, hooks, NULL);
}

cribo_status cribo_nearest_centres(int64_t rows, int64_t width, const float *features, int64_t clusters,
    const float *centres, int32_t *labels, double *inertia, const cribo_runtime *hooks)
{
    double unwanted;
    CB_TRY(check_k_means(rows, width, clusters));
    CB_REQUIRE_POINTER(features);
    CB_REQUIRE_POINTER(centres);
    CB_REQUIRE_POINTER(labels);
    cb_k_means problem = {.rows = (size_t)rows,
        .width = (size_t)width,
        .clusters = (size_t)clusters,
        .x = features,
        .centres = (cb_real *)centres,
        .labels = labels,
        .inertia = inertia ? inertia : &unwanted};
    return run_k_means(&problem, hooks, centres);
}

static cribo_status check_crops(const char *name, const cribo_crop *crops, int64_t images)
{
    char element[64];
    CB_REQUIRE(crops, "%s is NULL", name);
    for (int64_t i = 0; i < images; i++) {
        snprintf(element, sizeof element, "%s[%lld]", name, (long long)i);
        CB_TRY(cb_check_crop(element, &crops[i]));
    }
    return CRIBO_OK;
}

/* Sizes of which no product overflows. */
static cribo_status check_views(int64_t images, int64_t rows, int64_t columns, int64_t width)
{
    const int64_t most = INT64_C(1) << 31;
    CB_REQUIRE(images > 0 && images <= most, "images = %lld must be in 1 ... 2^31", (long long)images);
    CB_TRY(check_side_count("rows", rows));
    CB_TRY(check_side_count("columns", columns));
    CB_TRY(check_side_count("width", width));
    CB_REQUIRE(rows * columns <= most / images,
        "images = %lld of %lld x %lld patches must be at most 2^31 patches", (long long)images,
        (long long)rows, (long long)columns);
    return CRIBO_OK;
}

static cribo_status run_view_retrieval(cb_view_retrieval *views, const cribo_runtime *hooks)
{
    cb_runtime runtime;
    size_t count = views->images * views->rows * views->columns * views->width;
    CB_TRY(cb_runtime_begin(&runtime, hooks));
    cribo_status status = cb_gemm_begin(&runtime);
    if (status == CRIBO_OK) status = cb_check_finite(runtime.pool, "view1", views->features[0], count);
    if (status == CRIBO_OK) status = cb_check_finite(runtime.pool, "view2", views->features[1], count);
    if (status == CRIBO_OK) status = cb_view_retrieval_run(&runtime, views);
    cb_runtime_end(&runtime);
    return status;
}

cribo_status cribo_view_retrieval(int64_t images, int64_t rows, int64_t columns, int64_t width,
    const float *view1, const float *view2, const cribo_crop *crops1, const cribo_crop *crops2, int64_t reach,
    int64_t *asked, int64_t *found, const cribo_runtime *hooks)
{
    CB_TRY(check_views(images, rows, columns, width));
    CB_REQUIRE_POINTER(view1);
    CB_REQUIRE_POINTER(view2);
    CB_TRY(check_crops("crops1", crops1, images));
    CB_TRY(check_crops("crops2", crops2, images));
    CB_REQUIRE(reach >= 0 && reach <= 4096, "reach = %lld must be in 0 ... 4096", (long long)reach);
    CB_REQUIRE_POINTER(asked);
    CB_REQUIRE_POINTER(found);
    cb_view_retrieval views = {.images = (size_t)images,
        .rows = (size_t)rows,
        .columns = (size_t)columns,
        .width = (size_t)width,
        .features = {view1, view2},
        .crops = {crops1, crops2},
        .reach = (size_t)reach};
    CB_TRY(run_view_retrieval(&views, hooks));
    *asked = (int64_t)views.asked;
    *found = (int64_t)views.found;
    return CRIBO_OK;
}

cribo_status cribo_principal_components(int64_t rows, int64_t width, const float *features,
    int64_t components, float *directions, float *projected, double *variance, const cribo_runtime *hooks)
{
    cb_runtime runtime;
    CB_REQUIRE(rows >= 2, "rows = %lld must be at least 2", (long long)rows);
    CB_REQUIRE(width > 0 && width <= 65536, "width = %lld must be in 1 ... 65536", (long long)width);
    int64_t most = rows - 1 < width ? rows - 1 : width;
    if (most > CB_PRINCIPAL_MOST) most = CB_PRINCIPAL_MOST;
    CB_REQUIRE(components > 0 && components <= most, "components = %lld must be in 1 ... %lld",
        (long long)components, (long long)most);
    CB_TRY(check_rows("rows", rows, (size_t)width));
    CB_REQUIRE_POINTER(features);
    CB_TRY(cb_runtime_begin(&runtime, hooks));
    cribo_status status = cb_gemm_begin(&runtime);
    if (status == CRIBO_OK)
        status = cb_check_finite(runtime.pool, "features", features, (size_t)(rows * width));
    cb_principal principal = {
        (size_t)rows, (size_t)width, (size_t)components, features, directions, projected, variance};
    if (status == CRIBO_OK) status = cb_principal_components(&runtime, &principal);
    cb_runtime_end(&runtime);
    return status;
}
