/* See look.h. */
#include "session/look.h"

#include "pictures/folder.h"
#include "base/output.h"
#include "base/say.h"

#include <errno.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

enum { DIGITS = 9 }; /* of numbers in the log */

/* --- the scores --- */

static void note_score(struct look_scores *scores, double score, int64_t step)
{
    bool best = !(score <= scores->best); /* also the first */
    if (isnan(scores->first)) scores->first = score;
    scores->newest = score;
    scores->since = best ? 0 : scores->since + 1;
    if (!best) return;
    scores->best = score;
    scores->best_step = step;
}

bool look_is_best(const struct look *look)
{
    return look->scores.since == 0 && isfinite(look->scores.best);
}

bool look_ends_run(const struct look *look)
{
    return look->options->patience > 0 && look->scores.since >= look->options->patience;
}

/* --- the log --- */

/* Takes the score of a line; false if it is none of a look up to `step`. */
static bool note_line(struct look *look, const char *line, size_t length, int64_t step)
{
    json_t *root = json_loadb(line, length, 0, NULL), *at = json_object_get(root, "step");
    json_t *score = json_object_get(json_object_get(root, "retrieval"), "mean_iou");
    bool earlier = json_is_integer(at) && json_integer_value(at) <= step;
    if (earlier && json_is_number(score))
        note_score(&look->scores, json_number_value(score), json_integer_value(at));
    json_decref(root);
    return earlier;
}

/* The end of the lines of looks up to `step`, in bytes. */
static off_t find_end(struct look *look, FILE *log, int64_t step)
{
    char *line = NULL;
    size_t room = 0;
    off_t end = 0;
    for (ssize_t length; (length = getline(&line, &room, log)) > 0 && line[length - 1] == '\n' &&
                         note_line(look, line, (size_t)length, step);)
        end = ftello(log);
    free(line);
    return end;
}

static bool rewind_log(struct look *look, int64_t step, struct problem *problem)
{
    if (step == 0)
        return unlink(look->log) == 0 || errno == ENOENT ||
               problem_set(problem, "cannot remove %s: %s", look->log, strerror(errno));
    FILE *log = fopen(look->log, "re");
    if (!log)
        return errno == ENOENT || problem_set(problem, "cannot read %s: %s", look->log, strerror(errno));
    off_t end = find_end(look, log, step);
    fclose(log);
    return truncate(look->log, end) == 0 ||
           problem_set(problem, "cannot cut %s: %s", look->log, strerror(errno));
}

/* Pictures of looks after `step`, of a run that was replaced or resumed from an earlier step. */
static void remove_later_pictures(const char *folder, int64_t step)
{
    glob_t found;
    char *pattern;
    if (asprintf(&pattern, "%s/clusters-[0-9]*.png", folder) < 0) return;
    bool any = glob(pattern, GLOB_NOSORT, NULL, &found) == 0;
    for (size_t i = 0; any && i < found.gl_pathc; i++)
        if (strtoll(strrchr(found.gl_pathv[i], '-') + 1, NULL, 10) > step) unlink(found.gl_pathv[i]);
    if (any) globfree(&found);
    free(pattern);
}

bool look_open(struct look *look, const struct look_options *options, const char *folder, int64_t step,
    struct problem *problem)
{
    *look = (struct look){.options = options,
        .folder = folder,
        .log = path_join(folder, "evaluation.jsonl"),
        .scores = {NAN, NAN, NAN, 0, 0}};
    if (!look->log) return problem_no_memory(problem);
    remove_later_pictures(folder, step);
    return rewind_log(look, step, problem) &&
           (!options->data.train || dataset_open_both(&look->train, &look->test, &options->data, problem));
}

void look_free(struct look *look)
{
    dataset_free(&look->train);
    dataset_free(&look->test);
    free(look->log);
    *look = (struct look){0};
}

bool look_is_due(const struct look *look, int64_t step, int64_t steps_per_epoch, bool last)
{
    const struct look_options *options = look->options;
    int64_t interval = options->steps ? options->steps : options->epochs * steps_per_epoch;
    return interval > 0 && (last || step % interval == 0);
}

static bool append(const struct look *look, json_t *line, struct problem *problem)
{
    FILE *log = output_append(look->log, false, problem);
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS));
    bool written = log && text && fprintf(log, "%s\n", text) > 0;
    if (log && fclose(log)) written = false;
    free(text);
    return written || (log && problem_set(problem, "cannot write %s: %s", look->log, strerror(errno)));
}

/* The number that a reader of the log finds, so that a continued run compares the same scores. */
static double as_written(double score)
{
    char text[32];
    snprintf(text, sizeof text, "%.*g", DIGITS, score);
    return strtod(text, NULL);
}

/* --- a look --- */

static void say_score(const struct look *look, int64_t step, int64_t patches)
{
    const struct look_scores *scores = &look->scores;
    char best[64] = " (the best so far)";
    if (scores->since > 0)
        snprintf(best, sizeof best, " (best: %.2f %% at step %lld)", 100 * scores->best,
            (long long)scores->best_step);
    say_note("step %lld: mIoU %.2f %% by retrieval%s, %zu pictures against %lld patches", (long long)step,
        100 * scores->newest, best, look->test.count, (long long)patches);
}

/* Writes the line of the newest score. */
static bool record(
    const struct look *look, const struct evaluation *evaluation, int64_t step, struct problem *problem)
{
    json_t *line = evaluation_json(evaluation, &look->test);
    json_object_set_new(line, "step", json_integer(step));
    json_object_set_new(line, "best", json_boolean(look_is_best(look)));
    json_object_set_new(line, "ends_run", json_boolean(look_ends_run(look)));
    bool written = append(look, line, problem);
    json_decref(line);
    return written;
}

static bool score(struct look *look, const struct frozen *frozen, const struct look_subject *subject,
    struct problem *problem)
{
    struct evaluation_run run = {.train = &look->train, .count = look->train.count};
    struct evaluation_options options = {
        .runs = &run, .run_count = 1, .test = &look->test, .threads = look->options->threads};
    struct evaluation evaluation;
    if (!protocol_named(&options.protocol, "simple", problem) ||
        !evaluate(&evaluation, frozen, &options, problem))
        return false;
    say_progress_end();
    note_score(&look->scores, as_written(evaluation.nearest.mean_iou), subject->step);
    if (!look->warned) evaluation_warn(&evaluation, &look->test);
    look->warned = true;
    say_score(look, subject->step, evaluation.entries);
    bool recorded = record(look, &evaluation, subject->step, problem);
    evaluation_free(&evaluation);
    return recorded;
}

static bool find_objects(
    struct showcase *showcase, const struct frozen *frozen, int threads, struct problem *problem)
{
    struct object_finder finder = {0};
    struct frozen_options choice = {.threads = threads};
    cribo_runtime runtime;
    bool found = frozen_runtime(&choice, &runtime, problem) &&
                 object_finder_make(&finder, frozen, &runtime, problem) &&
                 showcase_cluster(showcase, &finder, problem);
    object_finder_free(&finder);
    return found;
}

bool look_cluster(struct showcase *showcase, cribo_trainer *trainer, const cribo_trainer_config *config,
    const struct recipe *recipe, int threads, struct problem *problem)
{
    struct frozen frozen = frozen_of(cribo_trainer_teacher(trainer), config, recipe);
    return find_objects(showcase, &frozen, threads, problem);
}

static bool draw(struct look *look, const struct frozen *frozen, const struct look_subject *subject,
    struct problem *problem)
{
    struct sheet sheet = {0};
    char *path, title[96];
    if (subject->showcase->images == 0 || subject->step == 0) return true;
    if (asprintf(&path, "%s/clusters-%08lld.png", look->folder, (long long)subject->step) < 0)
        return problem_no_memory(problem);
    showcase_title(title, sizeof title, subject->step);
    bool drawn = find_objects(subject->showcase, frozen, look->options->threads, problem) &&
                 showcase_draw(subject->showcase, title, SHEET_PNG, &sheet, problem) &&
                 sheet_write(&sheet, path, problem);
    sheet_free(&sheet);
    free(path);
    return drawn;
}

bool look_now(struct look *look, const struct look_subject *subject, struct problem *problem)
{
    struct frozen frozen =
        frozen_of(cribo_trainer_teacher(subject->trainer), subject->config, subject->recipe);
    return draw(look, &frozen, subject, problem) &&
           (!look->options->data.train || score(look, &frozen, subject, problem));
}
