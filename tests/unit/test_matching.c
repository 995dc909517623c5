/*
 * Assignments, matched predictions, patches with rare classes, k-means and retrieval between views, each
 * against its definition worked out in another way: all permutations, all patches sorted, the means of the
 * rows, all pairs of patches.
 */
#include "base/random.h"
#include "cribo/evaluation.h"
#include "support/faulty.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) ck_assert_msg((call) == CRIBO_OK, "%s: %s", #call, cribo_last_error())

/* The greatest total over all one-to-one maps of rows from `row` on, by trying them. */
static double best_total(int rows, int columns, const double *score, int row, unsigned taken)
{
    if (row == rows) return 0;
    double best = rows > columns ? best_total(rows, columns, score, row + 1, taken) : -INFINITY;
    for (int c = 0; c < columns; c++) {
        if (taken >> c & 1) continue;
        double total = score[row * columns + c] + best_total(rows, columns, score, row + 1, taken | 1U << c);
        best = fmax(best, total);
    }
    return best;
}

START_TEST(test_assign_total_is_the_greatest_of_all_maps)
{
    double score[36];
    int64_t column[6];
    cb_random random = cb_random_begin((uint64_t)_i, CB_PURPOSE_CALLER, 3, 0);
    int rows = 1 + (int)cb_random_below(&random, 6), columns = 1 + (int)cb_random_below(&random, 6);
    for (int i = 0; i < rows * columns;
        i++) /* coarse, so that there are ties; positive, so that all are used */
        score[i] = _i % 2 ? cb_random_below(&random, 4) : cb_random_uniform(&random);
    OK(cribo_assign(rows, columns, score, column, NULL));
    unsigned taken = 0;
    int pairs = 0;
    double total = 0;
    for (int r = 0; r < rows; r++) {
        if (column[r] < 0) continue;
        ck_assert_int_lt(column[r], columns);
        ck_assert(!(taken >> column[r] & 1));
        taken |= 1U << column[r];
        total += score[r * columns + column[r]];
        pairs++;
    }
    ck_assert_int_eq(pairs, rows < columns ? rows : columns);
    ck_assert_double_eq_tol(total, best_total(rows, columns, score, 0, 0), 1e-12);
}
END_TEST

START_TEST(test_assign_large_permutation_is_found)
{
    enum { N = 151 };
    static double score[N * N];
    static int64_t column[N];
    cb_random random = cb_random_begin(5, CB_PURPOSE_CALLER, 3, 0);
    for (int i = 0; i < N * N; i++) score[i] = cb_random_uniform(&random) / N / N;
    for (int r = 0; r < N; r++)
        score[r * N + r * 7 % N] += 1 / (double)N; /* 7 and 151 have no common factor */
    OK(cribo_assign(N, N, score, column, NULL));
    for (int r = 0; r < N; r++) ck_assert_int_eq(column[r], r * 7 % N);
}
END_TEST

START_TEST(test_confusion_match_by_hand)
{
    /* Three classes, four clusters: 0 is class 2, 1 is class 0, 2 is class 1, 3 is a part of class 2. */
    static const int64_t confusion[] = {1, 9, 0, 0, 0, 1, 8, 1, 9, 0, 0, 3};
    int64_t class_of[4], matched[9];
    OK(cribo_confusion_match(3, 4, confusion, CRIBO_MATCH_ONE_TO_ONE, 0, class_of, matched, NULL));
    static const int64_t expected_one[] = {2, 0, 1, 0};
    ck_assert_mem_eq(class_of, expected_one, sizeof expected_one);
    static const int64_t folded_one[] = {9, 0, 1, 2, 8, 0, 3, 0, 9};
    ck_assert_mem_eq(matched, folded_one, sizeof folded_one);
    OK(cribo_confusion_match(3, 4, confusion, CRIBO_MATCH_MANY_TO_ONE, 1, class_of, matched, NULL));
    static const int64_t expected_many[] = {2, 0, 1, 2};
    ck_assert_mem_eq(class_of, expected_many, sizeof expected_many);
    static const int64_t folded_many[] = {9, 0, 1, 1, 8, 1, 0, 0, 12};
    ck_assert_mem_eq(matched, folded_many, sizeof folded_many);
    cribo_scores scores = {.struct_size = sizeof scores};
    OK(cribo_confusion_scores(3, matched, NULL, &scores));
    ck_assert_double_eq_tol(scores.mean_iou, (9 / 11.0 + 8 / 10.0 + 12 / 14.0) / 3, 1e-12);
}
END_TEST

START_TEST(test_confusion_scores_mean_over_all_classes_counts_absent_ones)
{
    static const int64_t confusion[] = {6, 2, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    cribo_scores scores = {.struct_size = sizeof scores};
    OK(cribo_confusion_scores(4, confusion, NULL, &scores));
    ck_assert_double_eq_tol(scores.mean_iou, (6 / 9.0 + 3 / 6.0) / 2, 1e-12);
    ck_assert_double_eq_tol(scores.mean_iou_all, (6 / 9.0 + 3 / 6.0) / 4, 1e-12);
}
END_TEST

/* --- rare classes --- */

enum { SIDE = 4, CELL = 3, PATCHES = SIDE * SIDE, EDGE = SIDE * CELL, IMAGES = 2, CLASSES = 5 };

static void draw_labels(cb_random *random, int32_t *labels)
{
    for (int b = 0; b < IMAGES; b++)
        for (int i = 0; i < EDGE * EDGE; i++) {
            int patch = i / EDGE / CELL * SIDE + i % EDGE / CELL;
            bool common = cb_random_uniform(random) < 0.9;
            labels[b * EDGE * EDGE + i] = patch == 5 ? 255
                                          : common   ? b
                                                     : (int32_t)cb_random_below(random, CLASSES);
        }
}

/*
 * In how many patches of an image each class occurs, and the score of each patch, by looking at every pixel.
 */
static void reference_scores(const int32_t *labels, const float *draws, double score[PATCHES])
{
    int occurs[PATCHES][CLASSES] = {0}, frequency[CLASSES] = {0};
    for (int i = 0; i < EDGE * EDGE; i++)
        if (labels[i] != 255) occurs[i / EDGE / CELL * SIDE + i % EDGE / CELL][labels[i]] = 1;
    for (int p = 0; p < PATCHES; p++)
        for (int c = 0; c < CLASSES; c++) frequency[c] += occurs[p][c];
    for (int p = 0; p < PATCHES; p++) {
        int sum = 0;
        for (int c = 0; c < CLASSES; c++) sum += occurs[p][c] * frequency[c];
        score[p] = sum ? sum * (double)draws[p] : INFINITY;
    }
}

START_TEST(test_rare_patches_are_those_with_the_smallest_scores)
{
    static int32_t labels[IMAGES * EDGE * EDGE];
    float draws[IMAGES * PATCHES];
    int64_t index[IMAGES * PATCHES];
    double score[PATCHES];
    cb_random random = cb_random_begin((uint64_t)_i, CB_PURPOSE_CALLER, 4, 0);
    draw_labels(&random, labels);
    for (int i = 0; i < IMAGES * PATCHES; i++) draws[i] = (float)cb_random_uniform(&random) * 0.999F;
    cribo_patch_maps maps = {sizeof maps, IMAGES, SIDE, SIDE, NULL, EDGE, EDGE};
    int count = 1 + _i % PATCHES;
    OK(cribo_rare_patches(&maps, CLASSES, 255, labels, draws, count, index, NULL));
    for (int b = 0; b < IMAGES; b++) {
        reference_scores(labels + b * EDGE * EDGE, draws + b * PATCHES, score);
        const int64_t *own = index + b * count;
        for (int i = 1; i < count; i++) ck_assert(score[own[i - 1]] <= score[own[i]]);
        int smaller = 0;
        for (int p = 0; p < PATCHES; p++) smaller += score[p] < score[own[count - 1]];
        ck_assert_int_le(smaller, count - 1);
        if (count == PATCHES) ck_assert_int_eq(own[count - 1], 5); /* the patch without labels is last */
    }
}
END_TEST

START_TEST(test_probe_add_chosen_remembers_these_patches_in_this_order)
{
    static int32_t labels[IMAGES * EDGE * EDGE];
    static float features[IMAGES * PATCHES * 3];
    const int64_t index[] = {7, 5, 0, 1, 2, 15};
    int64_t found[3], entries;
    float query[3];
    cribo_probe_config config;
    cribo_probe *probe;
    cb_random random = cb_random_begin(1, CB_PURPOSE_CALLER, 4, 0);
    draw_labels(&random, labels);
    for (int i = 0; i < IMAGES * PATCHES * 3; i++) features[i] = (float)cb_random_normal(&random);
    OK(cribo_probe_config_init(&config, sizeof config));
    config.width = 3;
    config.classes = CLASSES;
    config.neighbours = 1;
    OK(cribo_probe_create(&probe, &config, NULL));
    cribo_patch_maps maps = {sizeof maps, IMAGES, SIDE, SIDE, features, EDGE, EDGE};
    OK(cribo_probe_add_chosen(probe, &maps, labels, 3, index));
    OK(cribo_probe_count(probe, &entries));
    ck_assert_int_eq(entries, 5); /* patch 5 of the first image has no label */
    static const int patches[] = {7, 0, PATCHES + 1, PATCHES + 2, PATCHES + 15};
    for (int e = 0; e < 5; e++) {
        memcpy(query, features + patches[e] * 3, sizeof query);
        OK(cribo_probe_search(probe, 1, query, found, NULL));
        ck_assert_int_eq(found[0], e);
    }
    cribo_probe_free(probe);
}
END_TEST

/* --- k-means --- */

enum { ROWS = 700, WIDTH = 6, CLUSTERS = 5 };

static float *blobs(uint64_t seed)
{
    float *x = malloc(ROWS * WIDTH * sizeof *x);
    cb_random random = cb_random_begin(seed, CB_PURPOSE_CALLER, 5, 0);
    for (int r = 0; r < ROWS; r++)
        for (int d = 0; d < WIDTH; d++)
            x[r * WIDTH + d] = (float)(cb_random_normal(&random) * 0.2 + (d == r % CLUSTERS ? 6 : 0));
    return x;
}

START_TEST(test_k_means_finds_separate_groups_and_their_means)
{
    float centres[CLUSTERS * WIDTH], *x = blobs((uint64_t)_i);
    int32_t labels[ROWS], again[ROWS];
    double inertia, sum = 0, other;
    OK(cribo_k_means(ROWS, WIDTH, x, CLUSTERS, _i, 50, centres, labels, &inertia, NULL));
    for (int r = 0; r < ROWS; r++) ck_assert_int_eq(labels[r], labels[r % CLUSTERS]);
    for (int k = 0; k < CLUSTERS; k++)
        for (int d = 0; d < WIDTH; d++) {
            double mean = 0;
            for (int r = k; r < ROWS; r += CLUSTERS) mean += (double)x[r * WIDTH + d] * CLUSTERS / ROWS;
            ck_assert_double_eq_tol(centres[labels[k] * WIDTH + d], mean, 1e-4);
        }
    for (int r = 0; r < ROWS; r++)
        for (int d = 0; d < WIDTH; d++) {
            double away = (double)x[r * WIDTH + d] - (double)centres[labels[r] * WIDTH + d];
            sum += away * away;
        }
    ck_assert_double_eq_tol(inertia / sum, 1, 1e-4);
    OK(cribo_nearest_centres(ROWS, WIDTH, x, CLUSTERS, centres, again, &other, NULL));
    ck_assert_mem_eq(again, labels, sizeof labels);
    ck_assert_double_eq(other, inertia);
    free(x);
}
END_TEST

START_TEST(test_k_means_does_not_depend_on_threads)
{
    float centres[2][40 * WIDTH], *x = blobs(9);
    static int32_t labels[2][ROWS];
    cribo_runtime runtime;
    OK(cribo_runtime_init(&runtime, sizeof runtime));
    for (int t = 0; t < 2; t++) {
        runtime.threads = 1 + 2 * t;
        OK(cribo_k_means(ROWS, WIDTH, x, 40, 3, 20, centres[t], labels[t], NULL, &runtime));
    }
    ck_assert_mem_eq(centres[0], centres[1], sizeof centres[0]);
    ck_assert_mem_eq(labels[0], labels[1], sizeof labels[0]);
    free(x);
}
END_TEST

START_TEST(test_k_means_more_iterations_are_no_worse_and_equal_rows_are_fine)
{
    float centres[40 * WIDTH], *x = blobs(4);
    int32_t labels[ROWS];
    double inertia[3];
    for (int i = 0; i < 3; i++)
        OK(cribo_k_means(ROWS, WIDTH, x, 40, 3, i * 4, centres, labels, &inertia[i], NULL));
    ck_assert_double_lt(inertia[1], inertia[0]);
    ck_assert_double_le(inertia[2], inertia[1]);
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = 1;
    OK(cribo_k_means(ROWS, WIDTH, x, 3, 0, 10, centres, labels, &inertia[0], NULL));
    ck_assert_double_eq_tol(inertia[0], 0, 1e-9);
    for (int i = 0; i < 3 * WIDTH; i++) ck_assert_float_eq(centres[i], 1);
    free(x);
}
END_TEST

/* --- linear segmentation --- */

enum {
    GRID = 3,
    FINE = 9,
    TOKENS = GRID * GRID,
    DEEP = 4,
    KINDS = 3,
    BATCH = 2,
    NUMBERS = KINDS * (DEEP + 1)
};

/*
 * The mean cross-entropy of the pixels in double, each from the definition: interpolated logits, log sum exp.
 */
static double linear_loss(const double *w, const float *x, const int32_t *labels)
{
    double sum = 0, counted = 0;
    for (int p = 0; p < BATCH * FINE * FINE; p++) {
        int b = p / FINE / FINE, y = p / FINE % FINE, z = p % FINE;
        if (labels[p] == 255) continue;
        double logits[KINDS] = {0}, total = 0;
        for (int t = 0; t < TOKENS; t++) {
            double py = fmin(fmax((y + 0.5) * GRID / FINE - 0.5, 0), GRID - 1);
            double pz = fmin(fmax((z + 0.5) * GRID / FINE - 0.5, 0), GRID - 1);
            double share = fmax(0, 1 - fabs(py - t / GRID)) * fmax(0, 1 - fabs(pz - t % GRID));
            for (int c = 0; c < KINDS; c++) {
                double value = w[KINDS * DEEP + c];
                for (int d = 0; d < DEEP; d++)
                    value += w[c * DEEP + d] * (double)x[(b * TOKENS + t) * DEEP + d];
                logits[c] += share * value;
            }
        }
        for (int c = 0; c < KINDS; c++) total += exp(logits[c]);
        sum += log(total) - logits[labels[p]];
        counted++;
    }
    return sum / counted;
}

START_TEST(test_linear_layer_step_follows_the_gradient)
{
    static float x[BATCH * TOKENS * DEEP];
    static int32_t labels[BATCH * FINE * FINE];
    float weights[NUMBERS], velocity[NUMBERS], before[NUMBERS], old[NUMBERS];
    double exact[NUMBERS], loss;
    cb_random random = cb_random_begin(6, CB_PURPOSE_CALLER, 6, 0);
    for (int i = 0; i < BATCH * TOKENS * DEEP; i++) x[i] = (float)cb_random_normal(&random);
    for (int i = 0; i < BATCH * FINE * FINE; i++)
        labels[i] = i % 7 ? (int32_t)cb_random_below(&random, KINDS) : 255;
    for (int i = 0; i < NUMBERS; i++) {
        weights[i] = before[i] = (float)cb_random_normal(&random);
        velocity[i] = old[i] = (float)cb_random_normal(&random);
        exact[i] = (double)weights[i];
    }
    cribo_linear_layer layer = {sizeof layer, DEEP, KINDS, 255, 0.5, 0.9, 0.01, weights, velocity};
    cribo_patch_maps maps = {sizeof maps, BATCH, GRID, GRID, x, FINE, FINE};
    OK(cribo_linear_layer_step(&layer, &maps, labels, &loss, NULL));
    ck_assert_double_eq_tol(loss, linear_loss(exact, x, labels), 1e-5);
    for (int i = 0; i < NUMBERS; i++) {
        const double step = 1e-5;
        double at = exact[i];
        exact[i] = at + step;
        double above = linear_loss(exact, x, labels);
        exact[i] = at - step;
        double gradient = (above - linear_loss(exact, x, labels)) / (2 * step);
        exact[i] = at;
        double moved = 0.9 * (double)old[i] + gradient + 0.01 * at;
        ck_assert_double_eq_tol((double)velocity[i], moved, 1e-5);
        ck_assert_double_eq_tol((double)weights[i], (double)before[i] - 0.5 * moved, 1e-5);
    }
}
END_TEST

START_TEST(test_linear_layer_learns_and_does_not_depend_on_threads)
{
    static float x[BATCH * TOKENS * DEEP];
    static int32_t labels[BATCH * FINE * FINE], found[BATCH * FINE * FINE];
    float weights[2][NUMBERS] = {{0}}, velocity[2][NUMBERS] = {{0}};
    cribo_runtime runtime;
    double loss = 0;
    cb_random random = cb_random_begin(7, CB_PURPOSE_CALLER, 6, 0);
    for (int i = 0; i < BATCH * TOKENS * DEEP; i++) x[i] = (float)cb_random_normal(&random);
    for (int i = 0; i < BATCH * FINE * FINE; i++) {
        int token = i / FINE / FINE * TOKENS + i / FINE % FINE / 3 * GRID + i % FINE / 3;
        labels[i] = x[token * DEEP] > 0 ? 1 : 2;
    }
    cribo_patch_maps maps = {sizeof maps, BATCH, GRID, GRID, x, FINE, FINE};
    OK(cribo_runtime_init(&runtime, sizeof runtime));
    for (int t = 0; t < 2; t++) {
        cribo_linear_layer layer = {sizeof layer, DEEP, KINDS, 255, 0.3, 0.9, 1e-4, weights[t], velocity[t]};
        runtime.threads = 1 + 2 * t;
        for (int i = 0; i < 200; i++) OK(cribo_linear_layer_step(&layer, &maps, labels, &loss, &runtime));
        OK(cribo_linear_layer_predict(&layer, &maps, found, &runtime));
    }
    ck_assert_mem_eq(weights[0], weights[1], sizeof weights[0]);
    ck_assert_double_lt(loss, 0.4);
    int right = 0;
    for (int i = 0; i < BATCH * FINE * FINE; i++) right += found[i] == labels[i];
    ck_assert_int_gt(right, BATCH * FINE * FINE * 8 / 10);
    for (int i = 0; i < BATCH * FINE * FINE; i++) labels[i] = 255; /* nothing counts: nothing changes */
    cribo_linear_layer layer = {sizeof layer, DEEP, KINDS, 255, 0.3, 0.9, 1e-4, weights[1], velocity[1]};
    OK(cribo_linear_layer_step(&layer, &maps, labels, &loss, NULL));
    ck_assert_mem_eq(weights[0], weights[1], sizeof weights[0]);
    ck_assert_double_eq(loss, 0);
}
END_TEST

/* --- retrieval between views --- */

enum { PHOTOS = 9, DOWN = 12, ACROSS = 11, CELLS = DOWN * ACROSS, CHANNELS = 8 };

static struct {
    float views[2][PHOTOS * CELLS * CHANNELS];
    cribo_crop crops[2][PHOTOS];
} album;

/* Views of photographs whose features are noisy functions of the place. */
static void fill_album(uint64_t seed)
{
    cb_random random = cb_random_begin(seed, CB_PURPOSE_CALLER, 7, 0);
    for (int v = 0; v < 2; v++)
        for (int b = 0; b < PHOTOS; b++) {
            float positions[CELLS * 2];
            cribo_crop *crop = &album.crops[v][b];
            *crop = (cribo_crop){.x = 40 * cb_random_uniform(&random),
                .y = 40 * cb_random_uniform(&random),
                .width = 30 + 60 * cb_random_uniform(&random),
                .height = 30 + 60 * cb_random_uniform(&random),
                .flipped = (int64_t)cb_random_below(&random, 2)};
            OK(cribo_crop_positions(crop, DOWN, ACROSS, positions));
            for (int i = 0; i < CELLS; i++)
                for (int d = 0; d < CHANNELS; d++)
                    album.views[v][(b * CELLS + i) * CHANNELS + d] =
                        (float)(sin(0.05 * (d + 1) * positions[2 * i] + b) +
                                cos(0.04 * (d + 1) * positions[2 * i + 1] - b) +
                                0.1 * cb_random_normal(&random));
        }
}

static double cosine_of(const float *a, const float *b)
{
    double product = 0, aa = 0, bb = 0;
    for (int d = 0; d < CHANNELS; d++) {
        product += (double)a[d] * (double)b[d];
        aa += (double)a[d] * (double)a[d];
        bb += (double)b[d] * (double)b[d];
    }
    return product / sqrt(aa * bb);
}

static int best_of_all(const float *query)
{
    int best = 0;
    double most = -2;
    for (int i = 0; i < PHOTOS * CELLS; i++) {
        double cosine = cosine_of(query, album.views[1] + i * CHANNELS);
        if (cosine > most) most = cosine, best = i;
    }
    return best;
}

/* The cell of view 2 whose edges enclose the point, -1: none; by comparing with each cell. */
static int enclosing_cell(int photo, double x, double y)
{
    const cribo_crop *crop = &album.crops[1][photo];
    double width = crop->width / ACROSS, height = crop->height / DOWN;
    for (int i = 0; i < CELLS; i++) {
        int column = crop->flipped ? ACROSS - 1 - i % ACROSS : i % ACROSS;
        double left = crop->x + column * width - 0.5, top = crop->y + i / ACROSS * height - 0.5;
        if (x >= left && x < left + width && y >= top && y < top + height) return i;
    }
    return -1;
}

START_TEST(test_view_retrieval_is_that_of_all_pairs)
{
    int64_t asked, found, wanted_asked = 0, wanted_found[3] = {0};
    fill_album((uint64_t)_i);
    for (int i = 0; i < PHOTOS * CELLS; i++) {
        float positions[CELLS * 2];
        int photo = i / CELLS;
        OK(cribo_crop_positions(&album.crops[0][photo], DOWN, ACROSS, positions));
        int right = enclosing_cell(photo, positions[2 * (i % CELLS)], positions[2 * (i % CELLS) + 1]);
        if (right < 0) continue;
        int best = best_of_all(album.views[0] + i * CHANNELS), cell = best % CELLS;
        int rows = abs(cell / ACROSS - right / ACROSS), columns = abs(cell % ACROSS - right % ACROSS);
        wanted_asked++;
        for (int reach = 0; reach < 3; reach++)
            wanted_found[reach] += best / CELLS == photo && rows <= reach && columns <= reach;
    }
    ck_assert(wanted_found[0] > 0 && wanted_found[0] < wanted_found[2] && wanted_found[2] < wanted_asked);
    for (int reach = 0; reach < 3; reach++)
        for (int threads = 1; threads < 4; threads += 2) {
            cribo_runtime runtime;
            OK(cribo_runtime_init(&runtime, sizeof runtime));
            runtime.threads = threads;
            OK(cribo_view_retrieval(PHOTOS, DOWN, ACROSS, CHANNELS, album.views[0], album.views[1],
                album.crops[0], album.crops[1], reach, &asked, &found, &runtime));
            ck_assert_int_eq(asked, wanted_asked);
            ck_assert_int_eq(found, wanted_found[reach]);
        }
}
END_TEST

START_TEST(test_view_retrieval_of_equal_and_of_disjoint_views)
{
    int64_t asked, found;
    fill_album(1);
    memcpy(album.crops[1], album.crops[0], sizeof album.crops[0]);
    memcpy(album.views[1], album.views[0], sizeof album.views[0]);
    OK(cribo_view_retrieval(PHOTOS, DOWN, ACROSS, CHANNELS, album.views[0], album.views[1], album.crops[0],
        album.crops[1], 0, &asked, &found, NULL));
    ck_assert(asked == PHOTOS * CELLS && found == asked);

    /* Equal features, of length 0 too, find the first patch of all, which is right for one of the queries. */
    for (int zero = 0; zero < 2; zero++) {
        for (int i = 0; i < PHOTOS * CELLS * CHANNELS; i++)
            album.views[0][i] = album.views[1][i] = 1.0F - zero;
        OK(cribo_view_retrieval(PHOTOS, DOWN, ACROSS, CHANNELS, album.views[0], album.views[1],
            album.crops[0], album.crops[1], 0, &asked, &found, NULL));
        ck_assert(asked == PHOTOS * CELLS && found == 1);
    }

    for (int b = 0; b < PHOTOS; b++) album.crops[1][b].x += 1000;
    OK(cribo_view_retrieval(PHOTOS, DOWN, ACROSS, CHANNELS, album.views[0], album.views[1], album.crops[0],
        album.crops[1], 4096, &asked, &found, NULL));
    ck_assert(asked == 0 && found == 0);
}
END_TEST

/* --- memory --- */

static cribo_status everything(const cribo_runtime *runtime)
{
    static const float x[] = {1, 2, 3, 5, 8, 13}, draws[] = {0.5F, 0.25F};
    static const int64_t confusion[] = {3, 1, 0, 2, 2, 2};
    static const int32_t labels[] = {0, 1};
    cribo_patch_maps maps = {sizeof maps, 1, 1, 2, NULL, 1, 2};
    float centres[4];
    int32_t nearest[3];
    int64_t index[2], class_of[3], matched[4], asked, found;
    cribo_status status = cribo_rare_patches(&maps, 2, 255, labels, draws, 2, index, runtime);
    if (status == CRIBO_OK) status = cribo_confusion_match(2, 3, confusion, 0, 0, NULL, matched, runtime);
    if (status == CRIBO_OK) status = cribo_confusion_match(2, 3, confusion, 0, 0, class_of, NULL, runtime);
    if (status == CRIBO_OK) status = cribo_k_means(3, 2, x, 2, 0, 5, centres, nearest, NULL, runtime);
    cribo_crop crop = {.width = 8, .height = 8};
    return status == CRIBO_OK
               ? cribo_view_retrieval(1, 1, 3, 2, x, x, &crop, &crop, 0, &asked, &found, runtime)
               : status;
}

START_TEST(test_matching_out_of_memory_leaks_nothing)
{
    cribo_runtime runtime;
    faulty allocator = {0};
    OK(cribo_runtime_init(&runtime, sizeof runtime));
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = &allocator;
    cribo_status status = CRIBO_OUT_OF_MEMORY;
    for (size_t at = 1; at < 500 && status != CRIBO_OK; at++) {
        allocator = (faulty){.fail_at = at, .for_ever = at % 2};
        status = everything(&runtime);
        ck_assert(status == CRIBO_OK || status == CRIBO_OUT_OF_MEMORY);
        ck_assert_uint_eq(allocator.held, 0);
    }
    ck_assert_int_eq(status, CRIBO_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("matching");
    TCase *tests = tcase_create("matching");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, test_assign_total_is_the_greatest_of_all_maps, 0, 60);
    tcase_add_test(tests, test_assign_large_permutation_is_found);
    tcase_add_test(tests, test_confusion_match_by_hand);
    tcase_add_test(tests, test_confusion_scores_mean_over_all_classes_counts_absent_ones);
    tcase_add_loop_test(tests, test_rare_patches_are_those_with_the_smallest_scores, 0, 32);
    tcase_add_test(tests, test_probe_add_chosen_remembers_these_patches_in_this_order);
    tcase_add_loop_test(tests, test_k_means_finds_separate_groups_and_their_means, 0, 3);
    tcase_add_test(tests, test_k_means_does_not_depend_on_threads);
    tcase_add_test(tests, test_k_means_more_iterations_are_no_worse_and_equal_rows_are_fine);
    tcase_add_loop_test(tests, test_view_retrieval_is_that_of_all_pairs, 0, 2);
    tcase_add_test(tests, test_view_retrieval_of_equal_and_of_disjoint_views);
    tcase_add_test(tests, test_linear_layer_step_follows_the_gradient);
    tcase_add_test(tests, test_linear_layer_learns_and_does_not_depend_on_threads);
    tcase_add_test(tests, test_matching_out_of_memory_leaks_nothing);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
