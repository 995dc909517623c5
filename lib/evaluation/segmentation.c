/* Labels for pixels, and their scores. See segmentation.h. */
#include "evaluation/segmentation.h"

#include "tensor/rows.h"

#include <string.h>

cb_between cb_between_cells(size_t pixel, size_t pixels, size_t cells)
{
    double place = ((double)pixel + 0.5) * ((double)cells / (double)pixels) - 0.5;
    if (place < 0) place = 0;
    size_t low = (size_t)place;
    if (low > cells - 1) low = cells - 1;
    size_t high = low + 1 < cells ? low + 1 : low;
    return (cb_between){low, high, (cb_real)(place - (double)low)};
}

/* to = from + part (towards - from), for n numbers. */
static void mix(cb_real *to, const cb_real *from, const cb_real *towards, cb_real part, size_t n)
{
    for (size_t i = 0; i < n; i++) to[i] = from[i] + part * (towards[i] - from[i]);
}

typedef struct label_job {
    const cb_share_map *map;
    cb_real *scratch;
    int32_t *labels;
} label_job;

/* Task: one row of pixels. */
static void label_row(void *context, size_t y, size_t worker)
{
    const label_job *job = context;
    const cb_share_map *map = job->map;
    size_t c = map->classes, stride = map->columns * c;
    cb_real *row = job->scratch + worker * cb_label_scratch(map), *pixel = row + stride, most;
    cb_between down = cb_between_cells(y, map->height, map->rows);
    mix(row, map->shares + down.low * stride, map->shares + down.high * stride, down.part, stride);
    for (size_t x = 0; x < map->width; x++) {
        cb_between along = cb_between_cells(x, map->width, map->columns);
        mix(pixel, row + along.low * c, row + along.high * c, along.part, c);
        job->labels[y * map->width + x] = (int32_t)cb_rows()->arg_max(pixel, c, &most);
    }
}

size_t cb_label_scratch(const cb_share_map *map)
{
    return (map->columns + 1) * map->classes;
}

void cb_label_pixels(cb_pool *pool, const cb_share_map *map, cb_real *scratch, int32_t *labels)
{
    label_job job = {map, scratch, labels};
    cb_pool_run(pool, map->height, label_row, &job);
}

/* Pixels of a class: correct, true, predicted. */
typedef struct tally {
    int64_t right, truth, predicted;
} tally;

static tally tally_of(size_t classes, const int64_t *confusion, size_t c)
{
    tally t = {.right = confusion[c * classes + c]};
    for (size_t other = 0; other < classes; other++) {
        t.truth += confusion[c * classes + other];
        t.predicted += confusion[other * classes + c];
    }
    return t;
}

static double share(double part, int64_t whole)
{
    return whole ? part / (double)whole : 0;
}

void cb_confusion_scores(size_t classes, const int64_t *confusion, double *iou, cribo_scores *scores)
{
    int64_t seen = 0, true_classes = 0, right = 0, counted = 0;
    double iou_sum = 0, accuracy_sum = 0;
    for (size_t c = 0; c < classes; c++) {
        tally t = tally_of(classes, confusion, c);
        int64_t either = t.truth + t.predicted - t.right;
        double of_class = share((double)t.right, either);
        if (iou) iou[c] = either ? of_class : -1;
        iou_sum += of_class;
        accuracy_sum += share((double)t.right, t.truth);
        seen += either != 0;
        true_classes += t.truth != 0;
        right += t.right;
        counted += t.truth;
    }
    scores->mean_iou = share(iou_sum, seen);
    scores->mean_iou_all = iou_sum / (double)classes;
    scores->accuracy = share((double)right, counted);
    scores->mean_accuracy = share(accuracy_sum, true_classes);
    scores->classes_seen = seen;
    scores->counted = counted;
}
