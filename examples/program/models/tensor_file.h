/*
 * One array of numbers that is written row by row, as NumPy's .npy or as safetensors, by the name's ending.
 * The number of rows is known only at the end; the file appears under its name only then.
 */
#ifndef TENSOR_FILE_H
#define TENSOR_FILE_H

#include "base/output.h"

#include <stddef.h>
#include <stdio.h>

struct tensor_file {
    const char *path, *name; /* name: of the tensor, in safetensors */
    struct output output;
    bool numpy;
    size_t axes, shape[4]; /* of a row */
    size_t rows;
};

/* `shape` [axes] is that of a row, at most 3 axes. */
bool tensor_file_open(struct tensor_file *file, const char *path, const char *name, const size_t *shape,
    size_t axes, struct problem *problem);
bool tensor_file_add(struct tensor_file *file, const float *row, struct problem *problem);

/*
 * Writes the header and gives the file its name. On failure nothing stays; tensor_file_drop is then called
 * too.
 */
bool tensor_file_close(struct tensor_file *file, struct problem *problem);

/* Removes an unfinished file; after tensor_file_close it does nothing. */
void tensor_file_drop(struct tensor_file *file);

#endif
