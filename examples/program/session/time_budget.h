/*
 * A run's length as a time: `cribo pretrain --time 1h`. Steps are timed before the run begins, and the run
 * gets as many as fit into the time that is left, so that its schedules end when the time does.
 */
#ifndef TIME_BUDGET_H
#define TIME_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

/* The longest budget, in seconds. */
#define TIME_BUDGET_MOST (366.0 * 86400)

enum { TIME_TEXT = 160 };

/* What a run's length follows from; recorded in its checkpoints and config.json. */
struct time_plan {
    double budget;           /* seconds; 0: the length was not given as a time */
    double seconds_per_step; /* as measured */
    int64_t measured;        /* the number of steps that were timed */
    int64_t steps;           /* of the run */
};

/* Parses "90s", "20m", "1h", "1h30m", "2d"; false: none of these, or longer than TIME_BUDGET_MOST. */
bool time_parse(const char *text, double *seconds);

/* The same text of whole seconds: "1h30m". */
void time_print(char text[TIME_TEXT], double seconds);

/*
 * The measurement: TIME_UNCOUNTED steps, which take longer than others, and then steps that are counted in
 * plan->measured, until time_goes_on is false after `spent` seconds of them: for about a thirtieth of the
 * budget, at most half a minute.
 */
enum { TIME_UNCOUNTED = 2 };
bool time_goes_on(const struct time_plan *plan, double spent);

/* Sets plan->steps: those that fit into the budget after `spent` seconds of it, at least 1. */
void time_plan_steps(struct time_plan *plan, double spent);

/* The plan as text for a checkpoint, with its terminating zero; and back: "" is a plan with budget 0. */
void time_plan_print(const struct time_plan *plan, char text[TIME_TEXT]);
bool time_plan_read(struct time_plan *plan, const char *text);

#endif
