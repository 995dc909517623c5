/*
 * The options of the command line that must be the same on all ranks of a run: all but those for one process
 * (--threads, --workers, --deadline, --log-every, --quiet) and paths, which may differ between machines.
 */
#ifndef COMMON_OPTIONS_H
#define COMMON_OPTIONS_H

#include "session/pretrain.h"

/*
 * On all ranks the same outcome; the problem names the first option that differs, and its rank. Collective.
 */
bool common_options_compare(
    struct ranks *ranks, const struct pretrain_options *options, struct problem *problem);

#endif
