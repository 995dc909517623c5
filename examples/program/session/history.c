/*
 * See history.h. For its picture, steps are gathered into at most MAX_POINTS points, each the mean of its
 * steps; a smooth curve is fitted to a twentieth of the points.
 */
#include "session/history.h"

#include "drawing/chart.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_POINTS = 800, WIDTH = 1200, HEIGHT = 640, RETRIEVAL_HEIGHT = 360 };

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

bool history_add_retrieval(struct history *history, double step, double percent, struct problem *problem)
{
    if (history->retrieval_count == history->retrieval_capacity) {
        size_t capacity = history->retrieval_capacity ? 2 * history->retrieval_capacity : 64;
        void *retrievals = realloc(history->retrievals, capacity * sizeof *history->retrievals);
        if (!retrievals) return problem_no_memory(problem);
        history->retrievals = retrievals;
        history->retrieval_capacity = capacity;
    }
    history->retrievals[history->retrieval_count++] = (struct history_retrieval){step, percent};
    return true;
}

double history_retrieval_start(const struct history *history)
{
    return history->retrieval_count && history->retrievals[0].step <= 0 ? history->retrievals[0].percent
                                                                        : NAN;
}

double history_retrieval_newest(const struct history *history)
{
    return history->retrieval_count ? history->retrievals[history->retrieval_count - 1].percent : NAN;
}

bool history_retrieval_rose(const struct history *history)
{
    size_t taken = 0;
    double start = history_retrieval_start(history), newest = history_retrieval_newest(history), sum = 0;
    /* The first entry is the start. */
    for (size_t i = history->retrieval_count; i > 1 && taken < 3; i--, taken++)
        sum += history->retrievals[i - 1].percent;
    return taken == 0 || !isfinite(start) || newest > start || sum / (double)taken > start;
}

void history_free(struct history *history)
{
    free(history->losses);
    free(history->retrievals);
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

/* Draws the losses into the upper part of the sheet. */
static bool draw_losses(const struct history *history, struct sheet *sheet, struct problem *problem)
{
    size_t points = history->count < MAX_POINTS ? history->count : MAX_POINTS;
    double *steps = malloc((1 + HISTORY_CURVES) * (points + 1) * sizeof *steps), *values = steps + points;
    struct chart chart = {.title = "Losses", .steps = steps, .points = points, .lines = HISTORY_CURVES};
    chart.note =
        "Cross-entropies between teacher and student. Pale: means of steps; strong and in the legend: "
        "smoothed.";
    if (!steps) return problem_no_memory(problem);
    gather(history, points, steps, values);
    for (int k = 0; k < HISTORY_CURVES; k++)
        chart.line[k] = (struct chart_line){
            history_names[k], values + (size_t)k * points, k ? sheet_colours[k - 1] : sheet_ink, points / 40};
    bool drawn = chart_draw(sheet, 0, 0, WIDTH, HEIGHT, &chart) ||
                 problem_set(problem, "too few steps to draw their losses");
    free(steps);
    return drawn;
}

static bool draw_retrieval(const struct history *history, struct sheet *sheet, struct problem *problem)
{
    size_t points = history->retrieval_count;
    double *steps = malloc(3 * points * sizeof *steps), *values = steps + points, *start = values + points;
    if (!steps) return problem_no_memory(problem);
    for (size_t i = 0; i < points; i++) {
        steps[i] = history->retrievals[i].step;
        values[i] = history->retrievals[i].percent / 100;
        start[i] = history_retrieval_start(history) / 100;
    }
    struct chart chart = {.title = "View retrieval",
        .note =
            "Patches that find their place in another view of their picture, among those of all pictures.",
        .steps = steps,
        .points = points,
        .percent = true,
        .lines = 2,
        .line = {{"view retrieval", values, sheet_colours[0], 0}, {"before training", start, sheet_ink, 0}}};
    chart_draw(sheet, 0, HEIGHT, WIDTH, RETRIEVAL_HEIGHT, &chart);
    free(steps);
    return true;
}

bool history_draw(const struct history *history, const char *path, struct problem *problem)
{
    struct sheet sheet = {0};
    bool both = history->retrieval_count >= 2;
    bool drawn = sheet_make(&sheet, SHEET_PNG, WIDTH, both ? HEIGHT + RETRIEVAL_HEIGHT : HEIGHT, problem) &&
                 draw_losses(history, &sheet, problem) &&
                 (!both || draw_retrieval(history, &sheet, problem)) && sheet_write(&sheet, path, problem);
    sheet_free(&sheet);
    return drawn;
}
