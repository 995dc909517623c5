/* See run.h. */
#include "run.h"

#include "checkpoints.h"
#include "say.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#define INTEGER(field) \
    { \
#field, offsetof(cribo_report, field), true \
    }
#define REAL(field) \
    { \
#field, offsetof(cribo_report, field), false \
    }

static const struct {
    const char *name;
    size_t offset;
    bool integer;
} fields[] = {INTEGER(step), INTEGER(epoch), INTEGER(images), REAL(loss), REAL(global_loss),
    REAL(cross_view_loss), REAL(cross_image_loss), REAL(gradient_norm), REAL(learning_rate),
    REAL(weight_decay), REAL(ema_momentum), REAL(teacher_temperature), REAL(object_teacher_temperature),
    REAL(position_weight), REAL(objects_per_image), REAL(matched_share), REAL(cross_image_on),
    REAL(bank_fill), REAL(uniform_loss), REAL(teacher_entropy), REAL(mean_teacher_entropy),
    REAL(prototypes_used), REAL(feature_deviation), REAL(teach_ms), REAL(cluster_ms), REAL(match_ms),
    REAL(learn_ms), REAL(update_ms)};

static bool name_files(struct run *run, const char *folder)
{
    run->config = path_join(folder, "config.json");
    run->log = path_join(folder, "log.jsonl");
    run->weights = path_join(folder, "weights.safetensors");
    run->losses = path_join(folder, "loss.png");
    run->clusters_start = path_join(folder, "clusters-start.png");
    run->clusters = path_join(folder, "clusters.png");
    return run->config && run->log && run->weights && run->losses && run->clusters_start && run->clusters;
}

static bool is_unused(const struct run *run, const char *folder, struct problem *problem)
{
    char *checkpoint;
    struct stat log; /* empty: of a run that did not come to its first step */
    if (!checkpoints_newest(&checkpoint, folder, problem)) return false;
    bool resumable = checkpoint != NULL;
    free(checkpoint);
    if (resumable)
        return problem_set(problem,
            "%s: holds a run already; go on with it by --resume, replace it by --overwrite, or choose "
            "another folder",
            folder);
    if (access(run->weights, F_OK) == 0 || (stat(run->log, &log) == 0 && log.st_size > 0))
        return problem_set(
            problem, "%s: holds a run already; choose another folder or give --overwrite", folder);
    return true;
}

static bool open_log(struct run *run, const char *folder, enum run_mode mode, struct problem *problem)
{
    if (!name_files(run, folder)) return problem_set(problem, "no memory");
    if (!folder_make(folder, problem)) return false;
    if (mode == RUN_NEW && !is_unused(run, folder, problem)) return false;
    run->log_file = fopen(run->log, mode == RUN_RESUME ? "ae" : "we");
    return run->log_file || problem_set(problem, "cannot write %s: %s", run->log, strerror(errno));
}

bool run_open(struct run *run, const char *folder, enum run_mode mode, struct problem *problem)
{
    *run = (struct run){0};
    if (open_log(run, folder, mode, problem)) return true;
    run_close(run);
    return false;
}

/* Takes over `value`; a failure shows when the whole is written. */
static void put(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value ? value : json_null())) json_object_clear(object);
}

/* Settings are an int64_t or a double each, in the order of the table. */
static json_t *settings_of(const cribo_trainer_config *config)
{
    json_t *settings = json_object();
    cribo_setting setting;
    const char *at = (const char *)config + sizeof config->struct_size;
    for (size_t i = 0; cribo_trainer_config_setting(i, &setting) == CRIBO_OK; i++, at += sizeof(int64_t)) {
        int64_t integer;
        double real;
        memcpy(&integer, at, sizeof integer);
        memcpy(&real, at, sizeof real);
        put(settings, setting.name, setting.integer ? json_integer(integer) : json_real(real));
    }
    return settings;
}

bool run_write_config(const struct run *run, const cribo_trainer_config *config,
    const struct run_facts *facts, struct problem *problem)
{
    json_t *root = json_object();
    put(root, "library", json_string(cribo_version()));
    put(root, "folder", json_string(facts->folder));
    put(root, "pictures", json_integer((json_int_t)facts->pictures));
    put(root, "preset", facts->preset ? json_string(facts->preset) : json_null());
    put(root, "threads", json_integer(facts->threads));
    put(root, "workers", json_integer(facts->workers));
    put(root, "settings", settings_of(config));
    errno = 0;
    bool written = json_dump_file(root, run->config, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) == 0;
    json_decref(root);
    return written ||
           problem_set(problem, "cannot write %s: %s", run->config, errno ? strerror(errno) : "no memory");
}

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void run_log(struct run *run, const cribo_report *report, double images_per_second)
{
    json_t *line = json_object();
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *at = (const char *)report + fields[i].offset;
        int64_t integer;
        double value;
        memcpy(&integer, at, sizeof integer);
        memcpy(&value, at, sizeof value);
        put(line, fields[i].name, fields[i].integer ? json_integer(integer) : real(value));
    }
    put(line, "images_per_second", real(images_per_second));
    put(line, "time", real((double)now.tv_sec + 1e-9 * (double)now.tv_nsec));
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(12));
    bool written = text && fprintf(run->log_file, "%s\n", text) > 0 && fflush(run->log_file) == 0;
    if (!written && !run->log_failed)
        say_warning("cannot write %s: %s; training goes on", run->log, strerror(errno));
    run->log_failed |= !written;
    free(text);
    json_decref(line);
}

/* A line of the log as a report; false when it is none. */
static bool read_line(const char *line, size_t length, cribo_report *report)
{
    json_t *root = json_loadb(line, length, 0, NULL);
    bool read = json_is_integer(json_object_get(root, "step"));
    *report = (cribo_report){.struct_size = sizeof *report};
    for (size_t i = 0; read && i < sizeof fields / sizeof *fields; i++) {
        char *at = (char *)report + fields[i].offset;
        json_t *value = json_object_get(root, fields[i].name);
        int64_t integer = json_integer_value(value);
        double real = json_is_number(value) ? json_number_value(value) : NAN;
        memcpy(at, fields[i].integer ? (void *)&integer : (void *)&real, sizeof integer);
    }
    json_decref(root);
    return read;
}

/* Where the log's steps before `step` end, in bytes; -1 without memory. */
static off_t find_end(FILE *log, int64_t step, struct history *history, struct problem *problem)
{
    char *line = NULL;
    size_t capacity = 0;
    off_t end = 0;
    for (ssize_t length; end >= 0 && (length = getline(&line, &capacity, log)) > 0;) {
        cribo_report report;
        if (line[length - 1] != '\n' || !read_line(line, (size_t)length, &report)) continue;
        if (report.step >= step) break;
        end = history_add(history, &report, problem) ? ftello(log) : -1;
    }
    free(line);
    return end;
}

bool run_rewind(const struct run *run, int64_t step, struct history *history, struct problem *problem)
{
    struct stat status;
    if (stat(run->log, &status) || !S_ISREG(status.st_mode)) return true; /* nothing that can be read again */
    FILE *log = fopen(run->log, "re");
    if (!log) return problem_set(problem, "cannot read %s: %s", run->log, strerror(errno));
    off_t end = find_end(log, step, history, problem);
    fclose(log);
    if (end < 0) return false;
    if (history->count != (size_t)step)
        say_warning("%s has %zu lines of %lld steps", run->log, history->count, (long long)step);
    return end == status.st_size || truncate(run->log, end) == 0 ||
           problem_set(problem, "cannot cut %s: %s", run->log, strerror(errno));
}

void run_close(struct run *run)
{
    if (run->log_file) fclose(run->log_file);
    free(run->config);
    free(run->log);
    free(run->weights);
    free(run->losses);
    free(run->clusters_start);
    free(run->clusters);
    *run = (struct run){0};
}
