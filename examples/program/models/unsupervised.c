/* See unsupervised.h. */
#include "models/unsupervised.h"

#include "base/say.h"
#include "models/evaluation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The work under way. */
struct worker {
    const struct frozen *frozen;
    const struct unsupervised_options *options;
    struct unsupervised *result;
    float *pixels, *tokens;  /* [3, size, size], [N, D] of one picture */
    int32_t *truth, *labels; /* [size, size], [N] */
    float *sample;           /* [room, D] */
    int64_t seen, room;
    float *centres;     /* [clusters, D] */
    int64_t *confusion; /* [classes, clusters] */
    struct problem *problem;
};

static bool make_room(struct worker *w)
{
    size_t plane = (size_t)w->frozen->size * (size_t)w->frozen->size, tokens = frozen_tokens(w->frozen);
    size_t width = (size_t)w->frozen->width, clusters = (size_t)w->result->clusters;
    w->room = (int64_t)clusters * CLUSTER_SAMPLE;
    w->pixels = malloc(3 * plane * sizeof *w->pixels);
    w->tokens = malloc(tokens * width * sizeof *w->tokens);
    w->truth = malloc(plane * sizeof *w->truth);
    w->labels = malloc((tokens > (size_t)w->room ? tokens : (size_t)w->room) * sizeof *w->labels);
    w->sample = malloc((size_t)w->room * width * sizeof *w->sample);
    w->centres = malloc(clusters * width * sizeof *w->centres);
    w->confusion = calloc((size_t)w->options->test->classes * clusters, sizeof *w->confusion);
    return (w->pixels && w->tokens && w->truth && w->labels && w->sample && w->centres && w->confusion) ||
           problem_set(w->problem, "no memory for %zu clusters", clusters);
}

static void release(struct worker *w)
{
    void *blocks[] = {w->pixels, w->tokens, w->truth, w->labels, w->sample, w->centres, w->confusion};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) free(blocks[i]);
}

static void normalise(float *tokens, size_t count, size_t width)
{
    for (size_t i = 0; i < count; i++) {
        double squares = 0;
        for (size_t d = 0; d < width; d++)
            squares += (double)tokens[i * width + d] * (double)tokens[i * width + d];
        double scale = squares > 0 ? 1 / sqrt(squares) : 0;
        for (size_t d = 0; d < width; d++)
            tokens[i * width + d] = (float)((double)tokens[i * width + d] * scale);
    }
}

/* The tokens and the label map of a picture. */
static bool read_picture(struct worker *w, size_t index)
{
    const struct frozen *frozen = w->frozen;
    const struct dataset *test = w->options->test;
    struct image image;
    if (!dataset_picture(
            test, index, w->options->protocol->bytes ? 0 : 2.0 * frozen->size, &image, w->problem))
        return false;
    bool read = dataset_labels(test, index, &image, NULL, frozen->size, w->truth, w->problem) &&
                evaluation_pixels(frozen, w->options->protocol, &image, w->pixels, w->problem);
    image_free(&image);
    if (!read) return false;
    if (cribo_model_features(
            frozen->model, 1, frozen->size, frozen->size, w->pixels, w->tokens, NULL, NULL) != CRIBO_OK)
        return problem_library(w->problem);
    normalise(w->tokens, frozen_tokens(frozen), (size_t)frozen->width);
    return true;
}

/* Keeps a uniform sample of all tokens so far (Vitter's algorithm R). */
static bool sample_tokens(struct worker *w, size_t index)
{
    size_t tokens = frozen_tokens(w->frozen), width = (size_t)w->frozen->width;
    double *draws = malloc(tokens * sizeof *draws);
    if (!draws ||
        cribo_random_uniform((uint64_t)w->options->seed, UINT64_MAX - 1, index, tokens, draws) != CRIBO_OK) {
        free(draws);
        return problem_no_memory(w->problem);
    }
    for (size_t i = 0; i < tokens; i++, w->seen++) {
        int64_t place = w->seen < w->room ? w->seen : (int64_t)(draws[i] * (double)(w->seen + 1));
        if (place < w->room)
            memcpy(w->sample + (size_t)place * width, w->tokens + i * width, width * sizeof *w->sample);
    }
    free(draws);
    return true;
}

static bool count_clusters(struct worker *w, size_t index)
{
    const struct frozen *frozen = w->frozen;
    int clusters = w->result->clusters;
    cribo_runtime runtime;
    (void)index;
    if (!frozen_runtime(&(struct frozen_options){.threads = w->options->threads}, &runtime, w->problem))
        return false;
    if (cribo_nearest_centres((int64_t)frozen_tokens(frozen), frozen->width, w->tokens, clusters, w->centres,
            w->labels, NULL, &runtime) != CRIBO_OK)
        return problem_library(w->problem);
    for (int y = 0; y < frozen->size; y++)
        for (int x = 0; x < frozen->size; x++) {
            int32_t truth = w->truth[y * frozen->size + x];
            int32_t cluster = w->labels[y / frozen->patch * frozen->side + x / frozen->patch];
            if (truth != NO_LABEL) w->confusion[truth * clusters + cluster]++;
        }
    return true;
}

static bool walk(struct worker *w, const char *what, bool (*take)(struct worker *, size_t))
{
    for (size_t i = 0; i < w->options->test->count; i++) {
        if (!read_picture(w, i) || !take(w, i)) return false;
        bool last = i + 1 == w->options->test->count;
        if (w->options->say && (last || say_on_terminal()))
            say_progress("%s: %zu of %zu pictures", what, i + 1, w->options->test->count);
    }
    if (w->options->say) say_progress_end();
    return true;
}

static bool find_centres(struct worker *w)
{
    cribo_runtime runtime;
    struct unsupervised *result = w->result;
    result->sampled = w->seen < w->room ? w->seen : w->room;
    if (!frozen_runtime(&(struct frozen_options){.threads = w->options->threads}, &runtime, w->problem))
        return false;
    return cribo_k_means(result->sampled, w->frozen->width, w->sample, result->clusters, w->options->seed,
               CLUSTER_ITERATIONS, w->centres, w->labels, NULL, &runtime) == CRIBO_OK ||
           problem_library(w->problem);
}

static bool conclude(struct worker *w)
{
    int64_t classes = w->options->test->classes;
    struct unsupervised *result = w->result;
    int64_t *matched = malloc((size_t)(classes * classes) * sizeof *matched);
    result->iou = malloc((size_t)classes * sizeof *result->iou);
    result->scores.struct_size = sizeof result->scores;
    bool done = (matched && result->iou) || problem_no_memory(w->problem);
    if (done && (cribo_confusion_match(classes, result->clusters, w->confusion, w->options->matching, 0, NULL,
                     matched, NULL) != CRIBO_OK ||
                    cribo_confusion_scores(classes, matched, result->iou, &result->scores) != CRIBO_OK))
        done = problem_library(w->problem);
    result->scores.mean_iou = result->scores.mean_iou_all;
    result->scores.classes_seen = classes;
    if (done && result->scores.counted == 0)
        done = problem_set(
            w->problem, "nothing to score: no label map has a pixel with a class; 255 counts nowhere");
    free(matched);
    return done;
}

bool unsupervised_evaluate(struct unsupervised *result, const struct frozen *frozen,
    const struct unsupervised_options *options, struct problem *problem)
{
    struct worker w = {.frozen = frozen, .options = options, .result = result, .problem = problem};
    *result =
        (struct unsupervised){.clusters = options->clusters ? options->clusters : options->test->classes};
    bool done = make_room(&w) && walk(&w, "sampling", sample_tokens) && find_centres(&w) &&
                walk(&w, "scoring", count_clusters) && conclude(&w);
    release(&w);
    if (!done) unsupervised_free(result);
    return done;
}

void unsupervised_free(struct unsupervised *result)
{
    free(result->iou);
    *result = (struct unsupervised){0};
}
