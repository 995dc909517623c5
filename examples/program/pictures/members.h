/*
 * The pictures of a tar archive, for the index. An archive may be a shard of WebDataset, whose files belong
 * to samples: the part of a name before its first dot is the key of the sample, and the part behind it names
 * the role of the file in the sample (x.jpg, x.seg.png, x.cls).
 */
#ifndef MEMBERS_H
#define MEMBERS_H

#include "pictures/left_out.h"
#include "pictures/picture_index.h"

struct members {
    struct index_writer *writer;
    struct left_out *left_out;
    uint64_t container;   /* of the archive */
    const char *identity; /* the archive's name for the digest */
    /*
     * Which files are taken: the endings behind the keys, separated by commas, in any case. NULL: all
     * pictures, but x.seg.png and the like where the same sample has a picture x.jpg, too.
     */
    const char *keys;
};

enum members_outcome {
    MEMBERS_LISTED,
    MEMBERS_DAMAGED, /* the archive; entries may have been added */
    MEMBERS_FAILED   /* the index cannot be written, or there is no memory */
};

/*
 * Adds an entry for each picture of the archive in `file`, of `bytes` bytes. Names with a part that begins
 * with a dot are left out, as in folders; a hard link counts as a file, a symbolic link does not.
 */
enum members_outcome members_list(
    const struct members *members, int file, uint64_t bytes, struct problem *problem);

#endif
