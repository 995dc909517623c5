/*
 * Linear segmentation: a layer on frozen tokens whose logits are interpolated to the pixels of a label map,
 * trained by stochastic gradient descent on the cross-entropy of the pixels.
 *
 *   z_p = sum_i a_pi (W x_i + b)        a: bilinear interpolation from the patches' middles to pixel p
 *   L   = mean over the pixels p that count of -log softmax(z_p)_{y_p}
 *   v   = momentum v + dL/dw + decay w,   w = w - rate v        of W and b alike
 */
#ifndef CB_EVALUATION_LINEAR_SEGMENTATION_H
#define CB_EVALUATION_LINEAR_SEGMENTATION_H

#include "base/runtime.h"
#include "evaluation/patch_memory.h"

typedef struct cb_linear_segmentation {
    size_t width, classes; /* D, C */
    int64_t ignore_label;
    double rate, momentum, decay;
    cb_real *layer, *velocity; /* [C, D] and [C], one after the other */
} cb_linear_segmentation;

/* One step on checked maps; *loss is L before it, 0 where no pixel counts. Fails for lack of memory only. */
cribo_status cb_linear_segmentation_step(const cb_runtime *runtime, const cb_linear_segmentation *problem,
    const cb_label_maps *maps, const cb_real *features, double *loss);

/*
 * labels [images, height, width]: the class with the greatest interpolated logit. Fails for lack of memory
 * only.
 */
cribo_status cb_linear_segmentation_predict(const cb_runtime *runtime, const cb_linear_segmentation *problem,
    const cb_label_maps *maps, const cb_real *features, int32_t *labels);

#endif
