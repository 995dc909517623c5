/*
 * Counts of the files that a listing of pictures leaves out, by the ending of the name and by the reason.
 * They are printed as one line.
 */
#ifndef LEFT_OUT_H
#define LEFT_OUT_H

#include <stddef.h>

enum { LEFT_OUT_KINDS = 64 };

struct left_out {
    struct {
        char ending[24], reason[80];
        size_t count;
    } kinds[LEFT_OUT_KINDS];
    size_t count;  /* kinds */
    size_t others; /* files without room in the table */
};

/* Counts the file of this name, by its ending (".tar.gz" is one). */
void left_out_add(struct left_out *left_out, const char *name, const char *reason);

/* Counts a file or folder by a word: an ending, or "folder". */
void left_out_count(struct left_out *left_out, const char *word, const char *reason);

/*
 * Counts the file at `path`, with its kind (kind.h) as the reason. The first files of an ending are opened;
 * later ones get the reason of the newest of them.
 */
void left_out_file(struct left_out *left_out, const char *path);

/*
 * "3 .gif (a GIF picture), 2 without an ending (a text)", at most size - 1 bytes; "" when nothing was left
 * out.
 */
void left_out_print(const struct left_out *left_out, char *text, size_t size);

#endif
