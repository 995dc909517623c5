/*
 * Objectives for the tests: small settings, and batches of tokens that are functions of a number. Through
 * public functions alone. Every failure here ends the test.
 */
#ifndef TESTS_OBJECTIVE_H
#define TESTS_OBJECTIVE_H

#include "support/training.h"

/* 9 tokens of 16 numbers, 5 clusters, batches of up to 5 images in micro-batches of 2; as training_config. */
cribo_objective_config objective_config(void);

cribo_objective *objective_begin(const cribo_objective_config *config, int64_t threads);

/* The tokens of teacher and student of batch `number`; both views look alike, and so do both networks. */
typedef struct token_batch {
    cribo_objective_batch teacher; /* these point into what follows */
    cribo_objective_chunk student; /* of the whole batch */
    float *tokens;                 /* [2, B, 2, N + 1, D] teacher's, student's: global vector, then tokens */
    float *gradients;              /* [B, 2, N + 1, D] of the student's */
    float *positions;              /* [B, 2, N, 2] */
} token_batch;
token_batch token_batch_of(const cribo_objective_config *config, int64_t images, uint64_t number);
void token_batch_free(token_batch *batch);

/* Images first ... first + images - 1 of the student's. */
cribo_objective_chunk token_chunk(
    const cribo_objective_config *config, const token_batch *batch, int64_t first, int64_t images);

/* One step on batch `number` of batch_size images, learned in one chunk; the report's loss. */
double objective_step(cribo_objective *objective, const cribo_objective_config *config, uint64_t number);

/* The objectives remember the same, bit for bit: heads, moments, centres, bank, steps. */
bool objective_same(cribo_objective *a, cribo_objective *b);

#endif
