/*
 * A file that rank 0 writes while the other ranks wait for it (cb_ranks_lead): they get signs of life after
 * each write, and while the file is flushed to the disk. A caller's writer runs on the thread of the call, so
 * one call of it must be shorter than the deadline.
 */
#ifndef CB_FILES_LED_FILE_H
#define CB_FILES_LED_FILE_H

#include "base/file.h"
#include "communication/ranks.h"

typedef struct cb_led_file {
    cb_ranks *ranks; /* NULL: one, and the rest is unused */
    cb_file_writer file;
    cribo_writer writer; /* writes to `file` */
} cb_led_file;

/*
 * begin  *place becomes one that writes through `file`, until end; with one rank it is unchanged
 * end    completes the file, or gives it up if `status`, the outcome of the writing, is a failure. Returns
 *        the first failure
 */
cribo_status cb_led_file_begin(cb_led_file *file, cb_ranks *ranks, cb_place *place);
cribo_status cb_led_file_end(cb_led_file *file, cribo_status status);

#endif
