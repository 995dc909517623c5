/* A trained model that does not change: loading it, and pictures for it. */
#ifndef FROZEN_H
#define FROZEN_H

#include "pictures/pictures.h"
#include "pictures/recipe.h"

#include <cribo/model.h>
#include <cribo/trainer.h>

#include <argp.h>

/* The choice of the model, from the options of frozen_argp. */
struct frozen_options {
    const char *path;     /* a run's folder, one of its checkpoints, or a safetensors file */
    const char *preset;   /* settings of the clustering, where the file does not have them */
    const char *settings; /* "name=value,..." in place of those found; NULL: none */
    bool best;            /* of a run's folder, the weights with the best evaluation, not the newest */
    const char *prefix;   /* of the parameters' names; NULL: the teacher's */
    const char *mean, *deviation; /* of pixels, "R,G,B"; NULL: those of the training, else ImageNet's */
    int size;                     /* side of its input pictures; 0: that of its training */
    int threads;                  /* of the library; 0: its choice */
};

/* The options that all commands with a trained model have; its input is a struct frozen_options. */
extern const struct argp frozen_argp;

struct frozen {
    cribo_model *model;          /* NULL: features without a network (plain_features.h) */
    cribo_trainer_config config; /* with which it was trained */
    struct recipe recipe;        /* of its views; its mean and deviation normalise pixels */
    int size, patch, side;       /* of its pictures, of a patch, patches along a side */
    int64_t width, heads;
};

/* The runtime of the options, for other handles of the command. */
bool frozen_runtime(const struct frozen_options *options, cribo_runtime *runtime, struct problem *problem);

bool frozen_open(struct frozen *frozen, const struct frozen_options *options, struct problem *problem);

/* frozen_open for a model that the caller owns. */
struct frozen frozen_of(cribo_model *model, const cribo_trainer_config *config, const struct recipe *recipe);

/* The same sizes with features that need no learning; nothing to be freed. */
struct frozen frozen_plain(const struct frozen *frozen);

void frozen_free(struct frozen *frozen);

/* N, tokens of a picture. */
size_t frozen_tokens(const struct frozen *frozen);

/* A picture for the model, [3][size][size]: resized to a square, normalised. */
bool frozen_pixels(
    const struct frozen *frozen, const struct image *image, float *pixels, struct problem *problem);

/* The same as bytes, for drawings. */
bool frozen_bytes(
    const struct frozen *frozen, const struct image *image, uint8_t *bytes, struct problem *problem);

/* Normalises bytes [3][size][size] for the model. */
void frozen_normalise(const struct frozen *frozen, const uint8_t *bytes, float *pixels);

/* Reads a picture with the resolution for a drawing; the problem names the picture. */
bool frozen_load(const struct frozen *frozen, struct image *image, const char *path, struct problem *problem);
bool frozen_load_listed(const struct frozen *frozen, struct image *image, const struct pictures *pictures,
    size_t index, struct problem *problem);

#endif
