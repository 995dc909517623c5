/*
 * The three self-distillation losses of section 3 from logits, with gradients with respect to the student's,
 * and the centres.
 *
 * A student row s with targets p_j of weights w_j, temperatures τ:
 *   p_j  = softmax((t_j - c) / τ_t)
 *   loss = Σ_j w_j H(p_j, softmax(s / τ_s)),   H(p, q) = -Σ p log q
 *   ds   = ((Σ_j w_j) softmax(s / τ_s) - Σ_j w_j p_j) / τ_s
 *
 * Rows are independent of each other; sums over rows are added in an order that depends on their number
 * alone.
 */
#ifndef CB_DISTILLATION_LOSS_H
#define CB_DISTILLATION_LOSS_H

#include "base/config.h"
#include "base/runtime.h"
#include "cribo/loss.h"
#include "distillation/teachers.h"
#include "tensor/real.h"

extern const cb_config_table cb_loss_settings;

/*
 * The paper's sums: 1/B, 1/R and 1/Z_v. The authors' code: halves of 1/B and 1/R, and 1/(2 Z_1) for both
 * masks. What has nothing to count weighs 0.
 */
cb_loss_weights cb_loss_weights_of(
    bool authors, size_t images, size_t objects, size_t matches1, size_t matches2);

typedef struct cb_loss cb_loss;

cribo_status cb_loss_create(const cb_runtime *runtime, cb_loss **out, const cribo_loss_config *config);
void cb_loss_free(const cb_runtime *runtime, cb_loss *loss);

/* The settings; all but the numbers of prototypes may change. */
cribo_loss_config *cb_loss_config(cb_loss *loss);

/* Number of prototypes, and the centre, of the [CLS] head (0) and of the object head (1). */
size_t cb_loss_prototypes(const cb_loss *loss, int head);
cb_real *cb_loss_centre(const cb_loss *loss, int head);

/* The logits of one head, [2, rows, P], view 1 first. */
typedef struct cb_head_logits {
    size_t rows;
    const cb_real *student, *teacher;
    double teacher_temperature;
} cb_head_logits;

typedef struct cb_loss_input {
    cb_head_logits head[2];      /* [CLS], objects */
    const cb_real *neighbour[2]; /* [R, P'] the teacher's, of nn(c_1^k), nn(c_2^k); both NULL: none teach */
    const uint8_t *match[2];     /* [R] */
} cb_loss_input;

typedef struct cb_loss_output {
    double global, cross_view, cross_image;
    cb_real *gradient[2]; /* [2, rows, P] for each head; NULL: not computed */
} cb_loss_output;

/* Losses and gradients with the current centres. */
void cb_loss_compute(const cb_loss *loss, const cb_loss_input *input, cb_loss_output *output);

/*
 * Each centre moves by its head's teacher logits: c <- m c + (1 - m) mean over both views; with no rows it
 * stays.
 */
void cb_loss_update_centres(cb_loss *loss, const cb_head_logits head[2]);

#endif
