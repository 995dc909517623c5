/* A trained model that is only looked at: loading it, and showing it pictures. */
#ifndef FROZEN_H
#define FROZEN_H

#include "pictures/pictures.h"
#include "pictures/recipe.h"

#include <cribo/model.h>
#include <cribo/trainer.h>

#include <argp.h>

/* Which model; the options that frozen_argp parses fill it in. */
struct frozen_options {
    const char *path;             /* a run's folder, one of its checkpoints, or a safetensors file */
    const char *preset;           /* settings of the clustering, where the file does not have them */
    const char *settings;         /* "name=value,..." in place of those found; NULL: none */
    const char *prefix;           /* of the parameters' names; NULL: the teacher's */
    const char *mean, *deviation; /* of pixels, "R,G,B"; NULL: those of the training, else ImageNet's */
    int size;                     /* side of the pictures it is shown; 0: that of its training */
    int threads;                  /* of the library; 0: its choice */
};

/* The options that all commands with a trained model have; its input is a struct frozen_options. */
extern const struct argp frozen_argp;

struct frozen {
    cribo_model *model;
    cribo_trainer_config config; /* with which it was trained */
    struct recipe recipe;        /* of its views: with its mean and deviation pixels are normalised */
    int size, patch, side;       /* of its pictures, of a patch, patches along a side */
    int64_t width, heads;
};

/* The runtime that the options ask for, for other handles of the command. */
bool frozen_runtime(const struct frozen_options *options, cribo_runtime *runtime, struct problem *problem);

bool frozen_open(struct frozen *frozen, const struct frozen_options *options, struct problem *problem);

/* frozen_open for a model that the caller owns. */
struct frozen frozen_of(cribo_model *model, const cribo_trainer_config *config, const struct recipe *recipe);

void frozen_free(struct frozen *frozen);

/* N, tokens of a picture. */
size_t frozen_tokens(const struct frozen *frozen);

/* A picture as the model takes it, [3][size][size]: resized without regard to its shape, normalised. */
bool frozen_pixels(
    const struct frozen *frozen, const struct image *image, float *pixels, struct problem *problem);

/* The same as bytes, for people. */
bool frozen_bytes(
    const struct frozen *frozen, const struct image *image, uint8_t *bytes, struct problem *problem);

/* Bytes [3][size][size] as the model takes them. */
void frozen_normalise(const struct frozen *frozen, const uint8_t *bytes, float *pixels);

/* Reads a picture with the resolution that it needs to be shown; the problem names it. */
bool frozen_load(const struct frozen *frozen, struct image *image, const char *path, struct problem *problem);
bool frozen_load_listed(const struct frozen *frozen, struct image *image, const struct pictures *pictures,
    size_t index, struct problem *problem);

#endif
