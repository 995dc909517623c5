/* See chart.h. */
#include "drawing/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { EDGE = 16, LEGEND_LINE = 22 };

/* The area of the curves and the values at its edges. */
struct frame {
    double left, right, top, bottom; /* pixels */
    double x0, x1, y0, y1;
};

/* --- smoothing --- */

/* The value at place `at` of the straight line fitted to y[first ... end - 1], by their numbers. */
static double fitted(const double *y, size_t first, size_t end, size_t at)
{
    double count = (double)(end - first), mean = 0, slope = 0, spread = 0;
    double middle = ((double)first + (double)end - 1) / 2;
    for (size_t i = first; i < end; i++) mean += y[i] / count;
    for (size_t i = first; i < end; i++) {
        slope += ((double)i - middle) * (y[i] - mean);
        spread += ((double)i - middle) * ((double)i - middle);
    }
    return mean + (spread > 0 ? slope / spread * ((double)at - middle) : 0);
}

void chart_smooth(const double *values, size_t count, size_t reach, double *smoothed)
{
    size_t finite = 0, window = 2 * reach + 1;
    double *kept = malloc((count + 1) * sizeof *kept);
    for (size_t i = 0; kept && i < count; i++)
        if (isfinite(values[i])) kept[finite++] = values[i];
    if (window > finite) window = finite;
    for (size_t i = 0, at = 0; i < count; i++) {
        smoothed[i] = NAN;
        if (!kept || !isfinite(values[i])) continue;
        size_t first = at < window / 2 ? 0 : at - window / 2;
        if (first + window > finite) first = finite - window;
        smoothed[i] = fitted(kept, first, first + window, at++);
    }
    free(kept);
}

/* --- axes --- */

static double place_x(const struct frame *f, double value)
{
    return f->left + (f->right - f->left) * (value - f->x0) / (f->x1 - f->x0);
}

static double place_y(const struct frame *f, double value)
{
    return f->top + (f->bottom - f->top) * (f->y1 - value) / (f->y1 - f->y0);
}

/* 1, 2 or 5 times a power of ten that cuts the range into at most `most` parts. */
static double tick_step(double range, double most)
{
    static const double factors[] = {1, 2, 5};
    double power = pow(10, floor(log10(range / most)));
    for (int i = 0; i < 3; i++)
        if (range / (power * factors[i]) <= most) return power * factors[i];
    return power * 10;
}

/* A number with enough digits to distinguish ticks of this distance. */
static void print_tick(char text[32], double value, double step, bool percent)
{
    double scale = percent ? 100 : 1, size = step * scale;
    int digits = (int)fmax(0, -floor(log10(size) + 1e-9));
    value = fabs(value) < step / 2 ? 0 : value * scale;
    if (digits > 4 && value != 0)
        snprintf(text, 32, "%.3g%s", value, percent ? " %" : "");
    else
        snprintf(text, 32, "%.*f%s", digits > 4 ? 0 : digits, value, percent ? " %" : "");
}

/* The values' range with a little room; false without two numbers. */
static bool find_range(const struct chart *chart, struct frame *f)
{
    double low = INFINITY, high = -INFINITY;
    size_t found = 0;
    for (int k = 0; k < chart->lines; k++)
        for (size_t i = 0; i < chart->points; i++) {
            double value = chart->line[k].values[i];
            if (!isfinite(value)) continue;
            low = fmin(low, value);
            high = fmax(high, value);
            found++;
        }
    if (found < 2 || chart->points < 2) return false;
    double room = high > low ? 0.06 * (high - low) : fmax(fabs(high) * 0.1, 1e-6);
    f->x0 = chart->steps[0];
    f->x1 = chart->steps[chart->points - 1];
    f->y0 = low >= 0 && low - room < 0 ? 0 : low - room; /* no room below 0 if no value is negative */
    f->y1 = high + room;
    return f->x1 > f->x0;
}

/* Grid and numbers of the values; the widest number determines the left end of the area. */
static void draw_values(struct sheet *sheet, struct frame *f, const struct chart *chart)
{
    double step = tick_step(f->y1 - f->y0, fmax(2, (f->bottom - f->top) / 42)), widest = 0;
    char text[32];
    for (double tick = ceil(f->y0 / step) * step; tick <= f->y1; tick += step) {
        print_tick(text, tick, step, chart->percent);
        widest = fmax(widest, sheet_text_width(sheet, SHEET_SMALL, text));
    }
    f->left += widest + 10;
    for (double tick = ceil(f->y0 / step) * step; tick <= f->y1; tick += step) {
        double x[] = {f->left, f->right}, y[] = {place_y(f, tick), place_y(f, tick)};
        print_tick(text, tick, step, chart->percent);
        sheet_lines(sheet, 2, x, y, 1, sheet_faint, 1);
        sheet_text(sheet, f->left - 8, y[0] + 4.5, SHEET_SMALL, SHEET_RIGHT, sheet_soft, text);
    }
}

/* Numbers of the steps, the most that do not touch. */
static void draw_steps(struct sheet *sheet, const struct frame *f, const struct chart *chart)
{
    char text[32];
    double least = chart->x_label ? 0 : 1; /* steps are whole numbers */
    print_tick(text, f->x1, chart->x_label ? (f->x1 - f->x0) / 10 : 1, false);
    double apart = sheet_text_width(sheet, SHEET_SMALL, text) + 28;
    double step = fmax(least, tick_step(f->x1 - f->x0, fmax(1, (f->right - f->left) / apart)));
    for (double tick = ceil(f->x0 / step) * step; tick <= f->x1; tick += step) {
        double x[] = {place_x(f, tick), place_x(f, tick)}, y[] = {f->bottom, f->bottom + 4};
        print_tick(text, tick, step, false);
        sheet_lines(sheet, 2, x, y, 1, sheet_soft, 1);
        sheet_text(sheet, x[0], f->bottom + 18, SHEET_SMALL, SHEET_CENTRE, sheet_soft, text);
    }
    double x[] = {f->left, f->right}, y[] = {f->bottom, f->bottom};
    sheet_lines(sheet, 2, x, y, 1, sheet_soft, 1);
    sheet_text(sheet, (f->left + f->right) / 2, f->bottom + 36, SHEET_SMALL, SHEET_CENTRE, sheet_soft,
        chart->x_label ? chart->x_label : "step");
}

/* --- curves --- */

static void draw_curve(struct sheet *sheet, const struct frame *f, const struct chart *chart,
    const double *values, double *places, double thickness, struct colour colour, double opacity)
{
    double *x = places, *y = places + chart->points;
    size_t count = 0;
    for (size_t i = 0; i <= chart->points; i++) {
        if (i < chart->points && isfinite(values[i])) {
            x[count] = place_x(f, chart->steps[i]);
            y[count++] = place_y(f, values[i]);
        } else if (count) {
            sheet_lines(sheet, count, x, y, thickness, colour, opacity);
            count = 0;
        }
    }
}

static double last_finite(const double *values, size_t count)
{
    while (count > 0 && !isfinite(values[count - 1])) count--;
    return count ? values[count - 1] : NAN;
}

/*
 * Draws a line's sign, name and last value at (x, y); returns the x of the next one. Draws nothing when
 * measuring.
 */
static double draw_name(struct sheet *sheet, double x, double y, const struct chart_line *line, double last,
    bool percent, bool measure)
{
    char text[160];
    double xs[] = {x, x + 22}, ys[] = {y - 5, y - 5};
    snprintf(text, sizeof text, "%s  %.4g%s", line->name, percent ? 100 * last : last, percent ? " %" : "");
    if (!measure) {
        sheet_lines(sheet, 2, xs, ys, 3, line->colour, 1);
        sheet_text(sheet, x + 30, y, SHEET_SMALL, SHEET_LEFT, sheet_ink, text);
    }
    return x + 30 + sheet_text_width(sheet, SHEET_SMALL, text) + 24;
}

/* All names with their last values, in one or several rows; returns the y of the next row. */
static double draw_legend(struct sheet *sheet, double left, double right, double y, const struct chart *chart,
    const double *smoothed)
{
    double x = left;
    bool any = false;
    for (int k = 0; k < chart->lines; k++) {
        double last = last_finite(smoothed + (size_t)k * chart->points, chart->points);
        if (isnan(last)) continue;
        if (any && draw_name(sheet, x, y, &chart->line[k], last, chart->percent, true) - 24 > right) {
            x = left;
            y += LEGEND_LINE;
        }
        x = draw_name(sheet, x, y, &chart->line[k], last, chart->percent, false);
        any = true;
    }
    return y + LEGEND_LINE;
}

/* Smooths all curves; [lines][points], to be freed, with room for places behind. */
static double *smooth_all(const struct chart *chart)
{
    size_t points = chart->points;
    double *smoothed = malloc(((size_t)chart->lines + 2) * points * sizeof *smoothed);
    for (int k = 0; smoothed && k < chart->lines; k++)
        chart_smooth(chart->line[k].values, points, chart->line[k].smooth, smoothed + (size_t)k * points);
    return smoothed;
}

bool chart_draw(
    struct sheet *sheet, double x, double y, double width, double height, const struct chart *chart)
{
    struct frame f = {x + EDGE, x + width - EDGE, y + 30, y + height - 46, 0, 0, 0, 0};
    double *smoothed = find_range(chart, &f) ? smooth_all(chart) : NULL;
    if (!smoothed) return false;
    double *places = smoothed + (size_t)chart->lines * chart->points;
    sheet_title(sheet, x + EDGE, f.top, chart->title);
    f.top += LEGEND_LINE;
    if (chart->note) {
        sheet_text_within(sheet, x + EDGE, f.top, width - 2 * EDGE, SHEET_SMALL, sheet_soft, chart->note);
        f.top += LEGEND_LINE;
    }
    f.top = draw_legend(sheet, x + EDGE, x + width - EDGE, f.top, chart, smoothed);
    draw_values(sheet, &f, chart);
    draw_steps(sheet, &f, chart);
    for (int k = 0; k < chart->lines; k++)
        if (chart->line[k].smooth)
            draw_curve(sheet, &f, chart, chart->line[k].values, places, 1, chart->line[k].colour, 0.3);
    for (int k = 0; k < chart->lines; k++)
        draw_curve(
            sheet, &f, chart, smoothed + (size_t)k * chart->points, places, 2.2, chart->line[k].colour, 1);
    free(smoothed);
    return true;
}
