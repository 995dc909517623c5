/*
 * How the example programs end when something is wrong: MUST for a call of the library, EXPECT for a fact
 * about its result. Both stay in release builds, unlike assert.
 */
#ifndef EXAMPLES_CHECK_H
#define EXAMPLES_CHECK_H

#include <cribo/cribo.h>

#include <stdio.h>
#include <stdlib.h>

/* The message belongs to the failure just seen in this thread: read it before the next call. */
#define MUST(call) \
    do { \
        cribo_status status_ = (call); \
        if (status_ != CRIBO_OK) { \
            fprintf(stderr, "%s: %s\n", cribo_status_name(status_), cribo_last_error()); \
            exit(EXIT_FAILURE); \
        } \
    } while (0)

#define EXPECT(truth) \
    do { \
        if (!(truth)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #truth); \
            exit(EXIT_FAILURE); \
        } \
    } while (0)

#endif
