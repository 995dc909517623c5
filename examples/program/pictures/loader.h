/*
 * Batches of augmented views, made ahead by worker threads.
 *
 * Batch number t depends only on (pictures, seed, t): each epoch has a separate order of the pictures,
 * computed place by place (order.h), and the views of a picture are drawn from (seed, epoch, picture). The
 * number of workers affects only the speed.
 *
 * An epoch has pictures / batch batches; the remaining pictures at its end are not used in it (different ones
 * in each epoch). Fewer pictures than a batch make one smaller batch. An unreadable picture is reported once
 * and replaced by another one, which depends on (seed, epoch, place) and on the readable pictures; the batch
 * gets smaller only if LOADER_REPLACEMENTS in a row cannot be read. If most of the last pictures of a source,
 * and at least LOADER_UNREADABLE, cannot be read, the loader fails: a disk may be gone.
 */
#ifndef LOADER_H
#define LOADER_H

#include "pictures/augment.h"
#include "pictures/order.h"
#include "pictures/pictures.h"

struct loader;

enum { LOADER_REPLACEMENTS = 16, LOADER_UNREADABLE = 32 };

struct loader_options {
    const struct pictures *pictures; /* at least 1, borrowed */
    struct recipe recipe;            /* of the views */
    int image_size;
    int local_crops, local_size; /* local crops of a picture, and their side; 0: none */
    size_t batch;
    size_t part, parts; /* of each batch this loader makes part `part` of `parts`; 0 of 0 is the whole */
    int workers;        /* at least 1 */
    uint64_t seed;
    uint64_t first;         /* number of the first batch: as if those before had been taken */
    const uint32_t *broken; /* [broken_count] known to be broken, copied; neither read nor reported again */
    size_t broken_count;
    void (*say_broken)(void *user, const char *name, const char *reason); /* on a worker, once per picture */
    void *say_broken_user;
};

struct loader_batch {
    int64_t images;       /* 0 when no picture of the batch could be read */
    const uint8_t *view1; /* [images][3][image_size][image_size] */
    const uint8_t *view2;
    const uint8_t *local;     /* [images][local_crops][3][local_size][local_size]; NULL: none */
    const cribo_crop *crops1; /* [images] */
    const cribo_crop *crops2;
    const int64_t *ids;   /* [images], the pictures' numbers */
    const bool *replaced; /* [images], whether each is there in place of an unreadable one */
};

/* A picture that was found broken. */
struct loader_broken {
    uint64_t picture, batch;
    char reason[256];
};

/* The images of a whole batch of which this loader makes the part first ... first + count - 1. */
size_t loader_part(const struct loader_options *options, size_t images, size_t *first);

bool loader_create(struct loader **out, const struct loader_options *options, struct problem *problem);

/* The images of a whole batch. */
size_t loader_whole(const struct loader *loader);

/* The number of batches of an epoch. */
size_t loader_epoch_batches(const struct loader *loader);

/*
 * Waits for the next batch, which is valid until the next call. Fails when memory ran out in a worker, when
 * most pictures of a source could not be read, or none of a whole epoch. One thread calls this.
 */
bool loader_next(struct loader *loader, struct loader_batch *batch, struct problem *problem);

/*
 * Of several parts, after each loader_next: counts the images of the whole batch, and fails when none of a
 * whole epoch could be read, as loader_next does with one part.
 */
bool loader_count(struct loader *loader, int64_t images, struct problem *problem);

/*
 * Makes the batch that loader_next has returned again, of other pictures: ids, replaced [images], at most the
 * images of a full part, rounded up. Fails when one of them cannot be read now.
 */
bool loader_remake(struct loader *loader, struct loader_batch *batch, int64_t images, const int64_t *ids,
    const bool *replaced, struct problem *problem);

/*
 * Of several parts: takes a picture out of the list of those that were found broken since they were last
 * taken, or in an earlier batch than was known; false when the list is empty. loader_add_broken records one
 * that another part has taken out.
 */
size_t loader_news(struct loader *loader);
bool loader_take_broken(struct loader *loader, struct loader_broken *broken);
bool loader_add_broken(struct loader *loader, const struct loader_broken *broken, struct problem *problem);

/* The number of batches taken, including those before the first: the first of a later loader. */
uint64_t loader_taken(const struct loader *loader);

/* Pictures found broken so far. */
size_t loader_broken(struct loader *loader);

/*
 * The pictures found broken in batches before number `end`, which have been taken, in ascending order: files
 * [their count], or NULL to count only. A loader that continues with this list makes the same batches, even
 * if a picture has been repaired.
 */
size_t loader_broken_before(struct loader *loader, uint64_t end, uint32_t *files);

/* Stops the workers and frees everything; NULL is fine. */
void loader_free(struct loader *loader);

/* The order of the pictures in an epoch. */
struct order loader_order(uint64_t seed, uint64_t epoch, size_t count);

/*
 * The 2 * AUGMENT_DRAWS numbers from which a picture's views are made in an epoch: those of view 1, then of
 * view 2.
 */
void loader_draws(uint64_t seed, uint64_t epoch, uint64_t picture, double *draws);

#endif
