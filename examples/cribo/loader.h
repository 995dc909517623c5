/*
 * Batches of augmented views, made ahead by worker threads.
 *
 * What batch number t holds depends on (files, seed, t) only: each epoch has its own order of the files, and
 * the views of a file are drawn from (seed, epoch, file). The number of workers decides nothing but the
 * speed.
 *
 * An epoch has files / batch batches; the files left over at its end sit it out (the order changes, so it is
 * other files each time). A folder with fewer files than a batch makes one smaller batch. A file that cannot
 * be read makes its batches smaller by one and is reported once.
 */
#ifndef LOADER_H
#define LOADER_H

#include "augment.h"

struct loader;

struct loader_options {
    char *const *paths; /* [count], borrowed */
    size_t count;       /* at least 1 */
    int image_size;
    size_t batch;
    int workers; /* at least 1 */
    uint64_t seed;
    uint64_t first;         /* number of the first batch: as if those before had been taken */
    const uint32_t *broken; /* [broken_count] files known to be broken, copied; not reported again */
    size_t broken_count;
    void (*say_broken)(void *user, const char *path, const char *reason); /* on a worker, once per file */
    void *say_broken_user;
};

struct loader_batch {
    int64_t images;       /* 0 when no file of the batch could be read */
    const uint8_t *view1; /* [images][3][image_size][image_size] */
    const uint8_t *view2;
    const cribo_crop *crops1; /* [images] */
    const cribo_crop *crops2;
    const int64_t *ids; /* [images], the files' indexes */
};

bool loader_create(struct loader **out, const struct loader_options *options, struct problem *problem);

/* How many batches make an epoch. */
size_t loader_epoch_batches(const struct loader *loader);

/*
 * The next batch, waiting for it if need be; it stays valid until the next call. Fails when memory ran out in
 * a worker, or when no file of a whole epoch could be read. One thread calls this.
 */
bool loader_next(struct loader *loader, struct loader_batch *batch, struct problem *problem);

/* How many batches have been taken, those before the first included: where a later loader goes on. */
uint64_t loader_taken(const struct loader *loader);

/* Files found broken so far. */
size_t loader_broken(struct loader *loader);

/*
 * The files found broken in batches before number `end`, which have been taken: files [their count], or NULL
 * to count only. A loader that goes on from there with this list makes the same batches.
 */
size_t loader_broken_before(struct loader *loader, uint64_t end, uint32_t *files);

/* Stops the workers and frees everything; NULL is fine. */
void loader_free(struct loader *loader);

/* The order of `count` files in an epoch. */
void loader_order(uint64_t seed, uint64_t epoch, size_t count, uint32_t *order);

/*
 * The 2 * AUGMENT_DRAWS numbers from which a file's views are made in an epoch: those of view 1, then of view
 * 2.
 */
void loader_draws(uint64_t seed, uint64_t epoch, uint64_t file, double *draws);

#endif
