/* See run.h. */
#include "session/run.h"

#include "base/machine.h"
#include "base/output.h"
#include "pictures/folder.h"
#include "base/say.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

/*
 * A field of the report: its name in the log, and its tag in TensorBoard, which groups by what is before the
 * slash.
 */
#define INTEGER(field, tag) {#field, tag, offsetof(cribo_report, field), true}
#define REAL(field, tag) {#field, tag, offsetof(cribo_report, field), false}

/* clang-format off */
static const struct {
    const char *name, *tag;
    size_t offset;
    bool integer;
} fields[] = {
    INTEGER(step, NULL),
    INTEGER(epoch, "schedule/epoch"),
    INTEGER(images, NULL),
    REAL(loss, "loss/all"),
    REAL(global_loss, "loss/cls"),
    REAL(cross_view_loss, "loss/cross_view"),
    REAL(cross_image_loss, "loss/cross_image"),
    REAL(gradient_norm, "watch/gradient_norm"),
    REAL(learning_rate, "schedule/learning_rate"),
    REAL(weight_decay, "schedule/weight_decay"),
    REAL(ema_momentum, "schedule/ema_momentum"),
    REAL(teacher_temperature, "schedule/teacher_temperature"),
    REAL(object_teacher_temperature, "schedule/object_teacher_temperature"),
    REAL(position_weight, "schedule/position_weight"),
    REAL(objects_per_image, "objects/per_image"),
    REAL(matched_share, "objects/matched_share"),
    REAL(cross_image_on, "schedule/cross_image_on"),
    REAL(bank_fill, "objects/bank_fill"),
    REAL(uniform_loss, "collapse/uniform_loss"),
    REAL(teacher_entropy, "collapse/teacher_entropy"),
    REAL(mean_teacher_entropy, "collapse/mean_teacher_entropy"),
    REAL(prototypes_used, "collapse/prototypes_used"),
    REAL(feature_deviation, "collapse/feature_deviation"),
    REAL(teach_ms, "time/teach_ms"),
    REAL(cluster_ms, "time/cluster_ms"),
    REAL(match_ms, "time/match_ms"),
    REAL(learn_ms, "time/learn_ms"),
    REAL(update_ms, "time/update_ms"),
    REAL(koleo_loss, "loss/koleo"),
    REAL(gram_loss, "loss/gram"),
    REAL(masked_loss, "loss/masked"),
    REAL(masked_share, "schedule/masked_share"),
    REAL(local_loss, "loss/local"),
};
/* clang-format on */
enum { FIELDS = sizeof fields / sizeof *fields };

static bool name_files(struct run *run, const char *folder)
{
    run->config = path_join(folder, "config.json");
    run->log = path_join(folder, "log.jsonl");
    run->weights = path_join(folder, "weights.safetensors");
    run->best = path_join(folder, "best.safetensors");
    run->losses = path_join(folder, "loss.png");
    run->clusters_start = path_join(folder, "clusters-start.png");
    run->clusters = path_join(folder, "clusters.png");
    run->clusters_both = path_join(folder, "clusters-before-after.png");
    run->colours = path_join(folder, "clusters-start.json");
    run->pictures = path_join(folder, "pictures.index");
    run->board = path_join(folder, "events.out.tfevents.cribo");
    return run->config && run->log && run->weights && run->best && run->losses && run->clusters_start &&
           run->clusters && run->clusters_both && run->colours && run->pictures && run->board;
}

/* A run that was stopped before its first save has only a log and settings, so nothing would be lost. */
static bool is_unused(const struct run *run, const char *folder, struct problem *problem)
{
    struct stat log;
    bool logged = stat(run->log, &log) == 0 && log.st_size > 0, ours = access(run->config, F_OK) == 0;
    if (access(run->weights, F_OK) == 0 || (logged && !ours))
        return problem_set(
            problem, "%s: holds a run already; choose another folder or give --overwrite", folder);
    if (logged) say_note("%s: the run there was stopped before it saved anything; it begins anew", folder);
    return true;
}

/* Names the process that has the lock, from the content of the file. */
static bool locked(const char *folder, int file, struct problem *problem)
{
    char owner[32] = "";
    ssize_t length = pread(file, owner, sizeof owner - 1, 0);
    owner[length > 0 ? strspn(owner, "0123456789") : 0] = '\0';
    return problem_set(problem, "%s: process %s is training in it", folder, owner[0] ? owner : "(unknown)");
}

/* Held until the process ends, in any way. */
static bool take_lock(struct run *run, const char *folder, struct problem *problem)
{
    char owner[32];
    run->lock = openat(run->folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (run->lock < 0) return problem_set(problem, "cannot write %s/lock: %s", folder, strerror(errno));
    if (flock(run->lock, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK) return locked(folder, run->lock, problem);
        say_warning(
            "%s: cannot be locked (%s): see that no other process trains in it", folder, strerror(errno));
        return true;
    }
    int length = snprintf(owner, sizeof owner, "%ld\n", (long)getpid());
    if (ftruncate(run->lock, 0) || pwrite(run->lock, owner, (size_t)length, 0) != length)
        return problem_set(problem, "cannot write %s/lock: %s", folder, strerror(errno));
    return true;
}

/*
 * Keeps the folder open, so that all files are written to it even when it is moved or replaced; without /proc
 * its name is used.
 */
static bool hold_folder(struct run *run, const char *folder, struct problem *problem)
{
    run->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run->folder < 0) return problem_set(problem, "cannot open %s: %s", folder, strerror(errno));
    snprintf(run->place, sizeof run->place, "/proc/self/fd/%d", run->folder);
    if (access(run->place, F_OK)) snprintf(run->place, sizeof run->place, "%s", folder);
    say_alias(run->place, folder);
    return name_files(run, run->place) || problem_no_memory(problem);
}

bool run_open(struct run *run, const char *folder, enum run_mode mode, struct problem *problem)
{
    *run = (struct run){.lock = -1, .folder = -1};
    bool opened = folder_make(folder, problem) && hold_folder(run, folder, problem) &&
                  take_lock(run, folder, problem) && (mode != RUN_NEW || is_unused(run, folder, problem));
    if (!opened) run_close(run);
    return opened;
}

bool run_name(struct run *run, const char *folder, struct problem *problem)
{
    *run = (struct run){.lock = -1, .folder = -1};
    snprintf(run->place, sizeof run->place, "%s", folder);
    return name_files(run, folder) || problem_no_memory(problem);
}

bool run_open_log(struct run *run, enum run_mode mode, int64_t step, struct problem *problem)
{
    if (mode != RUN_RESUME && unlink(run->best) && errno != ENOENT)
        return problem_set(problem, "cannot remove %s: %s", run->best, strerror(errno));
    run->log_file = output_append(run->log, mode != RUN_RESUME, problem);
    return run->log_file && events_open(&run->events, run->board, mode == RUN_RESUME ? step + 1 : 0, problem);
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

static json_t *sources_of(const struct run_facts *facts)
{
    json_t *sources = json_array();
    for (size_t i = 0; i < facts->source_count; i++)
        json_array_append_new(sources, json_string(facts->sources[i]));
    return sources;
}

static json_t *recipe_of(const struct run_facts *facts)
{
    json_t *recipe = json_object();
    for (size_t i = 0; i < RECIPE_SETTINGS; i++) {
        char value[RECIPE_TEXT];
        recipe_print(facts->recipe, &recipe_settings[i], value);
        put(recipe, recipe_settings[i].name, json_string(value));
    }
    return recipe;
}

static json_t *time_of(const struct time_plan *time)
{
    if (time->budget <= 0) return NULL;
    json_t *plan = json_object();
    put(plan, "budget_s", json_real(time->budget));
    put(plan, "measured_steps", json_integer(time->measured));
    put(plan, "seconds_per_step", json_real(time->seconds_per_step));
    put(plan, "steps", json_integer(time->steps));
    return plan;
}

/* The file of weights in config.json; NULL: none. To be freed. */
static char *read_weights(const char *config)
{
    json_t *root = json_load_file(config, 0, NULL);
    const char *name = json_string_value(json_object_get(root, "weights"));
    char *weights = name ? strdup(name) : NULL;
    json_decref(root);
    return weights;
}

bool run_write_config(struct run *run, const cribo_trainer_config *config, const struct run_facts *facts,
    struct problem *problem)
{
    json_t *root = json_object();
    free(run->first_weights);
    run->first_weights = facts->continued ? read_weights(run->config)
                         : facts->weights ? strdup(facts->weights)
                                          : NULL;
    put(root, "library", json_string(cribo_version()));
    put(root, "sources", sources_of(facts));
    put(root, "keys", facts->keys ? json_string(facts->keys) : json_null());
    put(root, "pictures", json_integer((json_int_t)facts->pictures));
    put(root, "preset", facts->preset ? json_string(facts->preset) : json_null());
    put(root, "weights", run->first_weights ? json_string(run->first_weights) : json_null());
    put(root, "time", time_of(facts->time));
    char machine[512];
    machine_describe(machine, sizeof machine);
    put(root, "machine", json_string(machine));
    put(root, "threads", json_integer(facts->threads));
    put(root, "workers", json_integer(facts->workers));
    put(root, "augmentation", recipe_of(facts));
    put(root, "settings", settings_of(config));
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    bool written = text ? output_write(run->config, text, strlen(text), problem) : problem_no_memory(problem);
    free(text);
    json_decref(root);
    return written;
}

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static int64_t integer_at(const cribo_report *report, int field)
{
    int64_t value;
    memcpy(&value, (const char *)report + fields[field].offset, sizeof value);
    return value;
}

static double real_at(const cribo_report *report, int field)
{
    double value;
    memcpy(&value, (const char *)report + fields[field].offset, sizeof value);
    return value;
}

/* A loss that was not computed has no value, and neither do its neighbours. */
static bool is_measured(const cribo_report *report, int field)
{
    size_t at = fields[field].offset;
    return report->cross_image_on != 0 || real_at(report, field) != 0 ||
           (at != offsetof(cribo_report, cross_image_loss) && at != offsetof(cribo_report, matched_share));
}

/* The number of completed steps: the first is 1. */
static int64_t count_at(const cribo_report *report, int field)
{
    return integer_at(report, field) + (fields[field].offset == offsetof(cribo_report, step));
}

/* The fields whose tag begins with `group`, NULL for all, in the order of the table. */
static void put_report(json_t *object, const cribo_report *report, const char *group)
{
    for (int i = 0; i < FIELDS; i++) {
        if (group && fields[i].tag && strncmp(fields[i].tag, group, strlen(group))) continue;
        put(object, fields[i].name,
            fields[i].integer        ? json_integer(count_at(report, i))
            : is_measured(report, i) ? real(real_at(report, i))
                                     : json_null());
    }
}

static const char retrieval_name[] = "view_retrieval_percent",
                  retrieval_start_name[] = "view_retrieval_start_percent";
static const char retrieval_tag[] = "watch/view_retrieval_percent";

void run_log_start(struct run *run, double view_retrieval)
{
    const char *tags[] = {retrieval_tag};
    events_scalars(&run->events, 0, 1, tags, &view_retrieval);
}

void run_log_score(struct run *run, int64_t step, double mean_iou)
{
    const char *tags[] = {"watch/mean_iou"};
    events_scalars(&run->events, step, 1, tags, &mean_iou);
}

static void write_event(struct run *run, const struct log_line *line)
{
    enum { MORE = 4 };
    const char *tags[FIELDS + MORE] = {
        "time/wait_ms", "time/images_per_second", "watch/loss_score", retrieval_tag};
    double values[FIELDS + MORE] = {
        line->wait_ms, line->images_per_second, line->loss_score, line->view_retrieval};
    size_t count = MORE;
    for (int i = 0; i < FIELDS; i++) {
        if (!fields[i].tag || !is_measured(&line->report, i)) continue;
        tags[count] = fields[i].tag;
        values[count++] =
            fields[i].integer ? (double)integer_at(&line->report, i) : real_at(&line->report, i);
    }
    events_scalars(&run->events, line->report.step + 1, count, tags, values);
}

void run_log(struct run *run, const struct log_line *line)
{
    json_t *object = json_object();
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    put(object, "batch", json_integer((json_int_t)line->batch));
    if (line->skipped) put(object, "skipped", json_true());
    put(object, "loss_score", real(line->loss_score));
    put(object, retrieval_name, real(line->view_retrieval));
    put(object, retrieval_start_name, real(line->view_retrieval_start));
    put_report(object, &line->report, line->skipped ? "loss/" : NULL);
    put(object, "wait_ms", real(line->wait_ms));
    put(object, "images_per_second", real(line->images_per_second));
    if (line->warning && line->warning[0]) put(object, "warning", json_string(line->warning));
    put(object, "time", real((double)now.tv_sec + 1e-9 * (double)now.tv_nsec));
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(12));
    bool written = text && fprintf(run->log_file, "%s\n", text) > 0 && fflush(run->log_file) == 0;
    if (!written && !run->log_failed)
        say_warning("cannot write %s: %s; training goes on", run->log, strerror(errno));
    run->log_failed |= !written;
    free(text);
    json_decref(object);
    if (!line->skipped) write_event(run, line);
}

bool run_show(
    struct run *run, const char *path, int64_t step, struct sheet *sheet, bool event, struct problem *problem)
{
    uint8_t *png;
    size_t size;
    if (!sheet_encode(sheet, &png, &size, problem)) return false;
    if (event) events_picture(&run->events, step, "objects", sheet->width, sheet->height, png, size);
    bool written = output_write(path, png, size, problem);
    free(png);
    return written;
}

static double number_of(json_t *root, const char *name)
{
    json_t *value = json_object_get(root, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Reads a line of the log; false if it is none. Old logs have no batches: in them a batch is a step. */
static bool read_line(const char *text, size_t length, struct log_line *line)
{
    json_t *root = json_loadb(text, length, 0, NULL), *batch = json_object_get(root, "batch");
    bool read = json_is_integer(json_object_get(root, "step"));
    *line = (struct log_line){.report.struct_size = sizeof line->report};
    for (size_t i = 0; read && i < FIELDS; i++) {
        char *at = (char *)&line->report + fields[i].offset;
        int64_t integer = json_integer_value(json_object_get(root, fields[i].name));
        double real = number_of(root, fields[i].name);
        memcpy(at, fields[i].integer ? (void *)&integer : (void *)&real, sizeof integer);
    }
    line->batch = (uint64_t)(json_is_integer(batch) ? json_integer_value(batch) : line->report.step);
    line->skipped = json_is_true(json_object_get(root, "skipped"));
    line->view_retrieval = number_of(root, retrieval_name);
    line->view_retrieval_start = number_of(root, retrieval_start_name);
    json_decref(root);
    return read;
}

/* Adds a line of the log to the history; its steps count from 1. */
static bool remember(struct history *history, const struct log_line *line, struct problem *problem)
{
    double start = line->view_retrieval_start, percent = line->view_retrieval;
    if (line->skipped) return true;
    return history_add(history, &line->report, problem) &&
           (isnan(start) || history->retrieval_count || history_add_retrieval(history, 0, start, problem)) &&
           (isnan(percent) || history_add_retrieval(history, (double)line->report.step, percent, problem));
}

/* The end of the log's lines before `batch`, in bytes; -1 without memory. */
static off_t find_end(FILE *log, uint64_t batch, struct history *history, struct problem *problem)
{
    char *text = NULL;
    size_t capacity = 0;
    off_t end = 0;
    for (ssize_t length; end >= 0 && (length = getline(&text, &capacity, log)) > 0;) {
        struct log_line line;
        if (text[length - 1] != '\n' || !read_line(text, (size_t)length, &line)) continue;
        if (line.batch >= batch) break;
        end = remember(history, &line, problem) ? ftello(log) : -1;
    }
    free(text);
    return end;
}

bool run_rewind(
    const struct run *run, uint64_t batch, int64_t steps, struct history *history, struct problem *problem)
{
    struct stat status;
    if (stat(run->log, &status) || !S_ISREG(status.st_mode)) return true; /* nothing that can be read again */
    FILE *log = fopen(run->log, "re");
    if (!log) return problem_set(problem, "cannot read %s: %s", run->log, strerror(errno));
    off_t end = find_end(log, batch, history, problem);
    fclose(log);
    if (end < 0) return false;
    if (history->count != (size_t)steps)
        say_warning("%s has %zu lines of %lld steps", run->log, history->count, (long long)steps);
    return end == status.st_size || truncate(run->log, end) == 0 ||
           problem_set(problem, "cannot cut %s: %s", run->log, strerror(errno));
}

void run_flush(struct run *run)
{
    /* EINVAL: the file, for example a pipe, cannot be flushed. A failed write has already been reported. */
    if (fsync(fileno(run->log_file)) && errno != EINVAL && !run->log_failed)
        say_warning("cannot write %s: %s; training goes on", run->log, strerror(errno));
}

void run_close(struct run *run)
{
    if (run->log_file) fclose(run->log_file);
    events_close(&run->events);
    if (run->lock >= 0) close(run->lock);
    if (run->folder >= 0) close(run->folder);
    free(run->config);
    free(run->log);
    free(run->weights);
    free(run->best);
    free(run->losses);
    free(run->clusters_start);
    free(run->clusters);
    free(run->clusters_both);
    free(run->first_weights);
    free(run->colours);
    free(run->pictures);
    free(run->board);
    *run = (struct run){.lock = -1, .folder = -1};
}
