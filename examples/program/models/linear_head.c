/* See linear_head.h. */
#include "models/linear_head.h"

#include "base/say.h"
#include "models/evaluation.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_BYTES \
    (INT64_C(4) << 30) /* for the tokens of pictures; those of further pictures are computed in every epoch */

/* The work under way. */
struct trainer {
    const struct frozen *frozen;
    const struct linear_head_options *options;
    struct linear_head *result;
    float *pixels;             /* [3, size, size] of one */
    float **cache;             /* [pictures]; NULL: not kept */
    int32_t **cached_labels;   /* [pictures] */
    int64_t cached;            /* bytes */
    float *tokens;             /* [HEAD_BATCH, N, D] */
    int32_t *labels, *found;   /* [HEAD_BATCH, side, side], or [size, size] of one */
    float *weights, *velocity; /* [classes, D + 1] */
    int64_t *confusion;        /* [classes, classes] */
    size_t *order;             /* [pictures] */
    struct problem *problem;
};

static bool library_failed(struct problem *problem)
{
    return problem_set(problem, "%s", cribo_last_error());
}

static size_t token_values(const struct trainer *t)
{
    return frozen_tokens(t->frozen) * (size_t)t->frozen->width;
}

static bool make_room(struct trainer *t)
{
    size_t size = (size_t)t->frozen->size, side = (size_t)t->result->label_side,
           count = t->options->train->count;
    size_t classes = (size_t)t->options->test->classes, weights = classes * ((size_t)t->frozen->width + 1);
    size_t labels = HEAD_BATCH * side * side > size * size ? HEAD_BATCH * side * side : size * size;
    t->pixels = malloc(3 * size * size * sizeof *t->pixels);
    t->cache = calloc(count, sizeof *t->cache);
    t->cached_labels = calloc(count, sizeof *t->cached_labels);
    t->tokens = malloc(HEAD_BATCH * token_values(t) * sizeof *t->tokens);
    t->labels = malloc(labels * sizeof *t->labels);
    t->found = malloc(size * size * sizeof *t->found);
    t->weights = calloc(weights, sizeof *t->weights);
    t->velocity = calloc(weights, sizeof *t->velocity);
    t->confusion = calloc(classes * classes, sizeof *t->confusion);
    t->order = malloc(count * sizeof *t->order);
    t->result->iou = malloc(classes * sizeof *t->result->iou);
    return (t->pixels && t->cache && t->cached_labels && t->tokens && t->labels && t->found && t->weights &&
               t->velocity && t->confusion && t->order && t->result->iou) ||
           problem_set(t->problem, "no memory for a linear layer");
}

static void release(struct trainer *t)
{
    for (size_t i = 0; t->cache && t->cached_labels && i < t->options->train->count; i++) {
        free(t->cache[i]);
        free(t->cached_labels[i]);
    }
    void *blocks[] = {t->pixels, t->cache, t->cached_labels, t->tokens, t->labels, t->found, t->weights,
        t->velocity, t->confusion, t->order};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) free(blocks[i]);
}

/* Tokens of a picture, and its label map of side `side`. */
static bool read_picture(
    struct trainer *t, const struct dataset *set, size_t index, int side, float *tokens, int32_t *labels)
{
    const struct frozen *frozen = t->frozen;
    struct image image;
    if (!dataset_picture(
            set, index, t->options->protocol->bytes ? 0 : 2.0 * frozen->size, &image, t->problem))
        return false;
    bool read = dataset_labels(set, index, &image, NULL, side, labels, t->problem) &&
                evaluation_pixels(frozen, t->options->protocol, &image, t->pixels, t->problem);
    image_free(&image);
    return read && (cribo_model_features(frozen->model, 1, frozen->size, frozen->size, t->pixels, tokens,
                        NULL, NULL) == CRIBO_OK ||
                       library_failed(t->problem));
}

/* Keeps a picture's tokens and labels for the next epochs while there is room. */
static void keep(struct trainer *t, size_t index, const float *tokens, const int32_t *labels)
{
    size_t plane = (size_t)t->result->label_side * (size_t)t->result->label_side;
    size_t bytes = token_values(t) * sizeof *tokens + plane * sizeof *labels;
    if (t->cached + (int64_t)bytes > CACHE_BYTES) return;
    float *kept = malloc(token_values(t) * sizeof *kept);
    int32_t *kept_labels = malloc(plane * sizeof *kept_labels);
    if (!kept || !kept_labels) {
        free(kept);
        free(kept_labels);
        return;
    }
    t->cache[index] = memcpy(kept, tokens, token_values(t) * sizeof *kept);
    t->cached_labels[index] = memcpy(kept_labels, labels, plane * sizeof *kept_labels);
    t->cached += (int64_t)bytes;
}

static bool fetch_picture(struct trainer *t, size_t index, size_t at)
{
    size_t plane = (size_t)t->result->label_side * (size_t)t->result->label_side;
    float *tokens = t->tokens + at * token_values(t);
    int32_t *labels = t->labels + at * plane;
    if (t->cache[index]) {
        memcpy(tokens, t->cache[index], token_values(t) * sizeof *tokens);
        memcpy(labels, t->cached_labels[index], plane * sizeof *labels);
        return true;
    }
    if (!read_picture(t, t->options->train, index, t->result->label_side, tokens, labels)) return false;
    keep(t, index, tokens, labels);
    return true;
}

/* A random order of the pictures by seed and epoch. */
static bool shuffle(struct trainer *t, int epoch)
{
    size_t count = t->options->train->count;
    double *draws = malloc(count * sizeof *draws);
    bool drawn = draws && cribo_random_uniform((uint64_t)t->options->seed, UINT64_MAX - 2, (uint64_t)epoch,
                              count, draws) == CRIBO_OK;
    for (size_t i = 0; drawn && i < count; i++) t->order[i] = i;
    for (size_t i = count; drawn && i-- > 1;) {
        size_t other = (size_t)(draws[i] * (double)(i + 1)), kept = t->order[i];
        t->order[i] = t->order[other];
        t->order[other] = kept;
    }
    free(draws);
    return drawn || problem_set(t->problem, "no memory for random numbers");
}

static cribo_linear_layer layer_of(const struct trainer *t, double rate)
{
    return (cribo_linear_layer){sizeof(cribo_linear_layer), t->frozen->width, t->options->test->classes,
        NO_LABEL, rate, HEAD_MOMENTUM, HEAD_DECAY, t->weights, t->velocity};
}

static bool train_epoch(struct trainer *t, int epoch, const cribo_runtime *runtime)
{
    size_t count = t->options->train->count, steps = 0;
    bool late = epoch >= t->result->epochs * HEAD_DROP / HEAD_EPOCHS;
    cribo_linear_layer layer = layer_of(t, late ? t->result->rate / 10 : t->result->rate);
    double sum = 0, loss;
    if (!shuffle(t, epoch)) return false;
    for (size_t first = 0; first < count; first += HEAD_BATCH, steps++) {
        size_t batch = count - first < HEAD_BATCH ? count - first : HEAD_BATCH;
        for (size_t i = 0; i < batch; i++)
            if (!fetch_picture(t, t->order[first + i], i)) return false;
        cribo_patch_maps maps = {sizeof maps, (int64_t)batch, t->frozen->side, t->frozen->side, t->tokens,
            t->result->label_side, t->result->label_side};
        if (cribo_linear_layer_step(&layer, &maps, t->labels, &loss, runtime) != CRIBO_OK)
            return library_failed(t->problem);
        sum += loss;
    }
    t->result->loss = sum / (double)steps;
    if (t->options->say)
        say_progress("epoch %d of %d: loss %.4f", epoch + 1, t->result->epochs, t->result->loss);
    return true;
}

static bool score(struct trainer *t, const cribo_runtime *runtime)
{
    const struct frozen *frozen = t->frozen;
    const struct dataset *test = t->options->test;
    cribo_linear_layer layer = layer_of(t, 0);
    for (size_t i = 0; i < test->count; i++) {
        if (!read_picture(t, test, i, frozen->size, t->tokens, t->labels)) return false;
        cribo_patch_maps maps = {
            sizeof maps, 1, frozen->side, frozen->side, t->tokens, frozen->size, frozen->size};
        if (cribo_linear_layer_predict(&layer, &maps, t->found, runtime) != CRIBO_OK ||
            cribo_confusion_add(test->classes, NO_LABEL, (int64_t)frozen->size * frozen->size, t->labels,
                t->found, t->confusion) != CRIBO_OK)
            return library_failed(t->problem);
        if (t->options->say && (i + 1 == test->count || say_on_terminal()))
            say_progress("scoring: %zu of %zu pictures", i + 1, test->count);
    }
    if (t->options->say) say_progress_end();
    t->result->scores.struct_size = sizeof t->result->scores;
    if (cribo_confusion_scores(test->classes, t->confusion, t->result->iou, &t->result->scores) != CRIBO_OK)
        return library_failed(t->problem);
    return t->result->scores.counted > 0 ||
           problem_set(
               t->problem, "nothing to score: no label map has a pixel with a class; 255 counts nowhere");
}

static bool train(struct trainer *t)
{
    cribo_runtime runtime;
    if (!frozen_runtime(&(struct frozen_options){.threads = t->options->threads}, &runtime, t->problem))
        return false;
    for (int epoch = 0; epoch < t->result->epochs; epoch++)
        if (!train_epoch(t, epoch, &runtime)) return false;
    if (t->options->say) say_progress_end();
    return score(t, &runtime);
}

bool linear_head_evaluate(struct linear_head *result, const struct frozen *frozen,
    const struct linear_head_options *options, struct problem *problem)
{
    int cells = (HEAD_LABELS + frozen->side - 1) / frozen->side;
    struct trainer t = {.frozen = frozen, .options = options, .result = result, .problem = problem};
    *result = (struct linear_head){.epochs = options->epochs ? options->epochs : HEAD_EPOCHS,
        .label_side = cells * frozen->side,
        .rate = options->rate > 0 ? options->rate : HEAD_RATE};
    bool done = make_room(&t) && train(&t);
    release(&t);
    if (!done) linear_head_free(result);
    return done;
}

void linear_head_free(struct linear_head *result)
{
    free(result->iou);
    *result = (struct linear_head){0};
}
