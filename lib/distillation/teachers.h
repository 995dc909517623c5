/*
 * The teacher rows that are targets of a student row (section 3): the row of the same image or object in
 * the other view and, for objects, that row's nearest neighbour if it passed the cycle test.
 */
#ifndef CB_DISTILLATION_TEACHERS_H
#define CB_DISTILLATION_TEACHERS_H

#include "distillation/prototype_loss.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The weight of each term of the objective: its normaliser times its loss's weight. */
typedef struct cb_loss_weights {
    double global;         /* H(p_1, s_2) or H(p_2, s_1) of an image */
    double cross_view;     /* H(P_1, S_2) or H(P_2, S_1) of an object */
    double cross_image[2]; /* [0]: neighbours of view 1 (targets of student view 2), [1]: of view 2 */
} cb_loss_weights;

/* The teachers of a student's row. */
typedef struct cb_teachers {
    size_t view;             /* of the teacher's row, whose index is the student's */
    bool neighbour;          /* the neighbour of the teacher's row is a target as well */
    double weight[CB_TERMS]; /* of the row and of its neighbour */
} cb_teachers;

/* Of the [CLS] vector of an image in `view`. */
static inline cb_teachers cb_teachers_of_image(const cb_loss_weights *weights, size_t view)
{
    return (cb_teachers){1 - view, false, {weights->global, 0}};
}

/* Of object `index` in `view`. match[v] marks the objects of view v that passed; NULL: none. */
static inline cb_teachers cb_teachers_of_object(
    const cb_loss_weights *weights, const uint8_t *const match[2], size_t view, size_t index)
{
    size_t other = 1 - view;
    bool neighbour = match[other] && match[other][index];
    return (cb_teachers){other, neighbour, {weights->cross_view, weights->cross_image[other]}};
}

#endif
