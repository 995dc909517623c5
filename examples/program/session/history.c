/*
 * See history.h. For its picture, steps are gathered into at most MAX_POINTS points, each the mean of its
 * steps; a smooth curve is fitted to a twentieth of the points.
 */
#include "session/history.h"

#include "drawing/chart.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_POINTS = 800, WIDTH = 1200, HEIGHT = 640 };

const char *const history_names[HISTORY_CURVES] = {
    "mean loss", "[CLS]", "objects, other view", "objects, other image"};

bool history_add(struct history *history, const cribo_report *report, struct problem *problem)
{
    if (history->count == history->capacity) {
        size_t capacity = history->capacity ? 2 * history->capacity : 1024;
        void *losses = realloc(history->losses, capacity * sizeof *history->losses);
        if (!losses) return problem_no_memory(problem);
        history->losses = losses;
        history->capacity = capacity;
    }
    double *losses = history->losses[history->count++];
    bool third = report->cross_image_on != 0;
    losses[0] = report->loss / (third ? 3 : 2);
    losses[1] = report->global_loss;
    losses[2] = report->cross_view_loss;
    losses[3] = third ? report->cross_image_loss : NAN;
    return true;
}

void history_free(struct history *history)
{
    free(history->losses);
    *history = (struct history){0};
}

double history_mean(const struct history *history, int curve, size_t first, size_t end)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = first; i < end && i < history->count; i++) {
        double loss = history->losses[i][curve];
        if (!isfinite(loss)) continue;
        sum += loss;
        count++;
    }
    return count ? sum / (double)count : NAN;
}

/* Means of the steps of each point: the steps' mean number, and the curves after each other. */
static void gather(const struct history *history, size_t points, double *steps, double *values)
{
    for (size_t i = 0; i < points; i++) {
        size_t first = i * history->count / points, end = (i + 1) * history->count / points;
        steps[i] = ((double)first + (double)end + 1) / 2; /* counted from 1 */
        for (int k = 0; k < HISTORY_CURVES; k++)
            values[(size_t)k * points + i] = history_mean(history, k, first, end);
    }
}

bool history_draw(const struct history *history, const char *path, struct problem *problem)
{
    size_t points = history->count < MAX_POINTS ? history->count : MAX_POINTS;
    double *steps = malloc((1 + HISTORY_CURVES) * (points + 1) * sizeof *steps), *values = steps + points;
    struct sheet sheet = {0};
    struct chart chart = {.title = "Losses", .steps = steps, .points = points, .lines = HISTORY_CURVES};
    chart.note =
        "Cross-entropies between teacher and student. Pale: means of steps; strong and in the legend: "
        "smoothed.";
    if (!steps) return problem_no_memory(problem);
    gather(history, points, steps, values);
    for (int k = 0; k < HISTORY_CURVES; k++)
        chart.line[k] = (struct chart_line){
            history_names[k], values + (size_t)k * points, k ? sheet_colours[k - 1] : sheet_ink, points / 40};
    bool drawn = sheet_make(&sheet, SHEET_PNG, WIDTH, HEIGHT, problem) &&
                 (chart_draw(&sheet, 0, 0, WIDTH, HEIGHT, &chart) ||
                     problem_set(problem, "too few steps to draw their losses")) &&
                 sheet_write(&sheet, path, problem);
    sheet_free(&sheet);
    free(steps);
    return drawn;
}
