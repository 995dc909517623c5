/*
 * The choice of an image's patches for a bounded memory: rare classes first (Balazevic et al., "Towards
 * in-context scene understanding", NeurIPS 2023, appendix; as the public evaluators do it).
 *
 *   f_c = number of the image's patches in which class c occurs
 *   s_i = u_i sum over the classes c that occur in patch i of f_c      u_i uniform in [0, 1)
 *
 * The patches with the smallest s are kept, in this order; patches without a label come last.
 */
#ifndef CB_EVALUATION_RARE_PATCHES_H
#define CB_EVALUATION_RARE_PATCHES_H

#include "evaluation/patch_memory.h"

/*
 * index [images, count], count <= rows * columns, for checked maps and draws [images, rows * columns]. Fails
 * for lack of memory only, before anything is written.
 */
cribo_status cb_rare_patches(const cb_allocator *allocator, const cb_label_maps *maps, int64_t ignore_label,
    size_t classes, const float *draws, size_t count, int64_t *index);

#endif
