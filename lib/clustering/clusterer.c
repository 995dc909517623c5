/*
 * Joint-view clustering. See clusterer.h.
 *
 * An image has one buffer of K * 2N numbers, which contains first the cost M, then the transport P and
 * finally Q*. With a cost range per image, an image is one task from beginning to end. With the batch's cost
 * range, each repetition has one task per image, from the assignment on the last cost to the next cost;
 * between repetitions the images' ranges are joined. All other memory is scratch of the worker.
 */
#include "clustering/clusterer.h"

#include "base/random.h"
#include "clustering/assignment.h"
#include "clustering/positions.h"
#include "clustering/sinkhorn.h"
#include "tensor/gemm_packed.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

static const cb_field fields[] = {
    CB_INTEGER(
        cribo_clusterer_config, clusters, 1, 4096, 32, "clusters per image; at most the number of tokens"),
    CB_REAL(cribo_clusterer_config, position_weight, 0, 1e6, 1,
        "weight of the distance between positions in the clustering cost"),
    CB_REAL(cribo_clusterer_config, sinkhorn_lambda, 0.001, 1e4, 20,
        "inverse temperature of the clustering's transport plan; larger is sharper"),
    CB_INTEGER(cribo_clusterer_config, sinkhorn_iterations, 1, 1000, 5,
        "Sinkhorn iterations (row and column scalings) per cluster assignment"),
    CB_INTEGER(cribo_clusterer_config, cluster_iterations, 1, 1000, 5,
        "cluster iterations: assignments, each followed by an update of the means"),
    CB_INTEGER(cribo_clusterer_config, update_marginal, 0, 1, 1,
        "1: set the clusters' masses to their sizes after each iteration; 0: keep them equal"),
    CB_INTEGER(cribo_clusterer_config, hard_assignment, 0, 1, 1,
        "1: each token belongs to one cluster; 0: tokens are shared among the clusters"),
    CB_INTEGER(cribo_clusterer_config, batch_cost, 0, 1, 0,
        "1: normalise the clustering cost over the whole batch, as the authors' code does; 0: per image"),
    CB_INTEGER(cribo_clusterer_config, seed, 0, 9007199254740992.0, 0,
        "seed of the draw of the initial cluster centres"),
};
const cb_config_table cb_clusterer_settings = CB_CONFIG_TABLE(cribo_clusterer_config, fields);

/* A cluster without tokens keeps this many in its mass (authors' code). */
static const double least_size = 0.01;

/* A worker's scratch, for its current image. */
typedef struct workspace {
    cb_real *z;               /* [2N, D] normalised tokens */
    cb_gemm_packed of_tokens; /* zᵀ, packed, to be multiplied by means */
    cb_real *panels;          /* memory of of_tokens */
    cb_row_buffers packed_means;
    cb_real *x, *y;     /* [2N] positions */
    cb_real *distances; /* [2N, 2N] between tokens; soft assignment only */
    cb_real *means;     /* [K, D] normalised, of the clusters that changed */
    cb_real *likeness;  /* [K, 2N] <mu, z> */
    cb_real *g;         /* [K, 2N] positional cost, not normalised */
    cb_real *rows;      /* [2, 2N] */
    uint32_t *deck;     /* [2N] */
    uint8_t *changed;   /* [K] 1: its tokens have changed since likeness and g were computed */
    int32_t *known;     /* [2N] the labels for which they were computed */
} workspace;

struct cb_clusterer {
    cb_arena arena;
    cb_pool *pool;
    cribo_clusterer_config config;
    size_t max_images, tokens, joint_tokens, width, clusters;
    workspace *spaces; /* [workers] */

    cb_real *plan;               /* [B, K, 2N], Q* [B, 2, N, K] after a run */
    int32_t *labels;             /* [B, 2, N] */
    uint8_t *valid;              /* [B, K] */
    cb_real *mass;               /* [B, K] of the clusters */
    cb_cost_range *ranges;       /* [B] of the images' costs */
    cb_row_buffers packed_means; /* of all workers: one image may use them all */
};

/* One run of a clusterer. */
typedef struct cluster_run {
    const cb_clusterer *clusterer;
    const cb_cluster_job *job;
    cb_pool *inner;    /* its threads share the work of one image; NULL: they share the images */
    size_t repetition; /* with batch_cost: the current one, and the range of the batch's costs */
    cb_cost_range batch_range;
} cluster_run;

/* ---- creation ---- */

static workspace take_workspace(const cb_clusterer *c, cb_arena *arena)
{
    size_t joint = c->joint_tokens, real = sizeof(cb_real);
    return (workspace){
        .z = cb_arena_take(arena, joint, c->width * real),
        .panels = cb_arena_take(arena, cb_gemm_packed_size(joint, c->width), real),
        .x = cb_arena_take(arena, joint, real),
        .y = cb_arena_take(arena, joint, real),
        .distances = c->config.hard_assignment ? NULL : cb_arena_take(arena, joint, joint * real),
        .means = cb_arena_take(arena, c->clusters, c->width * real),
        .likeness = cb_arena_take(arena, c->clusters, joint * real),
        .g = cb_arena_take(arena, c->clusters, joint * real),
        .rows = cb_arena_take(arena, 2, joint * real),
        .deck = cb_arena_take(arena, joint, sizeof(uint32_t)),
        .changed = cb_arena_take(arena, c->clusters, 1),
        .known = cb_arena_take(arena, joint, sizeof(int32_t)),
    };
}

static void lay_out(cb_clusterer *c, cb_arena *arena)
{
    size_t images = c->max_images, workers = cb_pool_threads(c->pool);
    c->plan = cb_arena_take(arena, images, c->clusters * c->joint_tokens * sizeof(cb_real));
    c->labels = cb_arena_take(arena, images, c->joint_tokens * sizeof(int32_t));
    c->valid = cb_arena_take(arena, images, c->clusters);
    c->mass = cb_arena_take(arena, images, c->clusters * sizeof(cb_real));
    c->ranges = cb_arena_take(arena, images, sizeof(cb_cost_range));
    c->spaces = cb_arena_take(arena, workers, sizeof(workspace));
    c->packed_means = cb_row_buffers_in(arena, workers, cb_gemm_rows_size(c->clusters, c->width));
    for (size_t w = 0; w < workers; w++) {
        workspace space = take_workspace(c, arena);
        if (!c->spaces) continue;
        space.packed_means = (cb_row_buffers){cb_row_buffer(&c->packed_means, w), c->packed_means.size};
        c->spaces[w] = space;
    }
}

static cribo_status check_sizes(
    const cribo_clusterer_config *config, size_t max_images, size_t tokens, size_t width)
{
    const size_t most = 1 << 24;
    CB_REQUIRE(
        max_images >= 1 && max_images <= most, "max_images = %zu must be in 1 ... %zu", max_images, most);
    CB_REQUIRE(tokens >= 1 && tokens <= most, "tokens_per_view = %zu must be in 1 ... %zu", tokens, most);
    CB_REQUIRE(width >= 1 && width <= most, "width = %zu must be in 1 ... %zu", width, most);
    CB_REQUIRE((uint64_t)config->clusters <= 2 * tokens,
        "clusters = %lld must be at most the %zu tokens of both views", (long long)config->clusters,
        2 * tokens);
    return CRIBO_OK;
}

cribo_status cb_clusterer_create(const cb_runtime *runtime, cb_clusterer **out,
    const cribo_clusterer_config *config, size_t max_images, size_t tokens_per_view, size_t width)
{
    cribo_clusterer_config full;
    cb_clusterer *c;
    *out = NULL;
    CB_TRY(cb_config_import(&cb_clusterer_settings, &full, config));
    CB_TRY(check_sizes(&full, max_images, tokens_per_view, width));
    CB_TRY(CB_ALLOCATE(&runtime->allocator, &c, 1, "clusterer"));

    *c = (cb_clusterer){
        .pool = runtime->pool,
        .config = full,
        .max_images = max_images,
        .tokens = tokens_per_view,
        .joint_tokens = 2 * tokens_per_view,
        .width = width,
        .clusters = (size_t)full.clusters,
    };
    cb_arena measure = cb_arena_measure();
    lay_out(c, &measure);
    cribo_status status =
        cb_arena_create(&runtime->allocator, &c->arena, measure.peak, "clusterer's workspace");
    if (status != CRIBO_OK) {
        cb_release(&runtime->allocator, c);
        return status;
    }
    lay_out(c, &c->arena);
    *out = c;
    return CRIBO_OK;
}

void cb_clusterer_free(const cb_runtime *runtime, cb_clusterer *clusterer)
{
    if (!clusterer) return;
    cb_arena_destroy(&runtime->allocator, &clusterer->arena);
    cb_release(&runtime->allocator, clusterer);
}

/* ---- one image ---- */

static cb_real *plan_of(const cb_clusterer *c, size_t b)
{
    return c->plan + b * c->clusters * c->joint_tokens;
}

static int32_t *labels_of(const cb_clusterer *c, size_t b)
{
    return c->labels + b * c->joint_tokens;
}

/*
 * |t|; computed again in double if the squares leave the range of float32, because tokens may have any scale.
 */
static double length_of(const cb_real *token, size_t width)
{
    const double square = (double)cb_rows()->dot(token, token, width);
    return sqrt(square > 1e-30 && square < 1e30 ? square : cb_rows()->sum_squares(token, width));
}

/* z = t / max(|t|, 1e-12). */
static void normalise_tokens(cb_real *z, const cb_real *tokens, size_t rows, size_t width)
{
    for (size_t n = 0; n < rows; n++) {
        const double length = length_of(tokens + n * width, width);
        cb_rows()->scale(z + n * width, tokens + n * width, (cb_real)(1 / fmax(length, 1e-12)), width);
    }
}

/* Tokens and positions of image b. */
static void load(const cluster_run *run, workspace *s, size_t b)
{
    const cb_clusterer *c = run->clusterer;
    const cb_cluster_job *job = run->job;
    const float *positions = job->positions + b * c->joint_tokens * 2;
    for (size_t v = 0; v < 2; v++)
        normalise_tokens(
            s->z + v * c->tokens * c->width, job->view[v] + b * job->image_stride, c->tokens, c->width);
    s->of_tokens = cb_gemm_pack(run->inner,
        (cb_gemm_packed){
            .form = CB_NT, .n = c->joint_tokens, .k = c->width, .b = cb_gemm_real(s->z, c->width)},
        s->panels);
    for (size_t i = 0; i < c->joint_tokens; i++) {
        s->x[i] = positions[2 * i];
        s->y[i] = positions[2 * i + 1];
    }
    if (s->distances) cb_token_distances(s->distances, s->x, s->y, c->joint_tokens);
}

/* K distinct tokens: the first of a random permutation (Fisher and Yates). */
static void draw_seeds(const cluster_run *run, size_t b, uint32_t *deck)
{
    const cb_clusterer *c = run->clusterer;
    uint64_t id = run->job->ids ? (uint64_t)run->job->ids[b] : b;
    cb_random random = cb_random_begin((uint64_t)c->config.seed, CB_PURPOSE_SEED_TOKENS, run->job->call, id);
    for (uint32_t i = 0; i < c->joint_tokens; i++) deck[i] = i;
    for (size_t k = 0; k < c->clusters; k++) {
        size_t other = k + cb_random_below(&random, (uint32_t)(c->joint_tokens - k));
        uint32_t card = deck[k];
        deck[k] = deck[other];
        deck[other] = card;
    }
}

/* The first labels are those of the seeds; all clusters have the same mass. */
static void plant_seeds(const cluster_run *run, const workspace *s, size_t b)
{
    const cb_clusterer *c = run->clusterer;
    const int64_t *given = run->job->seed_tokens;
    int32_t *labels = labels_of(c, b);
    if (!given) draw_seeds(run, b, s->deck);
    for (size_t i = 0; i < c->joint_tokens; i++) labels[i] = -1;
    for (size_t k = 0; k < c->clusters; k++) {
        labels[given ? (size_t)given[b * c->clusters + k] : s->deck[k]] = (int32_t)k;
        c->mass[b * c->clusters + k] = 1 / (cb_real)c->clusters;
    }
}

/*
 * Marks the clusters whose tokens changed. Likeness and positional cost depend only on a cluster's tokens, so
 * they are computed only for these clusters. `anew` marks all clusters: with shares every cluster changes,
 * and for a new image nothing has been computed yet.
 */
static void find_changes(const cb_clusterer *c, const workspace *s, size_t b, bool anew)
{
    const int32_t *labels = labels_of(c, b);
    memset(s->changed, anew, c->clusters);
    for (size_t i = 0; i < c->joint_tokens && !anew; i++)
        if (labels[i] != s->known[i]) {
            if (labels[i] >= 0) s->changed[labels[i]] = 1;
            if (s->known[i] >= 0) s->changed[s->known[i]] = 1;
        }
    memcpy(s->known, labels, c->joint_tokens * sizeof *labels);
}

/*
 * mu_k = the sum of the z with label k, normalised to length 1, or 0 for a cluster without tokens. Only for
 * the clusters that changed, in order.
 */
static size_t take_hard_means(const cb_clusterer *c, const workspace *s, size_t b)
{
    const size_t width = c->width;
    const int32_t *labels = labels_of(c, b);
    uint32_t *place = s->deck;
    size_t count = 0;
    for (size_t k = 0; k < c->clusters; k++) place[k] = (uint32_t)(s->changed[k] ? count++ : c->clusters);
    memset(s->means, 0, count * width * sizeof *s->means);
    for (size_t i = 0; i < c->joint_tokens; i++)
        if (labels[i] >= 0 && s->changed[labels[i]])
            cb_rows()->add_scaled(s->means + place[labels[i]] * width, s->z + i * width, 1, width);
    return count;
}

/* The same with shares, of all clusters. */
static size_t take_soft_means(const cluster_run *run, const workspace *s, size_t b)
{
    const cb_clusterer *c = run->clusterer;
    const size_t width = c->width, joint = c->joint_tokens;
    cb_gemm(run->inner, &(cb_gemm_job){CB_NN, c->clusters, width, joint, cb_gemm_real(plan_of(c, b), joint),
                            cb_gemm_real(s->z, width), {s->means, width, false}, false});
    return c->clusters;
}

/* Updates <mu, z>. The plan is used as scratch. */
static void take_likeness(const cluster_run *run, const workspace *s, size_t b, bool shares)
{
    const cb_clusterer *c = run->clusterer;
    const size_t width = c->width, joint = c->joint_tokens;
    const size_t count = shares ? take_soft_means(run, s, b) : take_hard_means(c, s, b);
    cb_real *fresh = plan_of(c, b);
    for (size_t k = 0; k < count; k++) cb_normalise_row(s->means + k * width, s->means + k * width, width);
    const cb_gemm_rows means = {count, cb_gemm_real(s->means, width), {fresh, joint, false}};
    cb_gemm_in_tiles(run->inner, &s->of_tokens, &means, &s->packed_means, NULL);
    for (size_t k = 0; k < c->clusters; k++) {
        if (!s->changed[k]) continue;
        memcpy(s->likeness + k * joint, fresh, joint * sizeof *fresh);
        fresh += joint;
    }
}

/* M = lambda_pos g - <mu, z> into the plan, and its range. */
static void take_cost(const cluster_run *run, const workspace *s, size_t b, bool shares)
{
    const cb_clusterer *c = run->clusterer;
    const size_t joint = c->joint_tokens;
    cb_real *plan = plan_of(c, b);
    if (shares)
        cb_least_products(s->g, s->distances, plan, joint, c->clusters);
    else
        cb_nearest_members(s->g, s->x, s->y, labels_of(c, b), s->changed, joint, c->clusters);
    take_likeness(run, s, b, shares);
    cb_normalise_positional_cost(plan, s->g, joint, c->clusters, s->rows);
    cb_rows()->subtract(plan, (cb_real)run->job->position_weight, s->likeness, c->clusters * joint);
    c->ranges[b] = cb_find_cost_range(plan, joint, c->clusters, s->rows);
}

/* The masses follow the number of tokens with each label. */
static void follow_sizes(const cb_clusterer *c, size_t b)
{
    const int32_t *labels = labels_of(c, b);
    cb_real *mass = c->mass + b * c->clusters;
    const double whole = (double)c->joint_tokens + least_size * (double)c->clusters;
    memset(mass, 0, c->clusters * sizeof *mass);
    for (size_t i = 0; i < c->joint_tokens; i++) mass[labels[i]] += 1;
    for (size_t k = 0; k < c->clusters; k++) mass[k] = (cb_real)(((double)mass[k] + least_size) / whole);
}

/* From cost to transport and labels. */
static void assign(const cb_clusterer *c, const workspace *s, size_t b, cb_cost_range range)
{
    cb_real *plan = plan_of(c, b);
    cb_sinkhorn(plan, c->joint_tokens, c->clusters, c->mass + b * c->clusters, range,
        c->config.sinkhorn_lambda, (size_t)c->config.sinkhorn_iterations, s->rows);
    cb_label_tokens(labels_of(c, b), plan, c->joint_tokens, c->clusters, s->rows);
    if (c->config.update_marginal) follow_sizes(c, b);
}

/* Computes Q* from the last labels or transport, view by view. */
static void finish(const cb_clusterer *c, const workspace *s, size_t b)
{
    const size_t N = c->tokens, K = c->clusters;
    cb_real *plan = plan_of(c, b);
    int32_t *labels = labels_of(c, b);
    if (!c->config.hard_assignment) memcpy(s->g, plan, 2 * N * K * sizeof *plan);
    for (size_t v = 0; v < 2; v++) {
        if (c->config.hard_assignment)
            cb_assign_by_labels(plan + v * N * K, labels + v * N, N, K, s->rows);
        else
            cb_assign_by_shares(plan + v * N * K, labels + v * N, s->g + v * N, 2 * N, N, K);
    }
    cb_mark_valid(c->valid + b * K, labels, N, K);
}

/* ---- the run ---- */

static bool is_last(const cb_clusterer *c, size_t repetition)
{
    return repetition == (size_t)c->config.cluster_iterations;
}

/*
 * One repetition: assigns on the last cost (or sets the seeds), then computes the next cost or the result.
 */
static void advance(
    const cluster_run *run, const workspace *s, size_t b, size_t repetition, cb_cost_range range)
{
    const cb_clusterer *c = run->clusterer;
    const bool shares = repetition > 0 && !c->config.hard_assignment;
    if (repetition == 0)
        plant_seeds(run, s, b);
    else
        assign(c, s, b, range);

    if (is_last(c, repetition)) {
        finish(c, s, b);
        return;
    }
    find_changes(c, s, b, repetition == 0 || shares || c->config.batch_cost);
    take_cost(run, s, b, shares);
}

/* Task: one image from its tokens to its result. */
static void cluster_image(void *context, size_t b, size_t worker)
{
    const cluster_run *run = context;
    const cb_clusterer *c = run->clusterer;
    workspace *s = &c->spaces[worker];
    load(run, s, b);
    for (size_t r = 0; r <= (size_t)c->config.cluster_iterations; r++) advance(run, s, b, r, c->ranges[b]);
}

/* Task: one repetition of one image. The last repetition does not use the tokens. */
static void advance_image(void *context, size_t b, size_t worker)
{
    const cluster_run *run = context;
    workspace *s = &run->clusterer->spaces[worker];
    if (!is_last(run->clusterer, run->repetition)) load(run, s, b);
    advance(run, s, b, run->repetition, run->batch_range);
}

static cb_cost_range join_ranges(const cb_cost_range *ranges, size_t images)
{
    cb_cost_range range = ranges[0];
    for (size_t b = 1; b < images; b++) {
        if (ranges[b].low < range.low) range.low = ranges[b].low;
        if (ranges[b].high > range.high) range.high = ranges[b].high;
    }
    return range;
}

static void for_each_image(cluster_run *run, cb_task *task)
{
    cb_pool *pool = run->clusterer->pool;
    const size_t images = run->job->images;
    const bool few = 2 * images <= cb_pool_threads(pool);
    run->inner = few ? pool : NULL;
    cb_pool_run(few ? NULL : pool, images, task, run);
}

void cb_clusterer_run(cb_clusterer *clusterer, const cb_cluster_job *job)
{
    cluster_run run = {.clusterer = clusterer, .job = job};
    if (!clusterer->config.batch_cost) {
        for_each_image(&run, cluster_image);
        return;
    }
    for (; run.repetition <= (size_t)clusterer->config.cluster_iterations; run.repetition++) {
        for_each_image(&run, advance_image);
        run.batch_range = join_ranges(clusterer->ranges, job->images);
    }
}

/* ---- settings ---- */

const cribo_clusterer_config *cb_clusterer_config(const cb_clusterer *clusterer)
{
    return &clusterer->config;
}

void cb_clusterer_configure(cb_clusterer *clusterer, const cribo_clusterer_config *config)
{
    clusterer->config = *config;
}

/* ---- results ---- */

const cb_real *cb_clusterer_assignment(const cb_clusterer *clusterer)
{
    return clusterer->plan;
}

const int32_t *cb_clusterer_labels(const cb_clusterer *clusterer)
{
    return clusterer->labels;
}

const uint8_t *cb_clusterer_valid(const cb_clusterer *clusterer)
{
    return clusterer->valid;
}

size_t cb_clusterer_count(const cb_clusterer *clusterer, size_t image)
{
    const uint8_t *valid = clusterer->valid + image * clusterer->clusters;
    size_t count = 0;
    for (size_t k = 0; k < clusterer->clusters; k++) count += valid[k];
    return count;
}

cb_cluster_shape cb_clusterer_shape(const cb_clusterer *clusterer)
{
    return (cb_cluster_shape){
        clusterer->tokens, clusterer->width, clusterer->clusters, clusterer->config.hard_assignment != 0};
}
