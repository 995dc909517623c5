/*
 * Training runs for the tests: small settings, batches that are functions of a number, and everything a
 * trainer remembers as one block of bytes. Through public functions alone. Every failure here ends the test.
 */
#ifndef TESTS_TRAINING_H
#define TESTS_TRAINING_H

#include "cribo/cribo.h"

#include <check.h>
#include <stdbool.h>

#define OK(call) ck_assert_msg((call) == CRIBO_OK, "%s: %s", #call, cribo_last_error())

/* Fails with `status` and a message that contains `part`. */
#define REFUSED(call, status, part) \
    do { \
        ck_assert_str_eq(cribo_status_name(call), cribo_status_name(status)); \
        ck_assert_msg(strstr(cribo_last_error(), part) != NULL, "%s: \"%s\" lacks \"%s\"", #call, \
            cribo_last_error(), part); \
    } while (0)

/*
 * Views of 3 x 3 patches, 3 blocks, 5 clusters, a bank of 7 images, batches of up to 5 images in
 * micro-batches of 2, two epochs of 4 steps; the cross-image loss is computed and the last layers are trained
 * from the first step.
 */
cribo_trainer_config training_config(void);

/* Assigns settings, "name=value name=value". */
void training_set(cribo_trainer_config *config, const char *settings);

/* Default hooks but for the threads. */
cribo_runtime training_runtime(int64_t threads);

cribo_trainer *training_begin(const cribo_trainer_config *config, int64_t threads);

/*
 * Batch `number`: patches of plain colour with noise; view 2 shows nearly what view 1 shows. Without ids and
 * seed tokens.
 */
typedef struct training_batch {
    cribo_batch batch; /* points into what follows */
    float *pixels;     /* [2, B, 3, S, S] */
    float *local;      /* [B, local_crops, 3, s, s]; NULL: none */
    cribo_crop *crops; /* [2, B] */
} training_batch;
training_batch training_batch_of(const cribo_trainer_config *config, int64_t images, uint64_t number);
void training_batch_free(training_batch *batch);

/* One step on batch `number` of batch_size images; the report's loss. */
double training_step(cribo_trainer *trainer, const cribo_trainer_config *config, uint64_t number);

/* Steps on batches number 0 ... steps - 1. */
void training_steps(cribo_trainer *trainer, const cribo_trainer_config *config, int steps);

/* Weights of both networks, moments, update counts, centres, bank and step count. */
typedef struct training_state {
    unsigned char *bytes;
    size_t count;
} training_state;
training_state training_state_of(cribo_trainer *trainer);
void training_state_free(training_state *state);
bool training_state_equal(const training_state *a, const training_state *b);

/* The trainers remember the same, bit for bit. */
bool training_same(cribo_trainer *a, cribo_trainer *b);

/* The bank of `to` becomes that of `from`, which has the same settings. */
void training_copy_bank(cribo_trainer *from, cribo_trainer *to);

/* Parameter `index` of a trainer's student; false past the last. */
bool training_parameter(cribo_trainer *trainer, int64_t index, cribo_parameter *parameter);

#endif
