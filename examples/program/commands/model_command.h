/*
 * The common parts of commands that use a trained model: the arguments MODEL and DIR, the options, and a walk
 * over the folder's pictures.
 */
#ifndef MODEL_COMMAND_H
#define MODEL_COMMAND_H

#include "commands/command.h"
#include "drawing/sheet.h"
#include "models/frozen.h"
#include "pictures/pictures.h"

struct model_command {
    struct frozen_options model;
    char *pictures;   /* a folder, an archive, a list or one file */
    const char *keys; /* which members of archives are taken (pictures/members.h); NULL: by their names */
    const char *out;
    enum sheet_format format; /* of a picture, by the name's ending */
    bool draws;               /* the result is a picture: its name ends in .png or .svg */
    /* With shown_argp among the options: */
    int count;           /* number of shown pictures; default 8 */
    char *before;        /* a second model to draw beside the first; NULL: none */
    struct frozen other; /* that model, opened; without one other.model is NULL */
};

/*
 * Parses "MODEL DIR -o FILE"; its input is a struct model_command. It includes the options of frozen_argp.
 */
extern const struct argp model_command_argp;

/* The options for the number of shown pictures and for a second model; the same input. */
extern const struct argp shown_argp;

/*
 * Runs a command: parses its arguments, opens model and pictures, calls `run`, reports a failure. Returns the
 * exit status. `base` is the first field of the command's own struct, which is the input of `own`.
 */
int model_command_run(const char *name, const struct argp *own, int count, char **arguments,
    struct model_command *base,
    bool (*run)(struct model_command *base, const struct frozen *frozen, const struct pictures *pictures,
        struct problem *problem));

/* The name of the second model in a drawing, or of the first: "before: FILE", "after: FILE". To be freed. */
char *model_command_name(const struct model_command *command, bool before, struct problem *problem);

/* The number in the list of picture `index` of `count` evenly spread pictures. */
size_t model_command_spread(const struct pictures *pictures, int count, int index);

#endif
