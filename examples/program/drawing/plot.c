/*
 * See plot.h. Steps are gathered into at most MOST_POINTS points, each the mean of its steps; a smooth curve
 * is the mean over a twentieth of the points.
 */
#include "drawing/plot.h"

#include "drawing/canvas.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_POINTS = 800,
    WIDTH = 1200,
    HEIGHT = 720,
    LEFT = 100,
    RIGHT = 30,
    TOP = 90,
    BOTTOM = 80,
    SCALE = 2
};

static const struct colour white = {255, 255, 255}, ink = {40, 40, 40}, faint = {226, 226, 226};

static const struct {
    const char *name;
    struct colour colour;
} curves[HISTORY_CURVES] = {
    {"mean of the losses", {40, 40, 40}},
    {"[CLS]", {31, 119, 180}},
    {"objects, other view", {214, 102, 14}},
    {"objects, other image", {44, 140, 44}},
};

bool history_add(struct history *history, const cribo_report *report, struct problem *problem)
{
    if (history->count == history->capacity) {
        size_t capacity = history->capacity ? 2 * history->capacity : 1024;
        void *losses = realloc(history->losses, capacity * sizeof *history->losses);
        if (!losses) return problem_set(problem, "no memory for the history of losses");
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

/* The drawing area and what it shows. */
struct axes {
    struct image canvas;
    size_t steps, points;
    double low, high; /* of the losses */
};

static double place_x(const struct axes *axes, double step)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * step / (double)(axes->steps > 1 ? axes->steps - 1 : 1);
}

static double place_y(const struct axes *axes, double loss)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (axes->high - loss) / (axes->high - axes->low);
}

/* A step of 1, 2 or 5 times a power of ten that divides the range into at most `most` parts. */
static double tick_step(double range, int most)
{
    double power = pow(10, floor(log10(range / most)));
    static const double factors[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++)
        if (range / (power * factors[i]) <= most) return power * factors[i];
    return power * 10;
}

static size_t first_step(const struct axes *axes, size_t point)
{
    return point * axes->steps / axes->points;
}

/* The mean over the points around this one; NaN where the curve is not there at all. */
static double smooth(
    const struct axes *axes, const struct history *history, int curve, size_t point, size_t reach)
{
    if (isnan(history_mean(history, curve, first_step(axes, point), first_step(axes, point + 1)))) return NAN;
    size_t after = axes->points - 1 - point;
    size_t left = point < reach ? point : reach, right = after < reach ? after : reach;
    /* The same to both sides, or the ends would lag; but not so few there that the ends are noise. */
    size_t half = left < right ? left : right, least = reach / 3;
    if (half < least) {
        left = left < least ? left : least;
        right = right < least ? right : least;
    } else {
        left = right = half;
    }
    return history_mean(history, curve, first_step(axes, point - left), first_step(axes, point + right + 1));
}

static void find_range(struct axes *axes, const struct history *history)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < axes->points; i++) {
        for (int k = 0; k < HISTORY_CURVES; k++) {
            double loss = history_mean(history, k, first_step(axes, i), first_step(axes, i + 1));
            if (isnan(loss)) continue;
            low = fmin(low, loss);
            high = fmax(high, loss);
        }
    }
    double margin = high > low ? (high - low) * 0.05 : 1; /* also when no loss was finite */
    axes->low = isfinite(low) ? low - margin : 0;
    axes->high = isfinite(high) ? high + margin : 1;
}

static void draw_losses_axis(struct axes *axes)
{
    char label[32];
    double step = tick_step(axes->high - axes->low, 8);
    for (double tick = ceil(axes->low / step) * step; tick <= axes->high; tick += step) {
        double y = place_y(axes, tick);
        canvas_line(&axes->canvas, LEFT, y, WIDTH - RIGHT, y, 1, faint, 1);
        snprintf(label, sizeof label, "%.4g", fabs(tick) < step / 2 ? 0 : tick);
        canvas_text(
            &axes->canvas, LEFT - 12 - canvas_text_width(label, SCALE), (int)y - 7, SCALE, ink, label);
    }
    canvas_text(
        &axes->canvas, LEFT - canvas_text_width("loss", SCALE) / 2 - 40, TOP - 30, SCALE, ink, "loss");
}

static void draw_steps_axis(struct axes *axes)
{
    char label[32];
    double most = (double)axes->steps - 1, step = fmax(1, tick_step(fmax(most, 1), 8));
    for (double tick = 0; tick <= most; tick += step) {
        double x = place_x(axes, tick);
        canvas_line(&axes->canvas, x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 6, 1, ink, 1);
        snprintf(label, sizeof label, "%.0f", tick);
        canvas_text(&axes->canvas, (int)x - canvas_text_width(label, SCALE) / 2, HEIGHT - BOTTOM + 14, SCALE,
            ink, label);
    }
    int middle = (LEFT + WIDTH - RIGHT) / 2;
    canvas_text(
        &axes->canvas, middle - canvas_text_width("step", SCALE) / 2, HEIGHT - 32, SCALE, ink, "step");
}

static void draw_frame(struct axes *axes)
{
    canvas_line(&axes->canvas, LEFT, TOP, LEFT, HEIGHT - BOTTOM, 2, ink, 1);
    canvas_line(&axes->canvas, LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, 2, ink, 1);
}

static void draw_curve(
    struct axes *axes, const struct history *history, int curve, size_t reach, double thickness, double share)
{
    double last_x = 0, last_y = NAN;
    for (size_t i = 0; i < axes->points; i++) {
        double x = place_x(axes, ((double)first_step(axes, i) + (double)first_step(axes, i + 1) - 1) / 2);
        double y = place_y(axes, smooth(axes, history, curve, i, reach));
        if (!isnan(y) && !isnan(last_y))
            canvas_line(&axes->canvas, last_x, last_y, x, y, thickness, curves[curve].colour, share);
        last_x = x;
        last_y = y;
    }
}

static void draw_legend(struct axes *axes)
{
    int x = LEFT;
    for (int k = 0; k < HISTORY_CURVES; k++) {
        canvas_line(&axes->canvas, x, 37, x + 36, 37, 4, curves[k].colour, 1);
        canvas_text(&axes->canvas, x + 46, 30, SCALE, ink, curves[k].name);
        x += 46 + canvas_text_width(curves[k].name, SCALE) + 40;
    }
}

bool plot_losses(const struct history *history, const char *path, struct problem *problem)
{
    if (history->count < 2) return problem_set(problem, "%s: fewer than two steps to draw", path);
    struct axes axes = {.steps = history->count};
    axes.points = history->count < MOST_POINTS ? history->count : MOST_POINTS;
    if (!image_make(&axes.canvas, WIDTH, HEIGHT, 3, problem)) return false;
    canvas_fill(&axes.canvas, 0, 0, WIDTH, HEIGHT, white);
    find_range(&axes, history);
    draw_losses_axis(&axes);
    draw_steps_axis(&axes);
    for (int k = 0; k < HISTORY_CURVES; k++) draw_curve(&axes, history, k, 0, 1.2, 0.3);
    for (int k = 0; k < HISTORY_CURVES; k++) draw_curve(&axes, history, k, axes.points / 40, 3, 1);
    draw_frame(&axes);
    draw_legend(&axes);
    bool written = image_write_png(&axes.canvas, path, problem);
    image_free(&axes.canvas);
    return written;
}
