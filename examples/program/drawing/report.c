/*
 * See report.h. The log is read twice, for its length and for means over at most POINTS stretches of it, so
 * memory does not grow with the run.
 */
#include "drawing/report.h"

#include "drawing/chart.h"
#include "pictures/folder.h"

#include <errno.h>
#include <glob.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

enum { POINTS = 400, PICTURES = 12 };

/* The numbers of a line of the log that are drawn. */
enum field {
    STEP,
    LOSS,
    GLOBAL,
    VIEW,
    IMAGE,
    IMAGE_ON,
    GRADIENT,
    RATE,
    DECAY,
    MOMENTUM,
    TEMPERATURE,
    OBJECT_TEMPERATURE,
    POSITION,
    OBJECTS,
    MATCHED,
    FILL,
    UNIFORM,
    ENTROPY,
    MEAN_ENTROPY,
    USED,
    DEVIATION,
    TEACH,
    CLUSTER,
    MATCH,
    LEARN,
    UPDATE,
    SPEED,
    FIELDS
};

static const char *const names[FIELDS] = {"step", "loss", "global_loss", "cross_view_loss",
    "cross_image_loss", "cross_image_on", "gradient_norm", "learning_rate", "weight_decay", "ema_momentum",
    "teacher_temperature", "object_teacher_temperature", "position_weight", "objects_per_image",
    "matched_share", "bank_fill", "uniform_loss", "teacher_entropy", "mean_teacher_entropy",
    "prototypes_used", "feature_deviation", "teach_ms", "cluster_ms", "match_ms", "learn_ms", "update_ms",
    "images_per_second"};

struct report {
    const char *run;
    FILE *page;
    size_t steps, points;
    double values[FIELDS][POINTS]; /* means */
    size_t counts[FIELDS][POINTS];
    json_t *config;      /* NULL: none */
    json_t *evaluations; /* array */
};

/* --- reading --- */

typedef bool line_function(struct report *report, json_t *line, size_t number);

/* Calls `take` for each line of a file that is an object of JSON; how many there were. -1: no such file. */
static int64_t read_lines(struct report *report, const char *name, line_function *take)
{
    char *path = path_join(report->run, name), *line = NULL;
    FILE *file = path ? fopen(path, "re") : NULL;
    size_t room = 0;
    int64_t count = file ? 0 : -1;
    for (ssize_t length; file && (length = getline(&line, &room, file)) > 0;) {
        json_t *root = json_loadb(line, (size_t)length, 0, NULL);
        if (json_is_object(root) && take(report, root, (size_t)count)) count++;
        json_decref(root);
    }
    if (file) fclose(file);
    free(line);
    free(path);
    return count;
}

/* A line of a step, or of a look after one; an update that was left out is no step. */
static bool is_step(struct report *report, json_t *line, size_t number)
{
    (void)report, (void)number;
    return json_is_integer(json_object_get(line, "step")) && !json_is_true(json_object_get(line, "skipped"));
}

static bool add_step(struct report *report, json_t *line, size_t number)
{
    if (!is_step(report, line, number) || number >= report->steps) return false;
    size_t point = number * report->points / report->steps;
    bool third = json_number_value(json_object_get(line, "cross_image_on")) > 0;
    for (int f = 0; f < FIELDS; f++) {
        json_t *value = json_object_get(line, names[f]);
        if (!json_is_number(value) || (!third && (f == IMAGE || f == MATCHED))) continue;
        report->values[f][point] += json_number_value(value);
        report->counts[f][point]++;
    }
    return true;
}

static bool add_evaluation(struct report *report, json_t *line, size_t number)
{
    return is_step(report, line, number) && json_array_append(report->evaluations, line) == 0;
}

static bool read_log(struct report *report, struct problem *problem)
{
    int64_t steps = read_lines(report, "log.jsonl", is_step);
    if (steps < 0) return problem_set(problem, "%s/log.jsonl: %s", report->run, strerror(errno));
    if (steps < 2) return problem_set(problem, "%s/log.jsonl: fewer than two steps to tell of", report->run);
    report->steps = (size_t)steps;
    report->points = report->steps < POINTS ? report->steps : POINTS;
    read_lines(report, "log.jsonl", add_step);
    for (int f = 0; f < FIELDS; f++)
        for (size_t i = 0; i < report->points; i++)
            report->values[f][i] =
                report->counts[f][i] ? report->values[f][i] / (double)report->counts[f][i] : NAN;
    return true;
}

static bool read_run(struct report *report, struct problem *problem)
{
    char *path = path_join(report->run, "config.json");
    report->config = path ? json_load_file(path, 0, NULL) : NULL;
    free(path);
    report->evaluations = json_array();
    if (!read_log(report, problem)) return false;
    read_lines(report, "evaluation.jsonl", add_evaluation);
    return true;
}

/* --- the page --- */

static const char head[] =
    "<!DOCTYPE html>\n<html lang=en><meta charset=utf-8><meta name=viewport "
    "content='width=device-width'>\n<style>\n"
    ":root{--ink:#22272e;--soft:#66707c;--line:#e3e7ec;--back:#fff;--card:#fafbfc;"
    "--p0:#1f6fb4;--p1:#d2660e;--p2:#2c8c3c;--p3:#8a4fbf;--p4:#b8324f;--p5:#22272e;--p6:#b3bac2}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6eaef;--soft:#9aa5b1;--line:#333b45;--back:#15191e;--"
    "card:#1b2027;"
    "--p0:#5aa9ea;--p1:#f0944a;--p2:#5fc06e;--p3:#b98be6;--p4:#ee6d87;--p5:#e6eaef;--p6:#5c6672}}\n"
    "body{margin:0 auto;padding:28px 24px 60px;max-width:1130px;font:15px/1.5 "
    "system-ui,sans-serif;color:var(--ink);"
    "background:var(--back)}\n"
    "h1{font-size:25px;margin:0}h2{font-size:18px;margin:38px 0 12px;padding-bottom:5px;border-bottom:1px "
    "solid var(--line)}\n"
    ".sub{color:var(--soft);margin:2px 0 20px;overflow-wrap:anywhere}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px}\n"
    ".tiles div{background:var(--card);border:1px solid var(--line);border-radius:7px;padding:10px "
    "14px;color:var(--soft);"
    "font-size:13px}.tiles b{display:block;color:var(--ink);font-size:21px;font-weight:600}\n"
    ".charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}.wide{grid-column:1/-1}\n"
    "@media(max-width:760px){.charts{grid-template-columns:1fr}}\n"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:7px;padding:12px "
    "14px;min-width:0}\n"
    "figcaption{font-weight:600}.legend{margin:2px 0 4px;font-size:13px;color:var(--soft)}.legend "
    "span{margin-right:14px;"
    "white-space:nowrap}.legend b{color:var(--ink);font-weight:600}.legend "
    "i{display:inline-block;width:16px;height:3px;"
    "border-radius:2px;margin-right:6px;vertical-align:middle}\n"
    ".note{margin:2px 0 0;font-size:12.5px;color:var(--soft)}svg{display:block;width:100%;height:auto}\n"
    "svg text{font:12px "
    "system-ui,sans-serif;fill:var(--soft)}.grid{stroke:var(--line)}polyline{fill:none;stroke-width:2;"
    "stroke-linejoin:round}.pale{opacity:.3;stroke-width:1.2}\n"
    ".c0{stroke:var(--p0)}.c1{stroke:var(--p1)}.c2{stroke:var(--p2)}.c3{stroke:var(--p3)}.c4{stroke:var(--p4)"
    "}"
    ".c5{stroke:var(--p5)}.c6{stroke:var(--p6);stroke-dasharray:5 4}\n"
    ".b0{background:var(--p0)}.b1{background:var(--p1)}.b2{background:var(--p2)}.b3{background:var(--p3)}"
    ".b4{background:var(--p4)}.b5{background:var(--p5)}.b6{background:var(--p6)}\n"
    "table{border-collapse:collapse;width:100%;font-size:14px}td,th{padding:3px 10px 3px 0;text-align:left;"
    "border-bottom:1px solid "
    "var(--line)}td.n{text-align:right;font-variant-numeric:tabular-nums;width:70px}\n"
    ".bar{height:11px;border-radius:3px;background:var(--p0);min-width:1px}\n"
    "img{max-width:100%;display:block;border-radius:4px;background:#fff}details{margin-top:34px}summary{"
    "cursor:pointer;"
    "font-weight:600}.settings{columns:3 240px;font-size:13px}.settings "
    "div{display:flex;justify-content:space-between;"
    "gap:12px;border-bottom:1px solid var(--line)}\n</style>\n";

/* The mean over the last twentieth of the run. */
static double end_of(const struct report *report, enum field field)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = report->points - 1 - report->points / 20; i < report->points; i++)
        if (isfinite(report->values[field][i])) sum += report->values[field][i], count++;
    return count ? sum / (double)count : NAN;
}

static void write_tile(FILE *page, const char *value, const char *what)
{
    fprintf(page, "<div><b>%s</b>%s</div>\n", value, what);
}

static void write_number_tile(FILE *page, const char *format, double value, const char *what)
{
    char text[64];
    if (!isfinite(value)) return;
    snprintf(text, sizeof text, format, value);
    write_tile(page, text, what);
}

static json_t *newest_evaluation(const struct report *report)
{
    size_t count = json_array_size(report->evaluations);
    return count ? json_array_get(report->evaluations, count - 1) : NULL;
}

static double retrieval_of(json_t *evaluation, const char *name)
{
    json_t *value = json_object_get(json_object_get(evaluation, "retrieval"), name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void write_head(const struct report *report)
{
    FILE *page = report->page;
    const char *folder = json_string_value(json_array_get(json_object_get(report->config, "sources"), 0));
    const char *preset = json_string_value(json_object_get(report->config, "preset"));
    fputs(head, page);
    fputs("<title>", page);
    chart_text(page, report->run);
    fputs("</title>\n<h1>", page);
    chart_text(page, report->run);
    fputs("</h1>\n<p class=sub>Pretraining with CrIBo", page);
    if (folder) {
        fprintf(page, " on %lld pictures of ",
            (long long)json_integer_value(json_object_get(report->config, "pictures")));
        chart_text(page, folder);
    }
    if (preset) {
        fputs(", preset ", page);
        chart_text(page, preset);
    }
    fputs("</p>\n<div class=tiles>\n", page);
    write_number_tile(page, "%.0f", (double)report->steps, "steps");
    write_number_tile(page, "%.3f", end_of(report, LOSS), "loss at the end");
    write_number_tile(page, "%.1f", end_of(report, SPEED), "pictures a second");
    write_number_tile(page, "%.1f", end_of(report, OBJECTS), "objects of a picture");
    write_number_tile(page, "%.0f %%", 100 * end_of(report, MATCHED), "with a neighbour that may teach");
    write_number_tile(
        page, "%.1f %%", 100 * retrieval_of(newest_evaluation(report), "mean_iou"), "mIoU by retrieval");
    fputs("</div>\n", page);
}

static struct chart_line line_of(
    const struct report *report, enum field field, const char *name, int colour, size_t smooth)
{
    return (struct chart_line){
        .name = name, .values = report->values[field], .colour = colour, .smooth = smooth};
}

static void begin_section(const struct report *report, const char *title)
{
    fprintf(report->page, "<h2>%s</h2>\n<div class=charts>\n", title);
}

static void end_section(const struct report *report)
{
    fputs("</div>\n", report->page);
}

/* A chart of some fields; the list of lines ends with one without a name. */
static void draw(const struct report *report, struct chart chart)
{
    chart.steps = report->values[STEP];
    chart.points = report->points;
    while (chart.lines < CHART_MOST_LINES && chart.line[chart.lines].name) chart.lines++;
    chart_write(report->page, &chart);
}

static void write_losses(const struct report *report)
{
    size_t smooth = report->points / 30;
    begin_section(report, "Losses");
    draw(report, (struct chart){.title = "The three losses",
                     .wide = 1,
                     .line = {line_of(report, GLOBAL, "[CLS]", 0, smooth),
                         line_of(report, VIEW, "objects, other view", 1, smooth),
                         line_of(report, IMAGE, "objects, other image", 2, smooth)},
                     .note = "Cross-entropies between teacher and student. Pale: means of steps; strong: "
                             "smoothed. The third "
                             "begins when the memory bank is in use."});
    draw(report, (struct chart){.title = "Norm of the gradient",
                     .line = {line_of(report, GRADIENT, "norm", 5, smooth)}});
    draw(report,
        (struct chart){.title = "Learning rate", .line = {line_of(report, RATE, "learning rate", 0, 0)}});
    end_section(report);
}

static void write_schedules(const struct report *report)
{
    begin_section(report, "Schedules");
    draw(report, (struct chart){.title = "Teacher's temperatures",
                     .line = {line_of(report, TEMPERATURE, "[CLS]", 0, 0),
                         line_of(report, OBJECT_TEMPERATURE, "objects", 1, 0)}});
    draw(report, (struct chart){.title = "Momentum of the teacher",
                     .line = {line_of(report, MOMENTUM, "momentum", 0, 0)}});
    draw(report,
        (struct chart){.title = "Weight decay", .line = {line_of(report, DECAY, "weight decay", 0, 0)}});
    draw(report, (struct chart){.title = "Weight of positions in clustering",
                     .line = {line_of(report, POSITION, "weight", 0, 0)}});
    end_section(report);
}

static void write_collapse(struct report *report)
{
    size_t smooth = report->points / 30;
    begin_section(report, "Signs of collapse");
    draw(report, (struct chart){.title = "Entropy of the teacher on [CLS]",
                     .line = {line_of(report, ENTROPY, "of a picture", 0, smooth),
                         line_of(report, MEAN_ENTROPY, "of the mean over pictures", 1, smooth),
                         line_of(report, UNIFORM, "ln P: uniform", 6, 0)},
                     .note = "A picture's entropy that stays at ln P: the teacher says nothing. That of the "
                             "mean going to 0: it "
                             "says the same of all."});
    draw(report, (struct chart){.title = "Deviation of [CLS] features",
                     .line = {line_of(report, DEVIATION, "deviation", 2, smooth)},
                     .note = "Of normalised features over the pictures of a batch, 1 where they are spread "
                             "evenly, 0 where all are equal."});
    draw(report, (struct chart){.title = "Prototypes in use",
                     .percent = 1,
                     .line = {line_of(report, USED, "greatest for some row of the batch", 3, smooth)}});
    /* At collapse the loss stands at the uniform one, twice it with the paper's sums over both directions. */
    json_t *authors = json_object_get(json_object_get(report->config, "settings"), "authors_normalisation");
    for (size_t i = 0; i < report->points && json_number_value(authors) == 0; i++)
        report->values[UNIFORM][i] *= 2;
    draw(report, (struct chart){.title = "Loss of [CLS]",
                     .line = {line_of(report, GLOBAL, "[CLS]", 0, smooth),
                         line_of(report, UNIFORM, "that of uniform distributions", 6, 0)}});
    end_section(report);
}

static void write_objects(const struct report *report)
{
    size_t smooth = report->points / 30;
    begin_section(report, "Objects and the memory bank");
    draw(report, (struct chart){.title = "Objects of a picture",
                     .line = {line_of(report, OBJECTS, "found in both views", 0, smooth)}});
    draw(report, (struct chart){.title = "Share of objects with a neighbour that may teach",
                     .percent = 1,
                     .line = {line_of(report, MATCHED, "pass the cycle test", 2, smooth),
                         line_of(report, FILL, "the bank is filled", 6, 0)}});
    end_section(report);
}

static void write_time(struct report *report)
{
    static const enum field phases[] = {TEACH, CLUSTER, MATCH, LEARN, UPDATE};
    static const char *const titles[] = {"teacher", "clustering", "bank", "student", "update"};
    double means[5] = {0}, sum = 0;
    /* The teacher's phase holds the two that follow. */
    for (size_t i = 0; i < report->points; i++)
        report->values[TEACH][i] -= report->values[CLUSTER][i] + report->values[MATCH][i];
    for (int k = 0; k < 5; k++) {
        size_t count = 0;
        for (size_t i = 0; i < report->points; i++)
            if (isfinite(report->values[phases[k]][i])) means[k] += report->values[phases[k]][i], count++;
        means[k] = count ? means[k] / (double)count : 0;
        sum += means[k];
    }
    begin_section(report, "Time");
    fputs("<figure><figcaption>Where a step's time goes</figcaption><table>", report->page);
    for (int k = 0; k < 5 && sum > 0; k++)
        fprintf(report->page,
            "<tr><td>%s<td class=n>%.1f ms<td class=n>%.1f %%<td style='width:50%%'><div class=bar "
            "style='width:%.2f%%'></div>",
            titles[k], means[k], 100 * means[k] / sum, 100 * means[k] / sum);
    fputs("</table><p class=note>Means over all steps. Loading pictures goes on beside it.</p></figure>\n",
        report->page);
    draw(report, (struct chart){.title = "Pictures a second",
                     .line = {line_of(report, SPEED, "pictures", 5, report->points / 30)}});
    end_section(report);
}

/* --- retrieval --- */

static void write_progress(const struct report *report)
{
    size_t count = json_array_size(report->evaluations);
    double *steps = malloc(2 * count * sizeof *steps), *scores = steps + count;
    if (!steps) return;
    for (size_t i = 0; i < count; i++) {
        json_t *evaluation = json_array_get(report->evaluations, i);
        steps[i] = json_number_value(json_object_get(evaluation, "step"));
        scores[i] = retrieval_of(evaluation, "mean_iou");
    }
    struct chart chart = {.title = "mIoU by dense retrieval",
        .note = "Patches of labelled pictures label those of others by their nearest neighbours.",
        .steps = steps,
        .points = count,
        .percent = 1,
        .lines = 1,
        .line = {{"mIoU", scores, 0, 0}}};
    chart_write(report->page, &chart);
    free(steps);
}

static void write_classes(const struct report *report)
{
    json_t *evaluation = newest_evaluation(report), *value;
    const char *name;
    fprintf(report->page, "<figure><figcaption>IoU of each class after %lld steps</figcaption><table>",
        (long long)json_integer_value(json_object_get(evaluation, "step")));
    json_object_foreach(json_object_get(json_object_get(evaluation, "retrieval"), "iou"), name, value)
    {
        if (!json_is_number(value)) continue;
        double percent = 100 * json_number_value(value);
        fputs("<tr><td>", report->page);
        chart_text(report->page, name);
        fprintf(report->page,
            "<td class=n>%.1f %%<td style='width:50%%'><div class=bar style='width:%.1f%%'></div>", percent,
            percent);
    }
    fputs("</table></figure>\n", report->page);
}

static void write_retrieval(const struct report *report)
{
    if (json_array_size(report->evaluations) == 0) return;
    begin_section(report, "Retrieval");
    write_progress(report);
    write_classes(report);
    end_section(report);
}

/* --- pictures --- */

static void write_base64(FILE *page, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < count; i += 3) {
        size_t left = count - i;
        uint32_t three = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (left > 2 ? bytes[i + 2] : 0);
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63],
            left > 1 ? digits[three >> 6 & 63] : '=', left > 2 ? digits[three & 63] : '='};
        fwrite(four, 1, 4, page);
    }
}

/* A PNG file as a part of the page; one that cannot be read is left out. */
static void write_picture(const struct report *report, const char *path, const char *title)
{
    FILE *file = fopen(path, "re");
    if (!file) return;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    uint8_t *bytes = size > 0 ? malloc((size_t)size) : NULL;
    if (bytes && fread(bytes, 1, (size_t)size, file) == (size_t)size) {
        fprintf(report->page,
            "<figure class=wide><figcaption>%s</figcaption><img alt='' src='data:image/png;base64,", title);
        write_base64(report->page, bytes, (size_t)size);
        fputs("'></figure>\n", report->page);
    }
    free(bytes);
    fclose(file);
}

static void write_named(const struct report *report, const char *name, const char *title)
{
    char *path = path_join(report->run, name);
    if (path) write_picture(report, path, title);
    free(path);
}

/* The start, at most PICTURES looks spread over the run, the end. */
static void write_pictures(const struct report *report)
{
    char *pattern = path_join(report->run, "clusters-[0-9]*.png");
    glob_t found = {0};
    begin_section(report, "Objects over time");
    write_named(report, "clusters-start.png", "Before training");
    size_t count = pattern && glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    size_t shown = count < PICTURES ? count : PICTURES;
    for (size_t i = 0; i < shown; i++) {
        const char *path = found.gl_pathv[(i + 1) * count / shown - 1];
        char title[64];
        snprintf(title, sizeof title, "After %lld steps", strtoll(strrchr(path, '-') + 1, NULL, 10));
        write_picture(report, path, title);
    }
    if (count == 0) write_named(report, "clusters.png", "At the end");
    end_section(report);
    globfree(&found);
    free(pattern);
}

static void write_settings(const struct report *report)
{
    const char *name;
    json_t *value;
    fputs("<details><summary>Settings</summary><div class=settings>\n", report->page);
    json_object_foreach(json_object_get(report->config, "settings"), name, value)
        fprintf(report->page, "<div><span>%s</span><b>%.12g</b></div>\n", name, json_number_value(value));
    fputs("</div></details>\n", report->page);
}

static void write_page(struct report *report)
{
    write_head(report);
    write_losses(report);
    write_retrieval(report);
    write_collapse(report);
    write_objects(report);
    write_schedules(report);
    write_time(report);
    write_pictures(report);
    if (report->config) write_settings(report);
    fputs("</html>\n", report->page);
}

/* Under another name until it is whole. */
static bool write_file(struct report *report, const char *out, struct problem *problem)
{
    char *temporary;
    if (asprintf(&temporary, "%s.part", out) < 0) return problem_set(problem, "no memory");
    report->page = fopen(temporary, "we");
    bool written = report->page != NULL;
    if (written) {
        write_page(report);
        written = !ferror(report->page);
        written &= fclose(report->page) == 0;
        written = written && rename(temporary, out) == 0;
    }
    if (!written) problem_set(problem, "cannot write %s: %s", out, strerror(errno));
    if (!written) unlink(temporary);
    free(temporary);
    return written;
}

bool report_write(const char *run, const char *out, struct problem *problem)
{
    struct report *report = calloc(1, sizeof *report);
    if (!report) return problem_set(problem, "no memory for a report");
    report->run = run;
    bool written = read_run(report, problem) && write_file(report, out, problem);
    json_decref(report->config);
    json_decref(report->evaluations);
    free(report);
    return written;
}
