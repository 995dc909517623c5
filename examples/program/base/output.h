/*
 * The file of a result. It is written under a temporary name in the same folder and renamed when it is
 * complete, so that neither a failure nor a signal leaves an incomplete file. The rule for names is also the
 * library's: a symbolic link to a file is replaced by the new file, and the target of the link is unchanged;
 * a folder, a device, a pipe, or a link to one, is refused.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "base/problem.h"

#include <stdio.h>

struct output {
    FILE *file;       /* to write to */
    const char *path; /* borrowed; "-": standard output */
    char *temporary;  /* NULL for standard output */
};

/* On failure there is nothing to drop. */
bool output_open(struct output *output, const char *path, struct problem *problem);

/* Gives the file its name, or, on failure, removes it. */
bool output_close(struct output *output, struct problem *problem);

/* Removes the file unless it is closed already; a zeroed output is fine. */
void output_drop(struct output *output);

/*
 * Opens a file that grows line by line, such as a log, for reading and appending; NULL after a problem.
 * `anew` empties it. A symbolic link is replaced when it begins anew, and refused otherwise.
 */
FILE *output_append(const char *path, bool anew, struct problem *problem);

/* output_open, the `size` bytes, and output_close as one call. */
bool output_write(const char *path, const void *bytes, size_t size, struct problem *problem);

/* Removes the temporary files of all open outputs. For handlers of signals that end the program at once. */
void output_drop_all(void);

#endif
