/*
 * See report.h. The log is read twice, for its length and for means over at most POINTS stretches of it, so
 * memory does not grow with the run.
 */
#include "drawing/report.h"

#include "base/output.h"
#include "drawing/chart.h"
#include "pictures/folder.h"

#include <errno.h>
#include <glob.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

enum { POINTS = 400, PICTURES = 12, MAX_WARNINGS = 8 };

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
    size_t unreadable;             /* lines of the log that are no objects of JSON */
    double values[FIELDS][POINTS]; /* means */
    size_t counts[FIELDS][POINTS];
    json_t *config;      /* NULL: none */
    json_t *evaluations; /* array */
    json_t *warnings;    /* array of texts */
    json_t *retrievals;  /* array of [step, per cent] of view retrieval; step 0: before training */
    double began, ended; /* of the log's lines, in seconds since 1970; 0: not known */
    double seconds;      /* of all steps */
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
        report->unreadable += !json_is_object(root);
        json_decref(root);
    }
    if (file) fclose(file);
    free(line);
    free(path);
    return count;
}

/* A line of a step, or of a look after one; a skipped update is not a step. */
static bool is_step(struct report *report, json_t *line, size_t number)
{
    (void)report, (void)number;
    return json_is_integer(json_object_get(line, "step")) && !json_is_true(json_object_get(line, "skipped"));
}

/* The time of the line, the duration of its step, and its warnings. */
static void note_line(struct report *report, json_t *line)
{
    double time = json_number_value(json_object_get(line, "time")),
           images = json_number_value(json_object_get(line, "images")),
           speed = json_number_value(json_object_get(line, "images_per_second"));
    json_t *warning = json_object_get(line, "warning");
    if (report->began <= 0) report->began = time;
    report->ended = time;
    report->seconds += speed > 0 ? images / speed : 0;
    if (json_is_string(warning)) json_array_append(report->warnings, warning);
}

static void add_retrieval(struct report *report, double step, json_t *percent)
{
    if (json_is_number(percent))
        json_array_append_new(report->retrievals, json_pack("[f,f]", step, json_number_value(percent)));
}

static void note_retrieval(struct report *report, json_t *line)
{
    if (json_array_size(report->retrievals) == 0)
        add_retrieval(report, 0, json_object_get(line, "view_retrieval_start_percent"));
    add_retrieval(report, json_number_value(json_object_get(line, "step")),
        json_object_get(line, "view_retrieval_percent"));
}

static bool add_step(struct report *report, json_t *line, size_t number)
{
    note_line(report, line);
    note_retrieval(report, line);
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
    if (steps < 2)
        return problem_set(problem, "%s/log.jsonl: %s", report->run,
            steps < 0                ? strerror(errno)
            : report->unreadable > 0 ? "not the log of a run: its lines are no objects of JSON with a step"
                                     : "fewer than two steps; a page needs two at least");
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
    report->warnings = json_array();
    report->retrievals = json_array();
    if (!read_log(report, problem)) return false;
    read_lines(report, "evaluation.jsonl", add_evaluation);
    return true;
}

/* --- the page --- */

/* Text in which <, > and & are escaped. */
static void write_text(FILE *page, const char *text)
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

static const char head[] =
    "<!DOCTYPE html>\n<html lang=en><meta charset=utf-8>"
    "<meta name=viewport content='width=device-width'>\n<style>\n"
    ":root{--ink:#22272e;--soft:#606a76;--line:#e2e6eb;--bar:#0072b2}\n"
    "body{margin:0 auto;padding:28px 24px 60px;max-width:1130px;font:15px/1.5 system-ui,sans-serif;"
    "color:var(--ink);background:#fff}\n"
    "h1{font-size:25px;margin:0}h2{font-size:18px;margin:38px 0 12px;padding-bottom:5px;"
    "border-bottom:1px solid var(--line)}\n"
    ".sub{color:var(--soft);margin:2px 0 20px;overflow-wrap:anywhere}\n"
    ".verdict{border:1px solid var(--line);border-left-width:6px;border-radius:7px;padding:10px 16px;"
    "margin:0 0 18px}"
    ".verdict p{margin:0;font-size:18px;font-weight:600}.verdict ul{margin:4px 0 0;padding-left:20px}"
    ".good{border-left-color:#2c8c3c}.check{border-left-color:#e69f00}.bad{border-left-color:#c82828}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px}\n"
    ".tiles div{border:1px solid var(--line);border-radius:7px;padding:10px 14px;color:var(--soft);"
    "font-size:13px}"
    ".tiles b{display:block;color:var(--ink);font-size:21px;font-weight:600}\n"
    ".charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}.wide{grid-column:1/-1}\n"
    "@media(max-width:760px){.charts{grid-template-columns:1fr}}\n"
    "figure{margin:0;border:1px solid var(--line);border-radius:7px;padding:12px 14px;min-width:0}\n"
    "figcaption{font-weight:600}.note{margin:2px 0 0;font-size:12.5px;color:var(--soft)}\n"
    "table{border-collapse:collapse;width:100%;font-size:14px}td,th{padding:3px 10px 3px 0;text-align:left;"
    "border-bottom:1px solid var(--line)}td.n{text-align:right;font-variant-numeric:tabular-nums;"
    "width:70px}\n"
    ".bar{height:11px;border-radius:3px;background:var(--bar);min-width:1px}\n"
    "img{max-width:100%;display:block;border-radius:4px}\n"
    ".settings{columns:3 240px;font-size:13px}"
    ".settings div{display:flex;justify-content:space-between;gap:12px;border-bottom:1px solid var(--line)}\n"
    "</style>\n";

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

/* The first of the evaluations with the highest mIoU; NULL: none. */
static json_t *best_evaluation(const struct report *report)
{
    json_t *best = NULL, *evaluation;
    size_t i;
    json_array_foreach(report->evaluations, i, evaluation)
    {
        if (!best || retrieval_of(evaluation, "mean_iou") > retrieval_of(best, "mean_iou")) best = evaluation;
    }
    return best;
}

static int64_t step_of(json_t *evaluation)
{
    return (int64_t)json_integer_value(json_object_get(evaluation, "step"));
}

/* --- the verdict --- */

/* The mean over the first twentieth of the points that have a value. */
static double start_of(const struct report *report, enum field field)
{
    double sum = 0;
    size_t count = 0, most = 1 + report->points / 20;
    for (size_t i = 0; i < report->points && count < most; i++)
        if (isfinite(report->values[field][i])) sum += report->values[field][i], count++;
    return count ? sum / (double)count : NAN;
}

/* The length that the settings give the run; 0 without settings. */
static size_t planned_steps(const struct report *report)
{
    json_t *settings = json_object_get(report->config, "settings");
    double total = json_number_value(json_object_get(settings, "total_steps")),
           epochs = json_number_value(json_object_get(settings, "epochs")),
           per_epoch = json_number_value(json_object_get(settings, "steps_per_epoch"));
    return (size_t)llround(total > 0 ? total : epochs * per_epoch);
}

/* The number of losses that are lower at the end than at the beginning, and the number of losses. */
static int count_fallen(const struct report *report, int *there)
{
    static const enum field losses[] = {GLOBAL, VIEW, IMAGE};
    int fallen = 0;
    *there = 0;
    for (int i = 0; i < 3; i++) {
        double start = start_of(report, losses[i]), end = end_of(report, losses[i]);
        if (!isfinite(start) || !isfinite(end)) continue;
        (*there)++;
        fallen += end < start;
    }
    return fallen;
}

static void write_fallen(const struct report *report, const char *name, enum field field)
{
    double start = start_of(report, field), end = end_of(report, field);
    if (isfinite(start) && isfinite(end))
        fprintf(report->page, "<li>Loss of %s: %.3f at the start, %.3f at the end.\n", name, start, end);
}

static void write_warnings(const struct report *report)
{
    size_t count = json_array_size(report->warnings);
    if (count == 0) fputs("<li>No warnings: no sign of collapse, no leaping loss.\n", report->page);
    for (size_t i = 0; i < count && i < MAX_WARNINGS; i++) {
        fputs("<li>Warning: ", report->page);
        write_text(report->page, json_string_value(json_array_get(report->warnings, i)));
        fputc('\n', report->page);
    }
    if (count > MAX_WARNINGS)
        fprintf(report->page, "<li>And %zu more warnings (log.jsonl).\n", count - MAX_WARNINGS);
}

static bool has_collapsed(const struct report *report)
{
    for (size_t i = 0; i < json_array_size(report->warnings); i++)
        if (strstr(json_string_value(json_array_get(report->warnings, i)), "collapse")) return true;
    return false;
}

/* "36.1 % after 120 steps" */
static void write_score(const struct report *report, const char *when, json_t *evaluation)
{
    double score = 100 * retrieval_of(evaluation, "mean_iou");
    int64_t step = step_of(evaluation);
    if (step == 0)
        fprintf(report->page, "%s %.1f %% before training", when, score);
    else
        fprintf(report->page, "%s %.1f %% after %lld steps", when, score, (long long)step);
}

static void write_scores(const struct report *report)
{
    if (!newest_evaluation(report)) return;
    write_score(report, "<li>mIoU by dense retrieval:", json_array_get(report->evaluations, 0));
    write_score(report, ",", newest_evaluation(report));
    write_score(report, "; the best is", best_evaluation(report));
    fputs(".\n", report->page);
}

/* View retrieval in per cent: the measurement with this number, -1: the last; NaN without two of them. */
static double view_retrieval_of(const struct report *report, int number)
{
    size_t count = json_array_size(report->retrievals), place = number < 0 ? count - 1 : (size_t)number;
    json_t *percent = json_array_get(json_array_get(report->retrievals, place), 1);
    return count >= 2 ? json_number_value(percent) : NAN;
}

static void write_view_retrieval(const struct report *report)
{
    double first = view_retrieval_of(report, 0), last = view_retrieval_of(report, -1);
    if (isfinite(last))
        fprintf(
            report->page, "<li>View retrieval: %.1f %% before training, %.1f %% at the end.\n", first, last);
}

static void write_verdict(const struct report *report)
{
    int there, fallen = count_fallen(report, &there);
    size_t planned = planned_steps(report);
    bool risen = !(view_retrieval_of(report, -1) <= view_retrieval_of(report, 0));
    bool collapsed = has_collapsed(report),
         good = fallen == there && risen && json_array_size(report->warnings) == 0;
    const char *class = collapsed ? "bad" : good ? "good" : "check";
    fprintf(report->page, "<div class='verdict %s'><p>%s</p><ul>\n", class,
        collapsed        ? "The run shows signs of collapse."
        : good           ? "The run looks healthy."
        : !risen         ? "Look closer: view retrieval is no better than before training."
        : fallen < there ? "Look closer: not all losses fell."
                         : "Look closer: there were warnings.");
    if (json_is_true(json_object_get(newest_evaluation(report), "ends_run")))
        fprintf(report->page, "<li>Ended after %zu of %zu steps: the evaluations did not get better.\n",
            report->steps, planned);
    else if (planned > report->steps)
        fprintf(report->page, "<li>Not finished: %zu of %zu steps.\n", report->steps, planned);
    else if (planned)
        fprintf(report->page, "<li>Finished: %zu steps.\n", report->steps);
    write_fallen(report, "[CLS]", GLOBAL);
    write_fallen(report, "objects, other view", VIEW);
    write_fallen(report, "objects, other image", IMAGE);
    write_view_retrieval(report);
    write_scores(report);
    write_warnings(report);
    fputs("</ul></div>\n", report->page);
}

/* --- the head --- */

static void write_time_of(const struct report *report, const char *format, double seconds)
{
    char text[64];
    time_t time = (time_t)seconds;
    struct tm parts;
    if (seconds > 0 && localtime_r(&time, &parts) && strftime(text, sizeof text, format, &parts))
        fputs(text, report->page);
}

/* "2 h 05 min" or "3 min 20 s" */
static void write_duration(FILE *page, double seconds)
{
    long whole = lround(seconds);
    if (whole >= 3600)
        fprintf(page, "%ld h %02ld min", whole / 3600, whole / 60 % 60);
    else
        fprintf(page, "%ld min %02ld s", whole / 60, whole % 60);
}

/* Folder, date, duration and machine. */
static void write_circumstances(const struct report *report)
{
    FILE *page = report->page;
    const char *folder = json_string_value(json_array_get(json_object_get(report->config, "sources"), 0));
    const char *preset = json_string_value(json_object_get(report->config, "preset"));
    const char *weights = json_string_value(json_object_get(report->config, "weights"));
    const char *machine = json_string_value(json_object_get(report->config, "machine"));
    const char *library = json_string_value(json_object_get(report->config, "library"));
    fputs("<p class=sub>Pretraining with CrIBo", page);
    if (folder) {
        fprintf(page, " on %lld pictures of ",
            (long long)json_integer_value(json_object_get(report->config, "pictures")));
        write_text(page, folder);
    }
    fputs(preset ? ", preset " : "", page);
    write_text(page, preset ? preset : "");
    fputs(weights ? ", weights " : "", page);
    write_text(page, weights ? weights : "");
    fputs("<br>", page);
    write_time_of(report, "%Y-%m-%d %H:%M", report->began);
    write_time_of(report, " to %Y-%m-%d %H:%M, ", report->ended);
    write_duration(page, report->seconds);
    fputs(" of training<br>", page);
    write_text(page, machine ? machine : "");
    fputs(machine && library ? ", libcribo " : "", page);
    write_text(page, machine && library ? library : "");
    fputs("</p>\n", page);
}

static void write_head(const struct report *report)
{
    FILE *page = report->page;
    fputs(head, page);
    fputs("<title>", page);
    write_text(page, report->run);
    fputs("</title>\n<h1>", page);
    write_text(page, report->run);
    fputs("</h1>\n", page);
    write_circumstances(report);
    write_verdict(report);
    fputs("<div class=tiles>\n", page);
    write_number_tile(page, "%.0f", (double)report->steps, "steps");
    write_number_tile(page, "%.3f", end_of(report, LOSS), "loss at the end");
    write_number_tile(page, "%.1f %%", view_retrieval_of(report, -1), "view retrieval");
    write_number_tile(page, "%.1f", end_of(report, SPEED), "pictures a second");
    write_number_tile(page, "%.1f", end_of(report, OBJECTS), "objects of a picture");
    write_number_tile(page, "%.0f %%", 100 * end_of(report, MATCHED), "of objects pass the cycle test");
    write_number_tile(
        page, "%.1f %%", 100 * retrieval_of(newest_evaluation(report), "mean_iou"), "mIoU by retrieval");
    fputs("</div>\n", page);
}

static struct chart_line line_of(
    const struct report *report, enum field field, const char *name, struct colour colour, size_t smooth)
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

/* A chart as a picture of the page, in SVG; one without two numbers is left out. */
static void write_chart(const struct report *report, const struct chart *chart, bool wide)
{
    int width = wide ? 1080 : 530, height = wide ? 380 : 320;
    struct sheet sheet = {0};
    struct problem ignored;
    uint8_t *bytes = NULL;
    size_t size;
    if (sheet_make(&sheet, SHEET_SVG, width, height, &ignored) &&
        chart_draw(&sheet, 0, 0, width, height, chart) && sheet_encode(&sheet, &bytes, &size, &ignored)) {
        fprintf(report->page, "<figure%s><img alt='", wide ? " class=wide" : "");
        write_text(report->page, chart->title);
        fputs("' src='data:image/svg+xml;base64,", report->page);
        write_base64(report->page, bytes, size);
        fputs("'></figure>\n", report->page);
    }
    free(bytes);
    sheet_free(&sheet);
}

/* A chart of some fields; a line without a name ends the list. */
static void draw(const struct report *report, struct chart chart, bool wide)
{
    chart.steps = report->values[STEP];
    chart.points = report->points;
    while (chart.lines < CHART_MAX_LINES && chart.line[chart.lines].name) chart.lines++;
    write_chart(report, &chart, wide);
}

static void write_losses(const struct report *report)
{
    size_t smooth = report->points / 30;
    begin_section(report, "Losses");
    draw(report,
        (struct chart){.title = "The three losses",
            .line = {line_of(report, GLOBAL, "[CLS]", sheet_colours[0], smooth),
                line_of(report, VIEW, "objects, other view", sheet_colours[1], smooth),
                line_of(report, IMAGE, "objects, other image", sheet_colours[2], smooth)},
            .note = "Cross-entropies between teacher and student. Pale: means of steps; strong: "
                    "smoothed. The third "
                    "begins when the memory bank is in use."},
        true);
    draw(report,
        (struct chart){
            .title = "Norm of the gradient", .line = {line_of(report, GRADIENT, "norm", sheet_ink, smooth)}},
        false);
    draw(report,
        (struct chart){
            .title = "Learning rate", .line = {line_of(report, RATE, "learning rate", sheet_colours[0], 0)}},
        false);
    end_section(report);
}

static void write_schedules(const struct report *report)
{
    begin_section(report, "Schedules");
    draw(report,
        (struct chart){.title = "Teacher's temperatures",
            .line = {line_of(report, TEMPERATURE, "[CLS]", sheet_colours[0], 0),
                line_of(report, OBJECT_TEMPERATURE, "objects", sheet_colours[1], 0)}},
        false);
    draw(report,
        (struct chart){.title = "Momentum of the teacher",
            .line = {line_of(report, MOMENTUM, "momentum", sheet_colours[0], 0)}},
        false);
    draw(report,
        (struct chart){
            .title = "Weight decay", .line = {line_of(report, DECAY, "weight decay", sheet_colours[0], 0)}},
        false);
    draw(report,
        (struct chart){.title = "Weight of positions in clustering",
            .line = {line_of(report, POSITION, "weight", sheet_colours[0], 0)}},
        false);
    end_section(report);
}

static void write_collapse(struct report *report)
{
    size_t smooth = report->points / 30;
    begin_section(report, "Signs of collapse");
    draw(report,
        (struct chart){.title = "Entropy of the teacher on [CLS]",
            .line = {line_of(report, ENTROPY, "of a picture", sheet_colours[0], smooth),
                line_of(report, MEAN_ENTROPY, "of the mean over pictures", sheet_colours[1], smooth),
                line_of(report, UNIFORM, "ln P: uniform", sheet_colours[6], 0)},
            .note = "A picture's entropy that stays at ln P: the teacher says nothing. That of the "
                    "mean going to 0: it "
                    "says the same of all."},
        false);
    draw(report,
        (struct chart){.title = "Deviation of [CLS] features",
            .line = {line_of(report, DEVIATION, "deviation", sheet_colours[2], smooth)},
            .note = "Of normalised features over the pictures of a batch, 1 where they are spread "
                    "evenly, 0 where all are equal."},
        false);
    draw(report,
        (struct chart){.title = "Prototypes in use",
            .percent = true,
            .line = {line_of(report, USED, "greatest for some row of the batch", sheet_colours[3], smooth)}},
        false);
    /*
     * At collapse the loss equals the uniform loss, or twice it with the paper's sums over both directions.
     */
    json_t *authors = json_object_get(json_object_get(report->config, "settings"), "authors_normalisation");
    for (size_t i = 0; i < report->points && json_number_value(authors) == 0; i++)
        report->values[UNIFORM][i] *= 2;
    draw(report,
        (struct chart){.title = "Loss of [CLS]",
            .line = {line_of(report, GLOBAL, "[CLS]", sheet_colours[0], smooth),
                line_of(report, UNIFORM, "that of uniform distributions", sheet_colours[6], 0)}},
        false);
    end_section(report);
}

static void write_objects(const struct report *report)
{
    size_t smooth = report->points / 30;
    begin_section(report, "Objects and the memory bank");
    draw(report,
        (struct chart){.title = "Objects of a picture",
            .line = {line_of(report, OBJECTS, "found in both views", sheet_colours[0], smooth)}},
        false);
    draw(report,
        (struct chart){.title = "Share of objects with a neighbour that may teach",
            .percent = true,
            .line = {line_of(report, MATCHED, "pass the cycle test", sheet_colours[2], smooth),
                line_of(report, FILL, "the bank is filled", sheet_colours[6], 0)}},
        false);
    end_section(report);
}

static void write_time(struct report *report)
{
    static const enum field phases[] = {TEACH, CLUSTER, MATCH, LEARN, UPDATE};
    static const char *const titles[] = {"teacher", "clustering", "bank", "student", "update"};
    double means[5] = {0}, sum = 0;
    /* The teacher's phase includes the next two. */
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
    fputs("</table><p class=note>Means over all steps. Pictures are loaded at the same time.</p></figure>\n",
        report->page);
    draw(report,
        (struct chart){.title = "Pictures a second",
            .line = {line_of(report, SPEED, "pictures", sheet_ink, report->points / 30)}},
        false);
    end_section(report);
}

/* --- retrieval --- */

static void write_progress(const struct report *report)
{
    size_t count = json_array_size(report->evaluations);
    double *steps = malloc(3 * count * sizeof *steps), *scores = steps + count, *first = scores + count;
    if (!steps) return;
    for (size_t i = 0; i < count; i++) {
        json_t *evaluation = json_array_get(report->evaluations, i);
        steps[i] = json_number_value(json_object_get(evaluation, "step"));
        scores[i] = retrieval_of(evaluation, "mean_iou");
        first[i] = scores[0];
    }
    struct chart chart = {.title = "mIoU by dense retrieval",
        .note = "Patches of labelled pictures label those of others by their nearest neighbours.",
        .steps = steps,
        .points = count,
        .percent = true,
        .lines = 2,
        .line = {{"mIoU", scores, sheet_colours[0], 0}, {"first evaluation", first, sheet_ink, 0}}};
    write_chart(report, &chart, false);
    free(steps);
}

static json_t *iou_of(json_t *evaluation, const char *class)
{
    return json_object_get(json_object_get(json_object_get(evaluation, "retrieval"), "iou"), class);
}

/* The first evaluation, the best and the last. */
static void write_classes(const struct report *report)
{
    json_t *shown[] = {
        json_array_get(report->evaluations, 0), best_evaluation(report), newest_evaluation(report)};
    const char *name;
    json_t *value;
    fputs("<figure><figcaption>IoU of each class</figcaption><table><tr><th>", report->page);
    for (int i = 0; i < 3; i++)
        fprintf(report->page, "<th>%s%lld steps", i == 1 ? "best: " : "", (long long)step_of(shown[i]));
    fputs("<th>", report->page);
    json_object_foreach(json_object_get(json_object_get(shown[2], "retrieval"), "iou"), name, value)
    {
        if (!json_is_number(value)) continue;
        fputs("<tr><td>", report->page);
        write_text(report->page, name);
        for (int i = 0; i < 3; i++)
            fprintf(report->page, "<td class=n>%.1f %%", 100 * json_number_value(iou_of(shown[i], name)));
        fprintf(report->page, "<td style='width:30%%'><div class=bar style='width:%.1f%%'></div>",
            100 * json_number_value(value));
    }
    fputs("</table></figure>\n", report->page);
}

static void draw_view_retrieval(const struct report *report)
{
    size_t count = json_array_size(report->retrievals);
    double *steps = malloc(3 * count * sizeof *steps), *values = steps + count, *start = values + count;
    if (!steps) return;
    for (size_t i = 0; i < count; i++) {
        json_t *pair = json_array_get(report->retrievals, i);
        steps[i] = json_number_value(json_array_get(pair, 0));
        values[i] = json_number_value(json_array_get(pair, 1)) / 100;
        start[i] = view_retrieval_of(report, 0) / 100;
    }
    struct chart chart = {.title = "View retrieval",
        .note = "Patches that find their place in another view, among those of all pictures.",
        .steps = steps,
        .points = count,
        .percent = true,
        .lines = 2,
        .line = {{"view retrieval", values, sheet_colours[0], 0}, {"before training", start, sheet_ink, 0}}};
    write_chart(report, &chart, false);
    free(steps);
}

static void write_retrieval(const struct report *report)
{
    bool labelled = json_array_size(report->evaluations) > 0,
         views = json_array_size(report->retrievals) >= 2;
    if (!labelled && !views) return;
    begin_section(report, "Retrieval");
    if (views) draw_view_retrieval(report);
    if (labelled) write_progress(report);
    if (labelled) write_classes(report);
    end_section(report);
}

/* --- pictures --- */

/* A PNG file as a part of the page; one that cannot be read is left out. */
static bool write_picture(const struct report *report, const char *path, const char *title)
{
    FILE *file = fopen(path, "re");
    if (!file) return false;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    uint8_t *bytes = size > 0 ? malloc((size_t)size) : NULL;
    bool read = bytes && fread(bytes, 1, (size_t)size, file) == (size_t)size;
    if (read) {
        fprintf(report->page,
            "<figure class=wide><figcaption>%s</figcaption><img alt='' src='data:image/png;base64,", title);
        write_base64(report->page, bytes, (size_t)size);
        fputs("'></figure>\n", report->page);
    }
    free(bytes);
    fclose(file);
    return read;
}

static bool write_named(const struct report *report, const char *name, const char *title)
{
    char *path = path_join(report->run, name);
    bool written = path && write_picture(report, path, title);
    free(path);
    return written;
}

/* Before and after beside each other; at most PICTURES looks spread over the run. */
static void write_pictures(const struct report *report)
{
    char *pattern = path_join(report->run, "clusters-[0-9]*.png");
    glob_t found = {0};
    begin_section(report, "Objects over time");
    bool both = write_named(report, "clusters-before-after.png", "Before and after");
    if (!both) write_named(report, "clusters-start.png", "Before training");
    size_t count = pattern && glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    size_t shown = count < PICTURES ? count : PICTURES;
    for (size_t i = 0; i < shown; i++) {
        const char *path = found.gl_pathv[(i + 1) * count / shown - 1];
        char title[64];
        snprintf(title, sizeof title, "After %lld steps", strtoll(strrchr(path, '-') + 1, NULL, 10));
        write_picture(report, path, title);
    }
    if (count == 0 && !both) write_named(report, "clusters.png", "At the end");
    end_section(report);
    globfree(&found);
    free(pattern);
}

static void write_settings(const struct report *report)
{
    const char *name;
    json_t *value;
    fputs("<h2>Settings</h2><div class=settings>\n", report->page);
    json_object_foreach(json_object_get(report->config, "settings"), name, value)
        fprintf(report->page, "<div><span>%s</span><b>%.12g</b></div>\n", name, json_number_value(value));
    fputs("</div>\n", report->page);
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

static bool write_file(struct report *report, const char *out, struct problem *problem)
{
    struct output output;
    if (!output_open(&output, out, problem)) return false;
    report->page = output.file;
    write_page(report);
    return output_close(&output, problem);
}

bool report_write(const char *run, const char *out, struct problem *problem)
{
    struct report *report = calloc(1, sizeof *report);
    if (!report) return problem_no_memory(problem);
    report->run = run;
    bool written = read_run(report, problem) && write_file(report, out, problem);
    json_decref(report->config);
    json_decref(report->evaluations);
    json_decref(report->warnings);
    json_decref(report->retrievals);
    free(report);
    return written;
}
