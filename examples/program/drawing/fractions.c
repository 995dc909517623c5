/* See fractions.h. */
#include "drawing/fractions.h"

#include "drawing/chart.h"

enum { WIDTH = 900, HEIGHT = 520 };

bool fractions_draw(
    const char *path, const struct run_summary *summaries, size_t count, struct problem *problem)
{
    double share[MAX_RUNS], mean[MAX_RUNS], low[MAX_RUNS], high[MAX_RUNS];
    struct sheet sheet = {0};
    if (count < 2) return problem_set(problem, "%s: a plot needs memories of at least two sizes", path);
    for (size_t i = 0; i < count; i++) {
        share[i] = summaries[i].fraction;
        mean[i] = summaries[i].mean;
        low[i] = mean[i] - summaries[i].deviation;
        high[i] = mean[i] + summaries[i].deviation;
    }
    struct chart chart = {.title = "Mean IoU by the share of the pictures in memory",
        .note = "with one standard deviation of the runs to both sides",
        .x_label = "share of the pictures",
        .steps = share,
        .points = count,
        .lines = 3,
        .line = {{"mean", mean, sheet_colours[0], 0}, {"mean - deviation", low, sheet_soft, 0},
            {"mean + deviation", high, sheet_soft, 0}},
        .percent = true};
    enum sheet_format format;
    bool drawn = (sheet_format_of(path, &format) ||
                     problem_set(problem, "%s: the name of a picture must end in .png or .svg", path)) &&
                 sheet_make(&sheet, format, WIDTH, HEIGHT, problem) &&
                 (chart_draw(&sheet, 0, 0, WIDTH, HEIGHT, &chart) ||
                     problem_set(problem, "%s: nothing to plot", path)) &&
                 sheet_write(&sheet, path, problem);
    sheet_free(&sheet);
    return drawn;
}
