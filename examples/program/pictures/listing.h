/* The list of a run's pictures, from the sources of a command line into an index file. */
#ifndef LISTING_H
#define LISTING_H

#include "pictures/pictures.h"

/* As pictures_open, but always creates the index again. Prints a line about the files that were left out. */
bool listing_make(const char *index, char *const *sources, size_t count,
    const struct pictures_options *options, struct problem *problem);

#endif
