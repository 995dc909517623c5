/*
 * The folders of data sets with labels, and the classes of stored labels. A table of the data sets of
 * published evaluations; layout_find recognises them by their folders.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "base/problem.h"

#include <stdint.h>

enum { NO_LABEL = 255 };

/* The class of a stored label. */
enum label_rule {
    LABELS_STORED,      /* label c is class c */
    LABELS_FROM_ONE,    /* label c is class c - 1, 0 is none */
    LABELS_ZERO_UNSEEN, /* label c is class c; 0 is remembered, but not scored as a true class */
    LABELS_CITYSCAPES,  /* the 19 classes of the identifiers in _labelIds.png */
    LABELS_COCO_STUFF,  /* the 171 classes of 182 identifiers, unless the files have class numbers */
    LABELS_SUPER_STUFF, /* COCO's supercategories of stuff, named in its annotations */
    LABELS_SUPER_THINGS
};

/*
 * Folders and lists under the root, for the pictures to remember and to score; alternatives with | between.
 */
struct layout {
    const char *name;
    const char *published; /* the variant of the published evaluators; NULL: this one */
    const char *pictures[2], *labels[2], *lists[2]; /* lists NULL: all pictures of the folder */
    const char *picture_tail, *label_tails;         /* of the names, before the endings */
    int classes;                                    /* 0: from the data */
    enum label_rule rule;
    const char *categories; /* a file that names supercategories */
    bool by_name;           /* is never found by its folders alone */
};

/* By its name; the problem lists all layouts. */
const struct layout *layout_named(const char *name, struct problem *problem);

/* By the folders under `root`; a problem when there is none. */
const struct layout *layout_find(const char *root, struct problem *problem);

/* ROOT/NAME for the first of the alternatives that exists, from malloc; for the first where none does. */
char *layout_path(const char *root, const char *alternatives);

/* Whether a layout has halves: pictures to remember and pictures to score. */
bool layout_has_halves(const struct layout *layout);

/*
 * class_of [256]: a class, NO_LABEL, or -1 for a label that must not occur. *classes is set from the layout
 * or the data, or unchanged. `truth`: for labels that are scored.
 */
bool layout_classes(const struct layout *layout, const char *root, bool truth, int *classes,
    int16_t *class_of, char ***names, struct problem *problem);

#endif
