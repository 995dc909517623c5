/* See time_budget.h. */
#include "session/time_budget.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The share of the budget that steps get; the rest is for measurements of view retrieval, drawings and saves.
 */
#define SHARE_OF_STEPS 0.95

enum { AT_LEAST = 3 };
#define SHARE_OF_MEASUREMENT 0.03
#define LONGEST_MEASUREMENT 30.0

static double unit_of(char letter)
{
    switch (letter) {
    case 's': return 1;
    case 'm': return 60;
    case 'h': return 3600;
    case 'd': return 86400;
    default: return 0;
    }
}

bool time_parse(const char *text, double *seconds)
{
    double unit = INFINITY;
    *seconds = 0;
    do {
        char *end;
        if (*text < '0' || *text > '9') return false; /* strtod takes signs, spaces and names, too */
        double value = strtod(text, &end), before = unit;
        unit = unit_of(*end);
        if (!(unit > 0 && unit < before)) return false;
        *seconds += value * unit;
        text = end + 1;
    } while (*text);
    return *seconds >= 1 && *seconds <= TIME_BUDGET_MOST;
}

void time_print(char text[TIME_TEXT], double seconds)
{
    static const char letters[] = "dhms";
    int64_t left = llround(seconds);
    int length = 0;
    for (int i = 0; letters[i]; i++) {
        int64_t unit = (int64_t)unit_of(letters[i]);
        if (left >= unit)
            length += snprintf(
                text + length, (size_t)(TIME_TEXT - length), "%lld%c", (long long)(left / unit), letters[i]);
        left %= unit;
    }
    if (length == 0) snprintf(text, TIME_TEXT, "0s");
}

bool time_goes_on(const struct time_plan *plan, double spent)
{
    return plan->measured < AT_LEAST ||
           spent < fmin(SHARE_OF_MEASUREMENT * plan->budget, LONGEST_MEASUREMENT);
}

void time_plan_steps(struct time_plan *plan, double spent)
{
    double steps = floor((SHARE_OF_STEPS * plan->budget - spent) / plan->seconds_per_step);
    plan->steps = steps >= 1 ? (int64_t)fmin(steps, 1e12) : 1;
}

void time_plan_print(const struct time_plan *plan, char text[TIME_TEXT])
{
    text[0] = '\0';
    if (plan->budget > 0)
        snprintf(text, TIME_TEXT, "%a %a %lld %lld", plan->budget, plan->seconds_per_step,
            (long long)plan->measured, (long long)plan->steps);
}

bool time_plan_read(struct time_plan *plan, const char *text)
{
    long long measured, steps;
    int used = 0;
    *plan = (struct time_plan){0};
    if (!text[0]) return true;
    if (sscanf(text, "%la %la %lld %lld%n", &plan->budget, &plan->seconds_per_step, &measured, &steps,
            &used) != 4 ||
        text[used] || !(plan->budget > 0 && plan->seconds_per_step > 0 && measured > 0 && steps > 0))
        return false;
    plan->measured = measured;
    plan->steps = steps;
    return true;
}
