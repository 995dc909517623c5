/*
 * The files in an uncompressed tar archive and where their bytes lie in it: ustar, with the long names and
 * large sizes of pax and GNU tar. Archives are data that nobody vouches for.
 */
#ifndef TAR_H
#define TAR_H

#include "base/problem.h"

#include <stdint.h>

struct tar_member {
    const char *name;      /* until the next member */
    uint64_t offset, size; /* of its bytes, which lie inside of the archive */
};

/*
 * Calls `visit` for each regular file of the archive in `file`, a descriptor that is read by pread, of
 * `bytes` bytes; links, folders and devices are passed over. Ends when `visit` returns false, which has then
 * set the problem. An archive that is damaged, cut short, compressed or that holds sparse files is refused
 * with the offset of the header at fault, without the archive's name.
 */
bool tar_list(int file, uint64_t bytes, bool (*visit)(void *user, const struct tar_member *member),
    void *user, struct problem *problem);

#endif
