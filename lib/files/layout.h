/*
 * The layouts of published weights: the names and the division of a vision transformer's parameters in other
 * code. A parameter of the library is one tensor of a layout, or several tensors whose rows follow each
 * other: the weights of queries, keys and values, or of the two halves of a gated MLP.
 *
 * To add a layout, add its rules to layout.c, and to weights_open.c how to recognise it.
 */
#ifndef CB_FILES_LAYOUT_H
#define CB_FILES_LAYOUT_H

#include "base/memory.h"

#define CB_MAX_SOURCES 3
#define CB_TENSOR_NAME_BYTES 160

/*
 * One parameter. `ours` is its name after "backbone.", `theirs` are the tensors after the file's prefix; '#'
 * is the number of a block. A tensor after '?' may be absent: its rows are then 0. If a parameter has several
 * rules, reading uses the first rule whose tensors are in the file; writing uses the first rule. A rule
 * without tensors: the layout lacks the parameter.
 */
typedef struct cb_layout_rule {
    const char *ours;
    const char *theirs[CB_MAX_SOURCES];
    size_t axes; /* of the tensors that are written, the first ones of length 1; 0: the parameter's */
} cb_layout_rule;

typedef struct cb_layout {
    const char *name;
    const char *title;           /* for messages */
    const cb_layout_rule *rules; /* a parameter without a rule has the library's name */
    size_t count;
    const char *backbone; /* precedes the names, unless the caller chooses a prefix */
} cb_layout;

/* The names of a parameter's tensors in a layout. */
typedef struct cb_sources {
    size_t count; /* 0: there are no further rules */
    char name[CB_MAX_SOURCES][CB_TENSOR_NAME_BYTES];
    bool optional[CB_MAX_SOURCES];
    size_t axes; /* as in the rule */
} cb_sources;

/* Layouts by name; NULL: there is none. `index` counts them from 0. */
const cb_layout *cb_layout_find(const char *name);
const cb_layout *cb_layout_at(size_t index);

/* The sources of parameter `ours` by its rule number `variant`, from 0 on. */
cb_sources cb_layout_sources(const cb_layout *layout, const char *ours, size_t variant);

#endif
