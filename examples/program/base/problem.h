/*
 * A failure, described for a person: functions of the program that can fail return false and fill in a
 * problem that names the file or argument at fault.
 */
#ifndef PROBLEM_H
#define PROBLEM_H

#include <stdbool.h>

struct problem {
    char text[1024];
};

/* Writes the message and returns false, so that a function can `return problem_set(...)`. */
bool problem_set(struct problem *problem, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The message of the library's call that has just failed. */
bool problem_library(struct problem *problem);

/* An allocation has failed. */
bool problem_no_memory(struct problem *problem);

#endif
