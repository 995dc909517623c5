/*
 * A few of the pictures in two plain views each, and the teacher's objects in them, to inspect the progress
 * of a run.
 */
#ifndef SHOWCASE_H
#define SHOWCASE_H

#include "drawing/sheet.h"
#include "models/objects.h"
#include "pictures/pictures.h"
#include "pictures/recipe.h"

#include <cribo/trainer.h>

enum { SHOWCASE_MAX = 8 };

struct showcase {
    struct recipe recipe; /* with its mean and deviation pixels are normalised */
    int images, size, patch;
    int64_t clusters;
    uint8_t *views[2]; /* [images][3][size][size] */
    cribo_crop crops[2][SHOWCASE_MAX];
    int64_t ids[SHOWCASE_MAX];
    char names[SHOWCASE_MAX][256]; /* of the pictures, with their folders */
    int64_t *labels;               /* [images][2][N] */
    uint8_t *valid;                /* [images][clusters] */
    int *reference; /* [images][2][N] number of each token's colour in the first drawing, -1: grey; or NULL */
};

/*
 * Chooses pictures spread over the list, at most a batch of them; unreadable pictures are left out.
 */
bool showcase_make(struct showcase *showcase, const struct pictures *pictures, const struct recipe *recipe,
    const cribo_trainer_config *config, struct problem *problem);

/* Finds the objects by a frozen model and a clusterer with the training's settings. */
bool showcase_cluster(struct showcase *showcase, struct object_finder *finder, struct problem *problem);

/*
 * Two plain views [3][size][size] of a picture with their crops, a function of (seed, id); false, without a
 * message, if it cannot be read. `workspace` has augment_workspace(size) floats.
 */
bool showcase_views(const struct pictures *pictures, size_t id, uint64_t seed, int size, float *workspace,
    uint8_t *const views[2], cribo_crop crops[2]);

/* "Objects that the teacher finds before training", or "... after N steps". */
void showcase_title(char *title, size_t size, int64_t step);

/*
 * Draws each picture's two views, plain and with their objects: an object has the same colour in both views;
 * tokens of no object in both views are grey. The colours of the first drawing are the reference: in later
 * drawings an object has the colour of the reference's object at its place. Free the sheet with sheet_free.
 */
bool showcase_draw(struct showcase *showcase, const char *title, enum sheet_format format,
    struct sheet *sheet, struct problem *problem);

/* The objects found now become the reference. */
bool showcase_refer(struct showcase *showcase, struct problem *problem);

/*
 * Draws each picture's two views, the objects of the reference and the objects found now beside each other,
 * in the colours of the reference. `names` are those of the two networks. There must be a reference.
 */
bool showcase_draw_both(const struct showcase *showcase, const char *title, const char *const names[2],
    enum sheet_format format, struct sheet *sheet, struct problem *problem);

/*
 * Writes the reference to a JSON file, and reads it. A file that is missing or belongs to other pictures is
 * ignored: the next drawing is then the reference.
 */
bool showcase_save_colours(const struct showcase *showcase, const char *path, struct problem *problem);
void showcase_load_colours(struct showcase *showcase, const char *path);

void showcase_free(struct showcase *showcase);

#endif
