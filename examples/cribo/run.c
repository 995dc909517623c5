/* See run.h. */
#include "run.h"

#include "folder.h"
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

static bool open_log(struct run *run, const char *folder, bool overwrite, struct problem *problem)
{
    if (!name_files(run, folder)) return problem_set(problem, "no memory");
    if (!folder_make(folder, problem)) return false;
    struct stat log; /* empty: of a run that did not come to its first step */
    bool used = access(run->weights, F_OK) == 0 || (stat(run->log, &log) == 0 && log.st_size > 0);
    if (used && !overwrite)
        return problem_set(
            problem, "%s: holds a run already; choose another folder or give --overwrite", folder);
    run->log_file = fopen(run->log, "we");
    return run->log_file || problem_set(problem, "cannot write %s: %s", run->log, strerror(errno));
}

bool run_open(struct run *run, const char *folder, bool overwrite, struct problem *problem)
{
    *run = (struct run){0};
    if (open_log(run, folder, overwrite, problem)) return true;
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
