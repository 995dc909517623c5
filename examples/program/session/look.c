/* See look.h. */
#include "session/look.h"

#include "pictures/folder.h"
#include "base/output.h"
#include "base/say.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

/* The end of the lines of looks up to `step`, in bytes. */
static off_t find_end(FILE *log, int64_t step)
{
    char *line = NULL;
    size_t room = 0;
    off_t end = 0;
    for (ssize_t length; (length = getline(&line, &room, log)) > 0 && line[length - 1] == '\n';
        end = ftello(log)) {
        json_t *root = json_loadb(line, (size_t)length, 0, NULL), *at = json_object_get(root, "step");
        bool later = !json_is_integer(at) || json_integer_value(at) > step;
        json_decref(root);
        if (later) break;
    }
    free(line);
    return end;
}

static bool rewind_log(struct look *look, int64_t step, struct problem *problem)
{
    FILE *log = fopen(look->log, "re");
    if (!log)
        return errno == ENOENT || problem_set(problem, "cannot read %s: %s", look->log, strerror(errno));
    off_t end = find_end(log, step);
    fclose(log);
    if (step == 0)
        return unlink(look->log) == 0 ||
               problem_set(problem, "cannot remove %s: %s", look->log, strerror(errno));
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
    *look = (struct look){.options = options, .folder = folder, .log = path_join(folder, "evaluation.jsonl")};
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
    int64_t epochs = look->options->epochs;
    return epochs > 0 && (last || step % (epochs * steps_per_epoch) == 0);
}

static bool append(const struct look *look, json_t *line, struct problem *problem)
{
    FILE *log = output_append(look->log, false, problem);
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    bool written = log && text && fprintf(log, "%s\n", text) > 0;
    if (log && fclose(log)) written = false;
    free(text);
    return written || (log && problem_set(problem, "cannot write %s: %s", look->log, strerror(errno)));
}

static bool score(struct look *look, const struct frozen *frozen, int64_t step, struct problem *problem)
{
    struct evaluation_run run = {.train = &look->train, .count = look->train.count};
    struct evaluation_options options = {
        .runs = &run, .run_count = 1, .test = &look->test, .threads = look->options->threads};
    struct evaluation evaluation;
    if (!protocol_named(&options.protocol, "simple", problem) ||
        !evaluate(&evaluation, frozen, &options, problem))
        return false;
    json_t *line = evaluation_json(&evaluation, &look->test);
    json_object_set_new(line, "step", json_integer(step));
    bool kept = append(look, line, problem);
    json_decref(line);
    say_progress_end();
    if (!look->warned) evaluation_warn(&evaluation, &look->test);
    look->warned = true;
    say_note("step %lld: mIoU %.2f %% by retrieval, %zu pictures against %lld patches", (long long)step,
        100 * evaluation.nearest.mean_iou, look->test.count, (long long)evaluation.entries);
    evaluation_free(&evaluation);
    return kept;
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

static bool draw(struct look *look, const struct frozen *frozen, struct showcase *showcase, int64_t step,
    struct problem *problem)
{
    struct sheet sheet = {0};
    char *path, title[96];
    if (showcase->images == 0) return true;
    if (asprintf(&path, "%s/clusters-%08lld.png", look->folder, (long long)step) < 0)
        return problem_no_memory(problem);
    showcase_title(title, sizeof title, step);
    bool drawn = find_objects(showcase, frozen, look->options->threads, problem) &&
                 showcase_draw(showcase, title, SHEET_PNG, &sheet, problem) &&
                 sheet_write(&sheet, path, problem);
    sheet_free(&sheet);
    free(path);
    return drawn;
}

bool look_now(struct look *look, cribo_trainer *trainer, const cribo_trainer_config *config,
    const struct recipe *recipe, struct showcase *showcase, int64_t step, struct problem *problem)
{
    struct frozen frozen = frozen_of(cribo_trainer_teacher(trainer), config, recipe);
    return draw(look, &frozen, showcase, step, problem) &&
           (!look->options->data.train || score(look, &frozen, step, problem));
}
