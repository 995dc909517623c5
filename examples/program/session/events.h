/*
 * TensorBoard's event files, written without TensorFlow: records of a length, a masked CRC-32C of it, a
 * message in protobuf's wire format (event.proto, summary.proto), and a masked CRC-32C of that.
 */
#ifndef EVENTS_H
#define EVENTS_H

#include "base/problem.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct events {
    FILE *file;
    const char *path; /* borrowed */
    bool failed;      /* reported once; training continues */
};

/*
 * Opens the file at `path`. Events from step `first` on, and incomplete or damaged records, are cut off, so
 * that a resumed run has each event once; with first 0 the file starts empty.
 */
bool events_open(struct events *events, const char *path, int64_t first, struct problem *problem);

/* One event with several numbers, `values` [count] under `tags`; those that are not finite are left out. */
void events_scalars(
    struct events *events, int64_t step, size_t count, const char *const *tags, const double *values);

/* A picture, `size` bytes of a PNG file. */
void events_picture(struct events *events, int64_t step, const char *tag, int width, int height,
    const uint8_t *png, size_t size);

/* NULL in `file` is fine. */
void events_close(struct events *events);

/* CRC-32C (Castagnoli), and its masked form in records. */
uint32_t events_crc(const void *bytes, size_t size);
uint32_t events_masked_crc(const void *bytes, size_t size);

#endif
