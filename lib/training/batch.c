/* A batch's pixels as the networks want them. */
#include "training/trainer.h"

cb_images cb_batch_images(const cb_trainer *trainer, const cribo_batch *batch, size_t first, size_t images)
{
    size_t side = (size_t)trainer->config.image_size, begin = first * 3 * side * side;
    cb_images both = {.count = 2 * images, .height = side, .width = side};
    if (batch->view1) {
        both.pixels = batch->view1 + begin;
        both.view2_pixels = batch->view2 + begin;
        return both;
    }
    both.bytes = batch->view1_bytes + begin;
    both.view2_bytes = batch->view2_bytes + begin;
    for (int c = 0; c < 3; c++) { /* (byte / 255 - mean) / deviation */
        both.scale[c] = (cb_real)(1 / (255 * batch->deviation[c]));
        both.shift[c] = (cb_real)(-batch->mean[c] / batch->deviation[c]);
    }
    return both;
}
