/*
 * A description of a failure for the user: functions of the program that can fail return false and set a
 * problem, which names the wrong file or argument.
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
