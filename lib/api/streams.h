/* The places of files in arguments: a path, or a writer or reader (cribo/stream.h). */
#ifndef CB_API_STREAMS_H
#define CB_API_STREAMS_H

#include "base/file.h"

/* The caller's writer or reader in our form, and the place that it is; both live in the same frame. */
typedef struct cb_stream {
    cribo_writer writer;
    cribo_reader reader;
    cb_place place;
} cb_stream;

/* Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size, without a function). */
cribo_status cb_import_writer(cb_stream *stream, const cribo_writer *writer);
cribo_status cb_import_reader(cb_stream *stream, const cribo_reader *reader);

#endif
