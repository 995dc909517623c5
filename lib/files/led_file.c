/* A file that rank 0 writes. See led_file.h. */
#include "files/led_file.h"

#include <errno.h>

/* Returns an errno, as a caller's writer does. */
static int write_and_sign(void *user, const void *bytes, size_t count)
{
    cb_led_file *f = user;
    if (cb_file_writer_write(&f->file, bytes, count) != CRIBO_OK)
        return cribo_last_errno() ? cribo_last_errno() : EIO;
    return cb_ranks_sign(f->ranks) == CRIBO_OK ? 0 : EIO;
}

cribo_status cb_led_file_begin(cb_led_file *f, cb_ranks *ranks, cb_place *place)
{
    *f = (cb_led_file){.ranks = ranks};
    if (!ranks) return CRIBO_OK;
    CB_TRY(cb_file_writer_begin(&f->file, *place));
    f->writer = (cribo_writer){.struct_size = sizeof f->writer, .write = write_and_sign, .user = f};
    *place = (cb_place){.path = place->path, .writer = &f->writer};
    return CRIBO_OK;
}

static cribo_status commit(void *file)
{
    return cb_file_writer_commit(file);
}

cribo_status cb_led_file_end(cb_led_file *f, cribo_status status)
{
    if (!f->ranks) return status;
    if (status == CRIBO_OK) return cb_ranks_aside(f->ranks, commit, &f->file);
    cb_file_writer_abandon(&f->file);
    CB_TRY(cb_ranks_check(f->ranks)); /* why a sign of life could not be sent */
    return status;
}
