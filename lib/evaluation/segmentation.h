/*
 * From class shares of patches to a label for each pixel, and from labels to scores.
 *
 *   iou_c = n_cc / (sum_j n_cj + sum_j n_jc - n_cc)      n: pixels by true and predicted class
 */
#ifndef CB_EVALUATION_SEGMENTATION_H
#define CB_EVALUATION_SEGMENTATION_H

#include "base/pool.h"
#include "cribo/evaluation.h"
#include "tensor/real.h"

/* A grid of class shares and the size of the label map that is to be made of it. */
typedef struct cb_share_map {
    size_t rows, columns, classes;
    const cb_real *shares; /* [rows, columns, classes] */
    size_t height, width;
} cb_share_map;

/*
 * labels [height, width]: arg-max (ties: the lower class) of the shares, interpolated bilinearly between the
 * patches' middles as `interpolate(..., mode="bilinear", align_corners=False)` does. `scratch` has
 * cb_label_scratch numbers for each worker.
 */
void cb_label_pixels(cb_pool *pool, const cb_share_map *map, cb_real *scratch, int32_t *labels);
size_t cb_label_scratch(const cb_share_map *map);

/* Where a pixel lies between cells' middles: in `low` with the share 1 - part, in `high` with `part`. */
typedef struct cb_between {
    size_t low, high;
    cb_real part;
} cb_between;
cb_between cb_between_cells(size_t pixel, size_t pixels, size_t cells);

/* See cribo_confusion_scores; `confusion` is checked. */
void cb_confusion_scores(size_t classes, const int64_t *confusion, double *iou, cribo_scores *scores);

#endif
