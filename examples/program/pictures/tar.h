/*
 * The files in an uncompressed tar archive and the places of their bytes in it: ustar, with the long names
 * and large sizes of pax and GNU tar. An archive may consist of several archives joined by cat. Archives are
 * untrusted data.
 */
#ifndef TAR_H
#define TAR_H

#include "base/problem.h"

#include <stdint.h>

enum tar_kind {
    TAR_FILE,
    TAR_HARD_LINK, /* a second name of a file that comes before it in the archive */
    TAR_SYMBOLIC_LINK
};

struct tar_member {
    enum tar_kind kind;
    const char *name;      /* until the next member */
    const char *target;    /* of a link; "" for a file. Until the next member */
    uint64_t offset, size; /* of a file's bytes, which are inside of the archive */
};

/*
 * Calls `visit` for each file and link of the archive in `file`, a descriptor that is read by pread, of
 * `bytes` bytes; folders and devices are passed over. Ends when `visit` returns false.
 *
 * An archive ends with blocks of zeros or with the file, after a whole member; behind the zeros a further
 * archive may begin. An archive that is damaged, cut short, compressed or has sparse files is refused with
 * the offset of the wrong header, without the archive's name.
 */
bool tar_list(int file, uint64_t bytes, bool (*visit)(void *user, const struct tar_member *member),
    void *user, struct problem *problem);

#endif
