/*
 * A sign of progress without labels: of the patches of some of the run's pictures, in two views as they are
 * trained on, how many find their place in the other view among all patches of all of them
 * (cribo_view_retrieval). Views and pictures are the same throughout a run.
 */
#ifndef VIEW_RETRIEVAL_H
#define VIEW_RETRIEVAL_H

#include "models/frozen.h"

enum { VIEW_RETRIEVAL_PICTURES = 32 };

struct view_retrieval {
    struct recipe recipe;
    int images, size, side; /* of a view in pixels, of its map in patches */
    int64_t width;          /* D */
    uint8_t *views[2];      /* [images][3][size][size] */
    cribo_crop *crops[2];   /* [images] */
    float *pixels;          /* [3][size][size] */
    float *features[2];     /* [images][side * side][width] */
};

/*
 * Chooses pictures spread over the list; unreadable ones are left out. Free with view_retrieval_free, on
 * failure too.
 */
bool view_retrieval_make(struct view_retrieval *retrieval, const struct pictures *pictures,
    const struct recipe *recipe, const cribo_trainer_config *config, struct problem *problem);
void view_retrieval_free(struct view_retrieval *retrieval);

/*
 * Whether a measurement is due after `step` of a run's steps: about thirty times in a run, each of which
 * takes as long as about half a step of 16 pictures.
 */
bool view_retrieval_is_due(int64_t step, int64_t total_steps);

/* Whether it is the first that is due after a third of the run. */
bool view_retrieval_is_conclusive(int64_t step, int64_t total_steps);

/*
 * Measures a model between two steps, in per cent; a patch beside the right one counts, too. NaN if no views
 * overlap.
 */
bool view_retrieval_measure(struct view_retrieval *retrieval, const struct frozen *frozen, int threads,
    double *percent, struct problem *problem);

#endif
