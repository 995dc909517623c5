/* See chart.h. Colours and fonts are the page's: lines carry the classes c0 ... c6. */
#include "drawing/chart.h"

#include <math.h>
#include <stdbool.h>

enum { LEFT = 62, RIGHT = 14, TOP = 12, BOTTOM = 30, HEIGHT = 230 };

struct frame {
    double x0, x1, y0, y1; /* the values at the edges */
    int width;
};

void chart_text(FILE *page, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            fputs("&lt;", page);
        else if (*text == '>')
            fputs("&gt;", page);
        else if (*text == '&')
            fputs("&amp;", page);
        else
            fputc(*text, page);
    }
}

static double place_x(const struct frame *f, double value)
{
    return LEFT + (f->width - LEFT - RIGHT) * (value - f->x0) / (f->x1 - f->x0);
}

static double place_y(const struct frame *f, double value)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (f->y1 - value) / (f->y1 - f->y0);
}

/* 1, 2 or 5 times a power of ten that cuts the range into at most `most` parts. */
static double tick_step(double range, int most)
{
    double power = pow(10, floor(log10(range / most)));
    static const double factors[] = {1, 2, 5};
    for (int i = 0; i < 3; i++)
        if (range / (power * factors[i]) <= most) return power * factors[i];
    return power * 10;
}

/* The values' range with a little room; false without two points. */
static bool find_frame(const struct chart *chart, struct frame *f)
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
    double floor_at =
        low >= 0 && low - room < 0 ? 0 : low - room; /* what is never negative shows no room below 0 */
    *f = (struct frame){
        chart->steps[0], chart->steps[chart->points - 1], floor_at, high + room, chart->wide ? 1080 : 530};
    return f->x1 > f->x0;
}

static void write_grid(FILE *page, const struct chart *chart, const struct frame *f)
{
    double step = tick_step(f->y1 - f->y0, 5), factor = chart->percent > 0 ? 100 : 1;
    for (double tick = ceil(f->y0 / step) * step; tick <= f->y1; tick += step) {
        double y = place_y(f, tick);
        fprintf(page,
            "<line class=grid x1=%d x2=%d y1=%.1f y2=%.1f /><text x=%d y=%.1f text-anchor=end>%.4g%s</text>",
            LEFT, f->width - RIGHT, y, y, LEFT - 8, y + 4, fabs(tick) < step / 2 ? 0 : tick * factor,
            chart->percent > 0 ? " %" : "");
    }
    step = fmax(1, tick_step(f->x1 - f->x0, chart->wide ? 10 : 5));
    for (double tick = ceil(f->x0 / step) * step; tick <= f->x1; tick += step)
        fprintf(page, "<text x=%.1f y=%d text-anchor=middle>%.0f</text>", place_x(f, tick), HEIGHT - 8, tick);
}

/*
 * The mean over `reach` points to both sides; towards the ends over as many as the shorter side has, or the
 * curve would lag, but not so few that the ends are noise.
 */
static double smoothed(const struct chart *chart, const double *values, size_t i, size_t reach)
{
    size_t before = i < reach ? i : reach,
           after = chart->points - 1 - i < reach ? chart->points - 1 - i : reach;
    size_t half = before < after ? before : after, least = reach / 3, count = 0;
    double sum = 0;
    if (!isfinite(values[i])) return NAN;
    before = before < least ? before : half > least ? half : least;
    after = after < least ? after : half > least ? half : least;
    for (size_t j = i - before; j <= i + after; j++) {
        if (!isfinite(values[j])) continue;
        sum += values[j];
        count++;
    }
    return sum / (double)count;
}

static void write_line(FILE *page, const struct chart *chart, const struct frame *f,
    const struct chart_line *line, size_t reach, const char *weight)
{
    bool open = false;
    for (size_t i = 0; i < chart->points; i++) {
        double value = smoothed(chart, line->values, i, reach);
        if (isfinite(value)) {
            if (!open) fprintf(page, "<polyline class='c%d %s' points='", line->colour, weight);
            fprintf(page, "%.1f,%.1f ", place_x(f, chart->steps[i]), place_y(f, value));
            open = true;
        } else if (open) {
            fputs("' />", page);
            open = false;
        }
    }
    if (open) fputs("' />", page);
}

/* Where the line that is drawn strongest ends. */
static double last_value(const struct chart *chart, const struct chart_line *line)
{
    for (size_t i = chart->points; i-- > 0;)
        if (isfinite(line->values[i])) return smoothed(chart, line->values, i, line->smooth);
    return NAN;
}

static void write_legend(FILE *page, const struct chart *chart)
{
    fputs("<p class=legend>", page);
    for (int k = 0; k < chart->lines; k++) {
        double last = last_value(chart, &chart->line[k]);
        if (isnan(last)) continue;
        fprintf(page, "<span><i class=b%d></i>", chart->line[k].colour);
        chart_text(page, chart->line[k].name);
        fprintf(page, " <b>%.4g%s</b></span> ", last * (chart->percent > 0 ? 100 : 1),
            chart->percent > 0 ? " %" : "");
    }
    fputs("</p>", page);
}

void chart_write(FILE *page, const struct chart *chart)
{
    struct frame f;
    if (!find_frame(chart, &f)) return;
    fprintf(page, "<figure%s><figcaption>", chart->wide ? " class=wide" : "");
    chart_text(page, chart->title);
    fputs("</figcaption>", page);
    write_legend(page, chart);
    fprintf(page, "<svg viewBox='0 0 %d %d' role=img>", f.width, HEIGHT);
    write_grid(page, chart, &f);
    for (int k = 0; k < chart->lines; k++) {
        const struct chart_line *line = &chart->line[k];
        write_line(page, chart, &f, line, 0, line->smooth ? "pale" : "");
        if (line->smooth) write_line(page, chart, &f, line, line->smooth, "");
    }
    fputs("</svg>", page);
    if (chart->note) {
        fputs("<p class=note>", page);
        chart_text(page, chart->note);
        fputs("</p>", page);
    }
    fputs("</figure>\n", page);
}
