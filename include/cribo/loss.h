/*
 * cribo/loss.h: the three self-distillation losses of section 3, from logits, with gradients with respect to
 * the student's.
 *
 * For callers with another model and heads. A loss handle holds the two centres, moving averages of the
 * teacher's logits. (The trainer does not pass through logits: it streams over the prototypes.)
 */
#ifndef CRIBO_LOSS_H
#define CRIBO_LOSS_H

#include "cribo/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Computes losses from logits. Holds its settings and the two centres. */
typedef struct cribo_loss cribo_loss;

/* Settings; cribo_loss_config_init sets the published defaults. Fields are only ever appended. */
typedef struct cribo_loss_config {
    size_t struct_size;                /* sizeof(cribo_loss_config), set by _init */
    int64_t prototypes;                /* P of the [CLS] head; 65 536. 1 ... 2^24 */
    int64_t object_prototypes;         /* P of the object head; 65 536. 1 ... 2^24 */
    double student_temperature;        /* tau_s for [CLS]; 0.1. 1e-4 ... 1e4 */
    double object_student_temperature; /* tau_s for objects; 0.1. 1e-4 ... 1e4 */
    double centre_momentum;            /* of the centres; 0.9. 0 ... 1 */
    int64_t authors_normalisation;     /* 0: the paper's sums, Z1 and Z2; 1: the authors' halves, one Z. 0 */
} cribo_loss_config;

/*
 * _init sets the defaults; `struct_size` is sizeof(cribo_loss_config) as the caller knows it. _set assigns a
 * setting by its name from text, with a decimal point in every locale. _setting describes setting `index`,
 * starting at 0; its strings are static.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, a size this library never had, no such setting, text that is no
 * number, a value out of range, an index past the last).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_config_init(cribo_loss_config *config, size_t struct_size);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_config_set(
    cribo_loss_config *config, const char *name, const char *value);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_config_setting(size_t index, cribo_setting *setting);

/*
 * Makes a loss with both centres zero.
 * Ownership: free with cribo_loss_free.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: memory for the centres, P + P' floats, and for some rows of logits.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_create(
    cribo_loss **out, const cribo_loss_config *config, const cribo_runtime *runtime);

/* Frees a loss; NULL is fine. */
CRIBO_API void cribo_loss_free(cribo_loss *loss);

/*
 * The settings with which the loss works now. _get_config: all of them, into a config whose struct_size is
 * set (_config_init does). _get_setting: one by its name; of a choice its number.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, a size this library never had).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_get_config(
    const cribo_loss *loss, cribo_loss_config *config);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_get_setting(
    const cribo_loss *loss, const char *name, double *value);

/*
 * The sizes of the loss (cribo_sizes): prototypes, object_prototypes.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_sizes(const cribo_loss *loss, cribo_sizes *sizes);

/*
 * Changes a setting for later calls; the centres stay. All can change but prototypes and object_prototypes,
 * for which the centres are made.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, one that cannot change, with the reason, a value
 * out of range).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_set_setting(
    cribo_loss *loss, const char *name, double value);

/*
 * The logits of a batch. Arrays with an axis of two views hold view 1 first.
 *
 * images, objects            B, 1 ... 2^31, and R (of the whole batch), 0 ... 2^31
 * student_cls, teacher_cls   [2, B, P] [CLS] logits
 * student_objects, teacher_objects  [2, R, P'] object logits
 * neighbours1, neighbours2   [R, P'] teacher logits of nn(c_1^k), nn(c_2^k); both NULL switches the
 *                            cross-image loss off
 * match1, match2             [R] the cycle indicators; rows of neighbours with 0 are never read. Only with
 *                            neighbours
 * teacher_temperature, object_teacher_temperature  tau_t of this step, 1e-4 ... 1e4
 */
typedef struct cribo_loss_input {
    size_t struct_size; /* sizeof(cribo_loss_input) */
    int64_t images;
    int64_t objects;
    const float *student_cls;
    const float *teacher_cls;
    const float *student_objects;
    const float *teacher_objects;
    const float *neighbours1;
    const float *neighbours2;
    const uint8_t *match1;
    const uint8_t *match2;
    double teacher_temperature;
    double object_teacher_temperature;
} cribo_loss_input;

/*
 * Results. The gradients' pointers are set by the caller (NULL: not computed), the losses by the call.
 *
 * global, cross_view, cross_image  L_cv^g, L_cv^o, L_ci^o; their sum is the training objective
 * student_cls_gradient      [2, B, P]   d(sum of losses)/d(student_cls)
 * student_objects_gradient  [2, R, P']
 */
typedef struct cribo_loss_output {
    size_t struct_size; /* sizeof(cribo_loss_output) */
    double global;
    double cross_view;
    double cross_image;
    float *student_cls_gradient;
    float *student_objects_gradient;
} cribo_loss_output;

/*
 * Losses and gradients with the current centres; does not change the handle (equations in docs/algorithm.md,
 * "Losses").
 * Errors: CRIBO_INVALID_ARGUMENT names what is NULL, out of range or not finite (nothing is written),
 * CRIBO_NOT_FINITE names the loss that is not (outputs are then of no use).
 * Cost: a few sweeps over the logits, no allocation.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_compute(
    cribo_loss *loss, const cribo_loss_input *input, cribo_loss_output *output);

/*
 * Moves the centres by this step's teacher logits: centre <- m centre + (1 - m) mean over both views.
 * Neighbours are not included; without objects the object centre is unchanged. Of the input only images,
 * objects, teacher_cls and teacher_objects are read.
 * Errors: CRIBO_INVALID_ARGUMENT.
 * Cost: one sweep over the teacher's logits; no allocation.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_update_centres(
    cribo_loss *loss, const cribo_loss_input *input);

/*
 * Reads or writes the centres: centre [P], object_centre [P'], copied; either may be NULL.
 * Errors: CRIBO_INVALID_ARGUMENT (loss is NULL, a value written is not finite).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_get_centres(
    const cribo_loss *loss, float *centre, float *object_centre);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_set_centres(
    cribo_loss *loss, const float *centre, const float *object_centre);

/*
 * cribo_loss_get_centres with the sizes of the arrays: count is P, object_count is P'; that of a NULL array
 * is not read.
 * Errors: CRIBO_INVALID_ARGUMENT (loss is NULL, another count); nothing is then written.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_loss_read_centres(
    const cribo_loss *loss, float *centre, int64_t count, float *object_centre, int64_t object_count);

#ifdef __cplusplus
}
#endif

#endif
