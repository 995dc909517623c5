/*
 * cribo/evaluation.h: evaluation of frozen features. Dense nearest-neighbour retrieval and a linear probe on
 * patches or on whole images, their scores, and principal components for pictures of tokens.
 *
 * The retrieval protocol is that of Balazevic et al., "Towards in-context scene understanding" (NeurIPS
 * 2023), section 3, by which CrIBo's features are compared: a memory of L2-normalised patch features, each
 * with the histogram of the labels under it; a query patch mixes the histograms of its nearest entries; the
 * mixed maps are enlarged bilinearly and the most likely class of each pixel is scored as mIoU.
 *
 * A patch map may be a single cell: then a row is a whole image ([CLS], say), a label map is one label, and
 * the same calls are k-nearest-neighbour and linear classification.
 *
 * In this header N = rows * columns patches of an image, C classes, D width, k neighbours, M entries in
 * memory, and height * width pixels of a label map.
 */
#ifndef CRIBO_EVALUATION_H
#define CRIBO_EVALUATION_H

#include "cribo/base.h"
#include "cribo/objective.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A memory of labelled patches, and classifiers that use it. */
typedef struct cribo_probe cribo_probe;

/* Settings; cribo_probe_config_init sets the published protocol. Fields are only ever appended. */
typedef struct cribo_probe_config {
    size_t struct_size;   /* sizeof(cribo_probe_config), set by _init */
    int64_t width;        /* D, numbers in a feature; 384. 1 ... 65 536 */
    int64_t classes;      /* C, labels are 0 ... C - 1; 21. 1 ... 65 536 */
    int64_t ignore_label; /* pixels with this label are ignored; 255. -1 ... 65 536 */
    int64_t
        memory_patches; /* maximum number of entries, a uniform sample of all patches; 0: all. 0 ... 2^31 */
    int64_t seed;       /* of that sample; 0. 0 ... 2^53 */
    int64_t neighbours; /* k; 30. 1 ... 4096 */
    double temperature; /* of the softmax over the neighbours' cosines; 0.02. 1e-4 ... 1e4 */
    /* of the linear layer: this / 2 times its squared weights is added to its loss; 1e-4. 0 ... 1e6 */
    double weight_penalty;
    int64_t iterations; /* maximum number of L-BFGS iterations in cribo_probe_fit; 200. 1 ... 100 000 */
} cribo_probe_config;

/*
 * _init sets the defaults; `struct_size` is sizeof(cribo_probe_config) as the caller knows it. _set assigns a
 * setting by its name from text, with a decimal point in every locale. _setting describes setting `index`,
 * starting at 0; its strings are static.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, a size this library never had, no such setting, text that is no
 * number, a value out of range, an index past the last).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_config_init(
    cribo_probe_config *config, size_t struct_size);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_config_set(
    cribo_probe_config *config, const char *name, const char *value);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_config_setting(size_t index, cribo_setting *setting);

/*
 * Makes a probe with an empty memory.
 * Ownership: free with cribo_probe_free.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: 4 D + 2 C + 4 bytes of memory for each entry, allocated in blocks of 1024; some MB for each
 * thread.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_create(
    cribo_probe **out, const cribo_probe_config *config, const cribo_runtime *runtime);

/* Frees a probe; NULL is fine. */
CRIBO_API void cribo_probe_free(cribo_probe *probe);

/*
 * The settings with which the probe works now. _get_config: all of them, into a config whose struct_size is
 * set (_config_init does). _get_setting: one by its name; of a choice its number.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, a size this library never had).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_get_config(
    const cribo_probe *probe, cribo_probe_config *config);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_get_setting(
    const cribo_probe *probe, const char *name, double *value);

/*
 * Changes a setting for later calls; memory and linear layer stay. These can change: temperature,
 * weight_penalty and iterations.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, one that cannot change, with the reason, a value
 * out of range).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_set_setting(
    cribo_probe *probe, const char *name, double value);

/*
 * Patch features of images of one size.
 *
 * images         B
 * rows, columns  of the patches of an image; 1 and 1 for a feature of the whole image
 * features       [B, rows * columns, D] of any length, finite; cribo_model_features gives them
 * height, width  of their label maps, in pixels: multiples of rows and of columns, at most
 *                65 535 pixels to a patch
 */
typedef struct cribo_patch_maps {
    size_t struct_size; /* sizeof(cribo_patch_maps) */
    int64_t images;
    int64_t rows;
    int64_t columns;
    const float *features;
    int64_t height;
    int64_t width;
} cribo_patch_maps;

/*
 * Adds labelled patches to the memory: each feature normalised, with the histogram of the labels 0 ... C - 1
 * of its pixels. A patch with only ignored pixels is skipped. A memory of memory_patches entries is a uniform
 * sample of all patches so far (reservoir sampling): it depends on the seed and the order of the patches, not
 * on their division into calls.
 *
 * labels [B, height, width], each 0 ... C - 1 or ignore_label
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY.
 * Cost: O(B N (D + pixels of a patch)).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_add(
    cribo_probe *probe, const cribo_patch_maps *maps, const int32_t *labels);

/*
 * Adds some patches of each image to the memory, as cribo_probe_add adds all: image b's patches index[b, 0],
 * index[b, 1], ... in this order.
 *
 * labels [B, height, width], each 0 ... C - 1 or ignore_label
 * count  patches of an image, 1 ... N
 * index  [B, count], each 0 ... N - 1; cribo_rare_patches chooses them
 *
 * Ownership: the memory copies the features.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY.
 * Cost: O(B count (D + pixels of a patch)).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_add_chosen(cribo_probe *probe,
    const cribo_patch_maps *maps, const int32_t *labels, int64_t count, const int64_t *index);

/*
 * Chooses the patches of each image that a bounded memory is to keep, those with the image's rare classes
 * first: the `count` smallest of
 *
 *   s_i = u_i * sum over the classes c in patch i of f_c      f_c: in how many patches of the image c occurs
 *
 * (the sampling of Balazevic et al.). Patches without a label come last; equal s in the order of the patches.
 *
 * maps          sizes; its features are not read and may be NULL
 * classes       C, 1 ... 65 536
 * ignore_label  pixels with this label are ignored
 * labels        [B, height, width], each 0 ... C - 1 or ignore_label
 * draws         [B, N] u, uniform in [0, 1)
 * count         patches of an image, 1 ... N
 * index         [B, count] the patches, the smallest s first
 * runtime       memory; NULL: defaults
 *
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: O(B (pixels + N C + N count)); N C bytes of memory during the call.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_rare_patches(const cribo_patch_maps *maps, int64_t classes,
    int64_t ignore_label, const int32_t *labels, const float *draws, int64_t count, int64_t *index,
    const cribo_runtime *runtime);

/*
 * M, how many entries the memory holds.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_count(const cribo_probe *probe, int64_t *entries);

/*
 * The k entries of the memory that are nearest to each of `count` features by cosine: exactly, with blocks of
 * products and a running best k, so that no array of count * M is ever made.
 *
 * features  [count, D] of any length, finite
 * index     [count, k] nearest first, entries numbered as they were added (with a sample: as they lie in the
 *           memory); equal cosines in the order of the index; -1 past the last entry. NULL: not computed
 * cosine    [count, k]; 0 where the index is -1. NULL: not computed
 *
 * Errors: CRIBO_INVALID_ARGUMENT; CRIBO_CANCELLED: the outputs are then undefined.
 * Cost: 2 count M D flop. The results' bits do not depend on the threads.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_search(
    cribo_probe *probe, int64_t count, const float *features, int64_t *index, float *cosine);

/*
 * Fits the linear layer to all entries of the memory: multinomial logistic regression, minimising the mean
 * over entries of -sum_c h_c log p_c, h being an entry's histogram as shares and p = softmax(W x + b) with x
 * the normalised feature times sqrt(D), plus weight_penalty / 2 |W|^2. From W = 0 by L-BFGS (Liu and Nocedal
 * 1989), until the gradient's largest element is at most 1e-6, `iterations` have passed, or rounding ends
 * progress.
 *
 * loss  where that ended; NULL: not computed
 *
 * The log callback receives the iterations and the gradient's largest element, as a warning where it is above
 * 1e-6; cribo_probe_fit_report returns them.
 *
 * Errors: CRIBO_WRONG_STATE (the memory is empty), CRIBO_OUT_OF_MEMORY, CRIBO_CANCELLED; an earlier layer is
 * then as it was.
 * Cost: about 4 M C D flop an iteration. Memory: 22 arrays of C (D + 1) float64.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_fit(cribo_probe *probe, double *loss);

/* How the fit of a probe's linear layer ended. */
typedef struct cribo_fit_report {
    size_t struct_size; /* sizeof(cribo_fit_report), set by the caller */
    double loss;        /* of the layer */
    double gradient;    /* largest magnitude of an element of the loss's gradient at the layer */
    int64_t iterations; /* of L-BFGS that were done */
    int64_t reached; /* 1: the gradient is at most 1e-6; 0: `iterations` or rounding ended the fit before */
} cribo_fit_report;

/*
 * Reports on the last fit that succeeded.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_WRONG_STATE (no layer was fitted); *report is then unchanged.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_fit_report(cribo_probe *probe, cribo_fit_report *report);

/* By what cribo_probe_predict reads classes. */
enum {
    CRIBO_PROBE_NEAREST = 0, /* sum over the k nearest entries of softmax(cosine / temperature) histogram */
    CRIBO_PROBE_LINEAR = 1   /* p of the linear layer that cribo_probe_fit made */
};

/*
 * Classes of the patches and pixels of images.
 *
 * reader  CRIBO_PROBE_NEAREST or CRIBO_PROBE_LINEAR
 * shares  [B, N, C] of each class in each patch, with the sum 1; NULL: not computed
 * labels  [B, height, width] the class with the greatest share where the shares of the patches, which stand
 *         in their middles, are interpolated bilinearly (at the border, the nearest); equal shares: the lower
 *         class. NULL: not computed
 *
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_WRONG_STATE (the memory is empty, no layer was
 * fitted); CRIBO_CANCELLED: the outputs are then undefined.
 * Cost: nearest: that of cribo_probe_search for B N features; linear: 2 B N C D flop. Workspace for the
 * shares of the largest call is kept.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_probe_predict(
    cribo_probe *probe, int64_t reader, const cribo_patch_maps *maps, float *shares, int32_t *labels);

/*
 * A layer on frozen tokens for linear segmentation, as papers train it: its logits are interpolated
 * bilinearly to the pixels of label maps, z_p = sum_i a_pi (W x_i + b), and stochastic gradient descent with
 * momentum minimises the mean over the pixels that count of -log softmax(z_p)_(y_p):
 *
 *   v = momentum v + gradient + decay w,  w = w - rate v        of W and b alike
 */
typedef struct cribo_linear_layer {
    size_t struct_size;   /* sizeof(cribo_linear_layer), set by the caller */
    int64_t width;        /* D, 1 ... 65 536 */
    int64_t classes;      /* C, 1 ... 65 536 */
    int64_t ignore_label; /* pixels with this label count nowhere */
    double rate;          /* of a step, 0 ... 1e6 */
    double momentum;      /* 0 ... 1 */
    double decay;         /* of the weights, 0 ... 1e6 */
    float *weights;       /* [C * (D + 1)]: W [C, D], then b [C]; finite; begin with zeros */
    float *velocity;      /* the same shape; begin with zeros. NULL is fine to predict */
} cribo_linear_layer;

/*
 * One step on a batch of images: changes weights and velocity.
 *
 * maps    features [B, N, D] as they are (they are not normalised), and the size of the label maps
 * labels  [B, height, width], each 0 ... C - 1 or ignore_label
 * loss    the mean cross-entropy before the step; 0, and nothing changes, if no pixel counts; or NULL
 * runtime memory and threads; NULL: defaults. The bits do not depend on the threads.
 *
 * Aliasing: weights, velocity and the inputs must not overlap.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads); the layer stays as it
 * was.
 * Threads: any, one call at a time per layer. Cost: 4 B N C D flop and O(B C) for each pixel; 2 B N C float32
 * of memory during the call.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_linear_layer_step(const cribo_linear_layer *layer,
    const cribo_patch_maps *maps, const int32_t *labels, double *loss, const cribo_runtime *runtime);

/*
 * labels [B, height, width]: the class with the greatest interpolated logit of each pixel; equal ones: the
 * lower.
 *
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: 2 B N C D flop and O(B C) for each pixel; B N C float32 of memory during the call.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_linear_layer_predict(const cribo_linear_layer *layer,
    const cribo_patch_maps *maps, int32_t *labels, const cribo_runtime *runtime);

/*
 * Counts pixels (or images) by true and predicted class: adds to confusion [C, C], whose rows are the true
 * classes and which begins as zeros. Counts of several calls, threads or programs may be added up.
 *
 * classes       C, 1 ... 65 536
 * ignore_label  pixels whose truth it is are left out
 * truth         [count], each 0 ... C - 1 or ignore_label
 * predicted     [count], each 0 ... C - 1 where the truth is not to be ignored
 *
 * Errors: CRIBO_INVALID_ARGUMENT; confusion is then unchanged.
 * Cost: two sweeps over the labels; no allocation.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_confusion_add(int64_t classes, int64_t ignore_label,
    int64_t count, const int32_t *truth, const int32_t *predicted, int64_t *confusion);

/*
 * What a confusion matrix says.
 *
 * mean_iou        mean of the intersection over union of the classes that occur in truth or prediction; 0
 *                 when none does
 * accuracy        share of the pixels that are right; 0 when there are none
 * mean_accuracy   mean over the classes that occur in the truth of the share of their pixels that are right
 * classes_seen    how many classes the mean_iou is over
 * counted         pixels counted
 * mean_iou_all    mean of the intersection over union of all C classes, 0 for a class that occurs nowhere
 */
typedef struct cribo_scores {
    size_t struct_size; /* sizeof(cribo_scores), set by the caller */
    double mean_iou;
    double accuracy;
    double mean_accuracy;
    int64_t classes_seen;
    int64_t counted;
    double mean_iou_all;
} cribo_scores;

/*
 * Scores of a confusion matrix [C, C], no count of which is negative. iou [C] of each class: true and
 * predicted over true or predicted; -1 where it occurs in neither. NULL: not computed.
 * Errors: CRIBO_INVALID_ARGUMENT.
 * Cost: O(C^2); no allocation.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_confusion_scores(
    int64_t classes, const int64_t *confusion, double *iou, cribo_scores *scores);

/*
 * The assignment with the greatest total score: each row gets at most one column and each column at most one
 * row, as many pairs as the smaller side has (Kuhn's Hungarian method with shortest augmenting paths).
 *
 * rows, columns  1 ... 65 536 each
 * score          [rows, columns], finite
 * column         [rows] the column of each row; -1: it has none
 * runtime        memory; NULL: defaults
 *
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: O(smaller^2 * larger).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_assign(
    int64_t rows, int64_t columns, const double *score, int64_t *column, const cribo_runtime *runtime);

/* How cribo_confusion_match gives a class to predictions that have no names. */
enum {
    CRIBO_MATCH_ONE_TO_ONE = 0, /* the assignment with the greatest sum of intersections over unions */
    CRIBO_MATCH_MANY_TO_ONE =
        1 /* each prediction: the class that most of its pixels have; equal: the lower */
};

/*
 * Matches predictions, clusters for instance, with classes.
 *
 * classes      C, 1 ... 65 536
 * predictions  P, 1 ... 65 536
 * confusion    [C, P] pixels by true class and prediction, none negative
 * method       CRIBO_MATCH_ONE_TO_ONE or CRIBO_MATCH_MANY_TO_ONE
 * rest         0 ... C - 1, the class of a prediction without a partner (one to one: P > C; many to one: it
 *              has no pixels); the public evaluators take 0
 * class_of     [P] the class of each prediction; NULL: not computed
 * matched      [C, C] the confusion with the columns of a class's predictions added up, for
 *              cribo_confusion_scores; NULL: not computed
 * runtime      memory; NULL: defaults
 *
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: that of cribo_assign for C rows and P columns.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_confusion_match(int64_t classes, int64_t predictions,
    const int64_t *confusion, int64_t method, int64_t rest, int64_t *class_of, int64_t *matched,
    const cribo_runtime *runtime);

/*
 * k-means: centres c_k that minimise the sum over rows of min_k |x_r - c_k|^2, by Lloyd's iterations from a
 * start by k-means++, until the sum falls no more. A centre without rows moves to the row farthest from its
 * own.
 *
 * rows, width  R, 1 ... 2^31, and D, 1 ... 65 536
 * features     [R, D], finite; normalise them first where the cosine is to count
 * clusters     K, 1 ... min(R, 65 536)
 * seed         of the start, 0 ... 2^53
 * iterations   the most of Lloyd's iterations, 0 ... 100 000
 * centres      [K, D]
 * labels       [R] the nearest centre of each row; equal distances: the first
 * inertia      the sum that is minimised, in units of squared features; NULL: not computed
 * runtime      memory, threads, progress; NULL: defaults. The bits do not depend on the threads.
 *
 * Errors: CRIBO_INVALID_ARGUMENT; CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads), CRIBO_CANCELLED: the
 * contents of the results are then undefined.
 * Cost: 2 R K D flop for the start and for each iteration.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_k_means(int64_t rows, int64_t width, const float *features,
    int64_t clusters, int64_t seed, int64_t iterations, float *centres, int32_t *labels, double *inertia,
    const cribo_runtime *runtime);

/*
 * The nearest of given centres for each row.
 *
 * rows, width  R, 1 ... 2^31, and D, 1 ... 65 536
 * features     [R, D], finite
 * clusters     K, 1 ... 65 536
 * centres      [K, D], finite
 * labels       [R] the nearest centre of each row; equal distances: the first
 * inertia      the sum over rows of the squared distance to it; NULL: not computed
 * runtime      memory and threads; NULL: defaults. The bits do not depend on the threads.
 *
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: 2 R K D flop.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_nearest_centres(int64_t rows, int64_t width,
    const float *features, int64_t clusters, const float *centres, int32_t *labels, double *inertia,
    const cribo_runtime *runtime);

/*
 * Dense retrieval without labels: how many patches of the first views of images find, among all patches of
 * all second views, the patch at the same place of their image. Two views of the training, with their jitter
 * of colours, show what the features recognise again; equal features find nothing.
 *
 * The centre of a patch of view 1 is a place in the original image (cribo_crop_positions). The patch is asked
 * if view 2 of that image shows the place; the right answer is the patch of view 2 that contains it. The
 * patch finds it if, of all B N patches of the second views, the one with the largest cosine (equal ones: the
 * first) belongs to the same image and is at most `reach` rows and columns beside the right one.
 *
 * images         B; B N is at most 2^31
 * rows, columns  of the patches of a view, N = rows * columns
 * width          D, 1 ... 65 536
 * view1, view2   [B, N, D] features of any length, finite; cribo_model_features gives them
 * crops1, crops2 [B] the crop of each view
 * reach          0: the right patch only; 1: its neighbours count, too; 0 ... 4096
 * asked          patches of view 1 that were asked; 0 if no views overlap
 * found          those that found theirs; found / asked is the score. By chance it would be at most
 *                (2 reach + 1)^2 / (B N)
 * runtime        memory and threads; NULL: defaults. The results do not depend on the threads.
 *
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: at most 2 (B N)^2 D flop; 12 B N bytes of memory, and some MB for each thread, during the call.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_view_retrieval(int64_t images, int64_t rows, int64_t columns,
    int64_t width, const float *view1, const float *view2, const cribo_crop *crops1, const cribo_crop *crops2,
    int64_t reach, int64_t *asked, int64_t *found, const cribo_runtime *runtime);

/*
 * Principal components of rows: the directions of greatest variance, and where each row lies along them.
 * Three of them, scaled to 0 ... 255, are the usual picture of an image's tokens in colours.
 *
 * rows, width  R, at least 2, and D, 1 ... 65 536
 * features     [R, D], finite
 * components   how many, 1 ... min(R - 1, D, 64)
 * directions   [components, D] of length 1, the greatest variance first; the element of the greatest
 *              magnitude is positive (equal ones: the first). Where rows vary in fewer directions, the rest
 *              are zero. NULL: not computed
 * projected    [R, components] <x_r - mean, direction>; NULL: not computed
 * variance     [components] of each column of projected (over R - 1); NULL: not computed
 * runtime      memory and threads; NULL: defaults
 * Method: the covariance in float64, its eigenvectors by subspace iteration. The bits do not depend on the
 * threads.
 *
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: R D^2 flop and D^2 float64 of memory during the call.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_principal_components(int64_t rows, int64_t width,
    const float *features, int64_t components, float *directions, float *projected, double *variance,
    const cribo_runtime *runtime);

#ifdef __cplusplus
}
#endif

#endif
