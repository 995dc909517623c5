/* See session.h: the work before the first step, from cheap to expensive, so that errors appear early. */
#include "session/session.h"

#include "base/say.h"
#include "models/weights.h"
#include "pictures/kind.h"
#include "session/common_options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say_message(void *user, int level, const char *message)
{
    if (level == CRIBO_LOG_WARNING)
        session_warn(user, "%s", message);
    else
        say_note("%s", message);
}

static void say_broken(void *user, const char *name, const char *reason)
{
    struct session *session = user;
    complaints_add(&session->complaints, name, reason, "others take its place");
}

bool session_writes(const struct session *session)
{
    return session->ranks.rank == 0;
}

/* Joins the outcomes of work that each rank does by itself. */
static bool agree(struct session *session, bool worked)
{
    return ranks_agree(&session->ranks, worked, &session->problem);
}

/* Before the run's folder is made. */
static bool check_sources(struct session *session)
{
    const struct pretrain_options *options = session->options;
    for (size_t i = 0; i < options->source_count; i++)
        if (access(options->sources[i], R_OK))
            return problem_set(&session->problem, "%s: %s", options->sources[i], strerror(errno));
    return true;
}

static bool open_run_to_write(struct session *session)
{
    const struct pretrain_options *options = session->options;
    if (!checkpoints_list(&session->checkpoints, options->out, &session->problem)) return false;
    bool there = session->checkpoints.count > 0;
    if (options->resume && !there)
        return problem_set(
            &session->problem, "%s: no checkpoint to resume from; start without --resume", options->out);
    session->mode = options->overwrite ? RUN_OVERWRITE : there ? RUN_RESUME : RUN_NEW;
    if (!run_open(&session->run, options->out, session->mode, &session->problem)) return false;
    /* Again under the lock: another process may have saved meanwhile. */
    folder_free(&session->checkpoints);
    return options->overwrite ||
           checkpoints_list(&session->checkpoints, session->run.place, &session->problem);
}

/* Of a run in which rank 0 writes: the same checkpoints. */
static bool open_run_to_read(struct session *session, int64_t checkpoints)
{
    const char *folder = session->options->out;
    if (!run_name(&session->run, folder, &session->problem)) return false;
    if (checkpoints > 0 && !checkpoints_list(&session->checkpoints, folder, &session->problem)) return false;
    return (int64_t)session->checkpoints.count == checkpoints ||
           problem_set(&session->problem,
               "%s: %zu checkpoints are here, but %lld on the machine of rank 0; all ranks must see the "
               "same folder",
               folder, session->checkpoints.count, (long long)checkpoints);
}

static bool open_run(struct session *session)
{
    bool writes = session_writes(session);
    if (!agree(session, !writes || open_run_to_write(session))) return false;
    int64_t mode = session->mode, checkpoints = (int64_t)session->checkpoints.count;
    if (!ranks_follow(&session->ranks, &mode, &session->problem) ||
        !ranks_follow(&session->ranks, &checkpoints, &session->problem))
        return false;
    session->mode = (enum run_mode)mode;
    return agree(session, writes || open_run_to_read(session, checkpoints));
}

/* Rank 0 writes the list of pictures to the run's folder. */
static bool list_and_keep(void *argument, struct problem *problem)
{
    struct session *session = argument;
    const struct pretrain_options *options = session->options;
    const struct pictures_options how = {.skip = options->out, .keys = options->keys};
    return pictures_open(
        &session->pictures, session->run.pictures, options->sources, options->source_count, &how, problem);
}

/* The other ranks read that list, or, where it is not readable, make one that they remove. */
static bool list_again(struct session *session)
{
    const struct pretrain_options *options = session->options;
    const struct pictures_options how = {.skip = options->out, .keys = options->keys};
    const char *folder = getenv("TMPDIR");
    char path[PATH_MAX];
    if (pictures_read(
            &session->pictures, session->run.pictures, options->sources, options->source_count, &how))
        return true;
    snprintf(path, sizeof path, "%s/cribo-pictures-XXXXXX", folder && *folder ? folder : "/tmp");
    int file = mkstemp(path);
    if (file < 0) return problem_set(&session->problem, "cannot write %s: %s", path, strerror(errno));
    close(file);
    bool listed = pictures_open(
        &session->pictures, path, options->sources, options->source_count, &how, &session->problem);
    unlink(path);
    return listed;
}

/* All ranks must have the same list. */
static bool compare_lists(struct session *session)
{
    int64_t digest = (int64_t)session->pictures.digest, count = (int64_t)session->pictures.count;
    if (!ranks_follow(&session->ranks, &digest, &session->problem) ||
        !ranks_follow(&session->ranks, &count, &session->problem))
        return false;
    bool same = digest == (int64_t)session->pictures.digest && count == (int64_t)session->pictures.count;
    return agree(session,
        same ||
            problem_set(&session->problem, "%s%s: %zu pictures are here, which are not the %lld of rank 0",
                session->options->sources[0], session->options->source_count > 1 ? " ..." : "",
                session->pictures.count, (long long)count));
}

static bool list_pictures(struct session *session)
{
    const struct pretrain_options *options = session->options;
    if (!ranks_alone(&session->ranks, list_and_keep, session, &session->problem) ||
        !agree(session, session_writes(session) || list_again(session)) || !compare_lists(session))
        return false;
    if (session->pictures.count > UINT32_MAX)
        return problem_set(&session->problem, "%zu pictures are too many", session->pictures.count);
    return session->pictures.count > 0 ||
           problem_set(&session->problem, "%s%s: no %s files in it", options->sources[0],
               options->source_count > 1 ? " ..." : "", kind_formats);
}

/* Refuses other pictures than those of the run; if they are allowed, clears the list of broken ones. */
static bool check_pictures(struct session *session)
{
    const struct pretrain_options *options = session->options;
    struct position *position = &session->position;
    const struct pictures *pictures = &session->pictures;
    bool same = position->digest == pictures->digest && position->files == pictures->count;
    if (!same && !options->settings.override_folder)
        return problem_set(&session->problem,
            "%s: not the list of pictures that the run was begun with (%zu now, %zu then); go on all the "
            "same by --override folder",
            options->sources[0], pictures->count, position->files);
    if (!same) position->broken_count = 0;
    position->digest = pictures->digest;
    position->files = pictures->count;
    return true;
}

static bool check_preset(struct session *session)
{
    const char *given = session->options->settings.presets, *saved = session->position.preset;
    return !given[0] || !strcmp(given, saved) ||
           problem_set(&session->problem, "--preset=%s: the run was begun with %s%s; leave it out", given,
               saved[0] ? "--preset=" : "no preset", saved);
}

/* Computes the memory of the trainer before it is made; a warning where it is more than there is. */
static bool check_memory(struct session *session, const cribo_runtime *runtime)
{
    struct problem found;
    session->available_bytes = cribo_memory_available();
    if (cribo_trainer_memory(&session->config, runtime, &session->trainer_bytes) != CRIBO_OK)
        return problem_library(&session->problem);
    if (settings_too_large(session->trainer_bytes, session->available_bytes, &found))
        say_warning("%s", found.text);
    return true;
}

bool session_apply(struct session *session, const struct settings *settings)
{
    cribo_trainer_config *config = &session->config;
    if (!settings_apply(settings, session->pictures.count, config, &session->problem)) return false;
    /* So that the run can later have fewer ranks, but not more. */
    if (!settings_was_given(settings, "shards") && config->shards < session->ranks.size)
        config->shards = session->ranks.size;
    return settings_recipe(settings, &session->recipe, &session->problem);
}

/* Every rank has at least one image of a batch, and whole shards. */
bool session_check_ranks(struct session *session)
{
    int64_t size = session->ranks.size, batch = session->config.batch_size;
    if ((int64_t)session->pictures.count < batch) batch = (int64_t)session->pictures.count;
    if (session->config.shards % size != 0)
        return problem_set(&session->problem,
            "--shards is %lld, which %lld ranks do not divide; start at most %lld, or give %s%lld",
            (long long)session->config.shards, (long long)size, (long long)session->config.shards,
            session->checkpoint ? "--override shards=" : "--shards ", (long long)size);
    return batch >= size ||
           problem_set(&session->problem, "a batch of %lld pictures is too small for %lld ranks",
               (long long)batch, (long long)size);
}

static bool make_trainer(struct session *session)
{
    cribo_runtime runtime;
    if (cribo_runtime_init(&runtime, sizeof runtime) != CRIBO_OK) return problem_library(&session->problem);
    runtime.threads = session->options->threads;
    runtime.log = say_message;
    runtime.log_user = session;
    if (!session_check_ranks(session) || !check_memory(session, &runtime)) return false;
    return cribo_trainer_create_distributed(&session->trainer, &session->config, &runtime,
               ranks_communicator(&session->ranks)) == CRIBO_OK ||
           problem_library(&session->problem);
}

static cribo_status load_trainer(struct session *session, const char *path)
{
    const struct settings *settings = &session->options->settings;
    char names[MAX_SETTINGS * 48] = "";
    cribo_load_options options = {.struct_size = sizeof options, .overrides = names};
    for (size_t i = 0; i < settings->override_count; i++) {
        size_t length = strlen(names);
        if (recipe_find(settings->overrides[i])) continue; /* of the views: none of the trainer's */
        snprintf(names + length, sizeof names - length, "%s,", settings->overrides[i]);
    }
    return cribo_trainer_load(session->trainer, path, &options);
}

/* The watch continues unchanged. */
static bool take_watch(struct session *session)
{
    struct watch *watch = &session->watch;
    const struct pretrain_options *options = session->options;
    const char *text = session->position.watch;
    *watch = (struct watch){0};
    if (text[0] && !watch_parse(watch, text))
        return problem_set(&session->problem, "the checkpoint's record of the losses is invalid: %s", text);
    double saved = watch->skip_from, given = options->skip_from;
    if (given < 0 || given == saved) return true;
    watch->skip_from = given;
    return options->settings.override_skip || problem_set(&session->problem,
                                                  "--skip-spikes is %g in the checkpoint (0: off), not %g; "
                                                  "leave it out, or change it by --override "
                                                  "skip-spikes",
                                                  saved, given);
}

/* The views continue unchanged, except for newly given settings. */
static bool take_recipe(struct session *session)
{
    const struct position *position = &session->position;
    struct recipe saved;
    return recipe_read(&saved, position->recipe, &session->problem) &&
           settings_resume_recipe(&session->options->settings, &saved, &session->recipe, &session->problem);
}

/* The run's length stays what it was, whatever the speed now; another time is refused. */
static bool take_time(struct session *session)
{
    char before[TIME_TEXT] = "not given", now[TIME_TEXT];
    double given = session->options->settings.time;
    if (!time_plan_read(&session->time, session->position.time))
        return problem_set(
            &session->problem, "the checkpoint's plan of time is invalid: %s", session->position.time);
    if (given <= 0 || fabs(given - session->time.budget) < 1) return true;
    if (session->time.budget > 0) time_print(before, session->time.budget);
    time_print(now, given);
    return problem_set(&session->problem,
        "--time is %s in the checkpoint, not %s; leave it out, or change the length by --override steps=N",
        before, now);
}

/* A damaged checkpoint is skipped; one that does not match the command line is an error. */
enum outcome { TAKEN, DAMAGED, REFUSED };

static enum outcome outcome_of(struct session *session, cribo_status status)
{
    if (status == CRIBO_OK) return TAKEN;
    problem_library(&session->problem);
    return status == CRIBO_CORRUPT ? DAMAGED : REFUSED;
}

/* The run's settings and position: what each rank reads by itself. */
static enum outcome take_settings(struct session *session, const char *path)
{
    const struct settings *settings = &session->options->settings;
    cribo_trainer_config saved;
    cribo_status status = cribo_trainer_config_init(&saved, sizeof saved);
    if (status == CRIBO_OK) status = cribo_checkpoint_config(path, &saved);
    if (status != CRIBO_OK) return outcome_of(session, status);
    bool taken =
        position_read(&session->position, path, &session->problem) && check_pictures(session) &&
        check_preset(session) && take_watch(session) && take_time(session) && take_recipe(session) &&
        settings_resume(settings, &saved, session->pictures.count, &session->config, &session->problem);
    return taken ? TAKEN : REFUSED;
}

static enum outcome take_checkpoint(struct session *session, const char *path)
{
    enum outcome outcome = take_settings(session, path);
    session->checkpoint = path;
    if (!agree(session, outcome != REFUSED)) return REFUSED;
    if (!agree(session, outcome != DAMAGED)) return DAMAGED;
    return make_trainer(session) ? outcome_of(session, load_trainer(session, path)) : REFUSED;
}

/*
 * The newest intact checkpoint; damaged newer ones are renamed, so that later saves are counted correctly.
 */
static bool go_on(struct session *session)
{
    const struct folder *checkpoints = &session->checkpoints;
    for (size_t i = 0; i < checkpoints->count; i++) {
        enum outcome outcome = take_checkpoint(session, checkpoints->paths[i]);
        if (outcome == REFUSED) return false;
        if (outcome == TAKEN) {
            for (size_t k = 0; session_writes(session) && k < i; k++)
                checkpoints_set_aside(checkpoints->paths[k]);
            return cribo_trainer_step_count(session->trainer, &session->first_step) == CRIBO_OK ||
                   problem_library(&session->problem);
        }
        if (i + 1 < checkpoints->count)
            say_warning("%s; going back to the checkpoint before it", session->problem.text);
        cribo_trainer_free(session->trainer);
        session->trainer = NULL;
        session->checkpoint = NULL;
        position_free(&session->position);
    }
    return false;
}

/* Weights of a run expect pixels as in that run. */
static void say_normalisation(const struct session *session)
{
    const struct recipe *recipe = &session->recipe, published = recipe_published();
    if (session->options->weights &&
        (memcmp(recipe->mean, published.mean, sizeof recipe->mean) != 0 ||
            memcmp(recipe->deviation, published.deviation, sizeof recipe->mean) != 0))
        say_note("pixels: mean %.4g, %.4g, %.4g and deviation %.4g, %.4g, %.4g", recipe->mean[0],
            recipe->mean[1], recipe->mean[2], recipe->deviation[0], recipe->deviation[1],
            recipe->deviation[2]);
}

static bool begin(struct session *session)
{
    struct settings chosen = session->options->settings, *settings = &chosen;
    struct position *position = &session->position;
    settings->weights = session->options->weights;
    session->watch.skip_from = fmax(session->options->skip_from, 0);
    position->digest = session->pictures.digest;
    position->files = session->pictures.count;
    snprintf(position->preset, sizeof position->preset, "%s", session->options->settings.presets);
    const struct pretrain_options *options = session->options;
    if (!session_plan_time(session, settings)) return false;
    time_plan_print(&session->time, position->time);
    if (!session_apply(session, settings)) return false;
    say_normalisation(session);
    return make_trainer(session) &&
           agree(session, !options->weights || weights_load(session->trainer, options->weights,
                                                   options->weights_heads, &session->problem));
}

/* The views may follow from a file of weights, which each rank reads. */
static bool compare_views(struct session *session)
{
    char text[16 + RECIPE_WHOLE_TEXT] = "views ";
    recipe_write(&session->recipe, text + strlen(text));
    return ranks_same(&session->ranks, text, &session->problem);
}

/* The log ends at the trainer's step. */
static bool open_log(struct session *session)
{
    recipe_write(&session->recipe, session->position.recipe);
    session->step = session->first_step;
    if (!session_writes(session)) return true;
    return run_open_log(&session->run, session->mode, session->step, &session->problem) &&
           (!session->checkpoint || run_rewind(&session->run, session->position.batches, session->step,
                                        &session->history, &session->problem));
}

void session_loader_options(struct session *session, struct loader_options *options)
{
    *options = (struct loader_options){.pictures = &session->pictures,
        .recipe = session->recipe,
        .image_size = (int)session->config.image_size,
        .local_crops = (int)session->config.local_crops,
        .local_size = (int)session->config.local_size,
        .batch = (size_t)session->config.batch_size,
        .part = (size_t)session->ranks.rank,
        .parts = (size_t)session->ranks.size,
        .workers = session->options->workers,
        .seed = (uint64_t)session->config.seed,
        .first = session->position.batches,
        .broken = session->position.broken,
        .broken_count = session->position.broken_count,
        .say_broken = session_writes(session) ? say_broken : NULL,
        .say_broken_user = session};
}

static bool make_loader(struct session *session)
{
    struct loader_options options;
    complaints_init(&session->complaints);
    session_loader_options(session, &options);
    return loader_create(&session->loader, &options, &session->problem);
}

static bool write_config(struct session *session)
{
    const struct pretrain_options *options = session->options;
    if (!session_writes(session)) return true;
    struct run_facts facts = {.sources = options->sources,
        .source_count = options->source_count,
        .keys = options->keys,
        .preset = session->position.preset[0] ? session->position.preset : NULL,
        .weights = options->weights,
        .continued = session->checkpoint != NULL,
        .recipe = &session->recipe,
        .pictures = session->pictures.count,
        .time = &session->time,
        .threads = options->threads,
        .workers = options->workers};
    return run_write_config(&session->run, &session->config, &facts, &session->problem);
}

static bool open_look(struct session *session)
{
    const struct look_options *options = &session->options->look;
    session->look = (struct look){.options = options};
    return !session_writes(session) ||
           look_open(&session->look, options, session->run.place, session->step, &session->problem);
}

/* Rank 0 draws. */
static bool make_showcase(struct session *session)
{
    return !session_writes(session) || showcase_make(&session->showcase, &session->pictures, &session->recipe,
                                           &session->config, &session->problem);
}

static bool make_view_retrieval(struct session *session)
{
    return !session_writes(session) || view_retrieval_make(&session->view_retrieval, &session->pictures,
                                           &session->recipe, &session->config, &session->problem);
}

/* A new run measures the untrained network; a continued run has that in its log. */
static void begin_retrieval(struct session *session)
{
    double percent = session->checkpoint ? NAN : session_retrieve(session);
    if (!session->checkpoint && session_writes(session)) run_log_start(&session->run, percent);
}

/* The first drawing of a run determines the colours of all later ones, also after a resume. */
static bool keep_colours(struct session *session, struct problem *problem)
{
    return session->checkpoint || showcase_save_colours(&session->showcase, session->run.colours, problem);
}

struct drawing {
    struct session *session;
    const char *path;
    bool event;
};

/* The objects before training, and those found now, beside each other. */
static bool show_both(struct session *session, struct problem *problem)
{
    const char *weights = session->run.first_weights;
    struct sheet sheet = {0};
    char *before, after[64];
    snprintf(after, sizeof after, "after %lld steps", (long long)session->step);
    if (asprintf(&before, "before training%s%s", weights ? ": " : "", weights ? weights : "") < 0)
        return problem_no_memory(problem);
    const char *const names[] = {before, after};
    bool shown = showcase_draw_both(&session->showcase, "Objects that the teacher finds", names, SHEET_PNG,
                     &sheet, problem) &&
                 sheet_write(&sheet, session->run.clusters_both, problem);
    sheet_free(&sheet);
    free(before);
    return shown;
}

static bool show_clusters(void *argument, struct problem *problem)
{
    const struct drawing *drawing = argument;
    struct session *session = drawing->session;
    struct showcase *showcase = &session->showcase;
    struct sheet sheet = {0};
    char title[96];
    if (showcase->images == 0) return true;
    bool first = !showcase->reference;
    showcase_title(title, sizeof title, session->step);
    bool shown = look_cluster(showcase, session->trainer, &session->config, &session->recipe,
                     session->options->threads, problem) &&
                 showcase_draw(showcase, title, SHEET_PNG, &sheet, problem) &&
                 run_show(&session->run, drawing->path, session->step, &sheet, drawing->event, problem);
    sheet_free(&sheet);
    return shown && (first ? keep_colours(session, problem) : show_both(session, problem));
}

bool session_show_clusters(struct session *session, const char *path, bool event)
{
    struct drawing drawing = {session, path, event};
    return ranks_alone(&session->ranks, show_clusters, &drawing, &session->problem);
}

bool session_prepare(struct session *session)
{
    const cribo_trainer_config *config = &session->config;
    bool prepared =
        common_options_compare(&session->ranks, session->options, &session->problem) &&
        agree(session, check_sources(session)) && open_run(session) && list_pictures(session) &&
        (session->checkpoints.count ? go_on(session) : begin(session)) && compare_views(session) &&
        agree(session, open_log(session) && open_look(session) && write_config(session) &&
                           make_loader(session) && make_showcase(session) && make_view_retrieval(session));
    if (prepared) begin_retrieval(session);
    if (prepared && session->checkpoint && session_writes(session))
        showcase_load_colours(&session->showcase, session->run.colours);
    /* A failure to draw does not stop the training. */
    const char *picture = session->checkpoint ? session->run.clusters : session->run.clusters_start;
    /* A resumed run has the event of this step already. */
    if (prepared && !session_show_clusters(session, picture, !session->checkpoint))
        say_warning("%s", session->problem.text);
    /* Before the first step, because otherwise a resume would continue the replaced run. */
    if (prepared && session_writes(session))
        checkpoints_prune(session->run.place, session->checkpoint ? session->options->keeping.keep : 0);
    session->total_steps =
        config->total_steps ? config->total_steps : llround(config->epochs * (double)config->steps_per_epoch);
    int64_t stop = session->options->stop_after;
    session->last_step = stop && stop < session->total_steps ? stop : session->total_steps;
    if (prepared && !session->checkpoint && session->look.options->data.train) session_look(session);
    if (prepared) session_end_without_gain(session);
    return prepared;
}

void session_free(struct session *session)
{
    struct problem problem;
    if (!saving_end(&session->saving, &problem)) say_warning("%s", problem.text);
    loader_free(session->loader);
    cribo_trainer_free(session->trainer);
    showcase_free(&session->showcase);
    look_free(&session->look);
    view_retrieval_free(&session->view_retrieval);
    history_free(&session->history);
    run_close(&session->run);
    pictures_close(&session->pictures);
    folder_free(&session->checkpoints);
    position_free(&session->position);
}
