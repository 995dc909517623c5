/*
 * Messages about pictures that cannot be read: the first few by name, later ones counted by ending and
 * reason, so that a source with many of them does not hide other messages.
 */
#ifndef COMPLAINTS_H
#define COMPLAINTS_H

#include "pictures/left_out.h"

#include <pthread.h>

enum { COMPLAINTS_SAID = 5 };

struct complaints {
    pthread_mutex_t lock;
    size_t said;
    struct left_out rest;
};

/* To be called first. Then any number of threads may call the functions below. */
void complaints_init(struct complaints *complaints);

/* Writes the warning "NAME: REASON; THEN", or counts it. */
void complaints_add(struct complaints *complaints, const char *name, const char *reason, const char *then);

/* Writes a warning with the counts, if there are any; call it at the end. */
void complaints_say_rest(struct complaints *complaints);

#endif
