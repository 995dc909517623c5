/* See saving.h. */
#include "session/saving.h"

#include <string.h>

/* The library's message, after that of the checkpoint if that also failed, for another reason. */
static void add_failure(bool kept, struct problem *problem)
{
    struct problem first = *problem;
    if (kept || strcmp(first.text, cribo_last_error()) == 0)
        problem_library(problem);
    else
        problem_set(problem, "%.480s; %.480s", first.text, cribo_last_error());
}

/* The weights carry the settings of the views, of which models need the mean and the deviation. */
static cribo_status save_weights(
    struct state_source source, const char *path, const struct position *position)
{
    const char *const keys[] = {"augmentation"}, *const values[] = {position->recipe};
    const cribo_save_options options = {
        .struct_size = sizeof options, .metadata_count = 1, .metadata_keys = keys, .metadata_values = values};
    return source.snapshot ? cribo_snapshot_save_weights_with(source.snapshot, path, &options)
                           : cribo_trainer_save_weights_with(source.trainer, path, &options);
}

bool saving_now(const struct saving_place *place, const cribo_trainer *trainer, int64_t step,
    struct position *position, struct problem *problem)
{
    struct state_source source = {.trainer = trainer};
    bool kept = checkpoints_save(place->folder, source, step, position, place->keeping, problem);
    /* Weights are saved even if the checkpoint fails. */
    bool saved = save_weights(source, place->weights, position) == CRIBO_OK;
    position_free(position);
    if (!saved) add_failure(kept, problem);
    return kept && saved;
}

static void *save(void *argument)
{
    struct saving *saving = argument;
    struct state_source source = {.snapshot = saving->snapshot};
    saving->saved = checkpoints_save(saving->place.folder, source, saving->step, &saving->position,
        saving->place.keeping, &saving->problem);
    if (save_weights(source, saving->place.weights, &saving->position) != CRIBO_OK) {
        add_failure(saving->saved, &saving->problem);
        saving->saved = false;
    }
    return NULL;
}

bool saving_end(struct saving *saving, struct problem *problem)
{
    if (!saving->running) return true;
    pthread_join(saving->thread, NULL);
    cribo_snapshot_free(saving->snapshot);
    position_free(&saving->position);
    saving->running = false;
    if (!saving->saved) *problem = saving->problem;
    return saving->saved;
}

bool saving_begin(struct saving *saving, const struct saving_place *place, const cribo_trainer *trainer,
    int64_t step, struct position *position, struct problem *problem)
{
    cribo_runtime runtime;
    bool before = saving_end(saving, problem);
    *saving = (struct saving){.place = *place, .step = step, .position = *position};
    *position = (struct position){0};
    bool begun = cribo_runtime_init(&runtime, sizeof runtime) == CRIBO_OK;
    runtime.threads = 1; /* the others train */
    begun = begun && cribo_snapshot_create(&saving->snapshot, trainer, &runtime) == CRIBO_OK;
    if (!begun) problem_library(problem);
    if (begun && place->writes) {
        saving->running = pthread_create(&saving->thread, NULL, save, saving) == 0;
        if (!saving->running) begun = problem_set(problem, "cannot start a thread to save in");
    }
    if (!saving->running) {
        cribo_snapshot_free(saving->snapshot);
        position_free(&saving->position);
    }
    return begun && before;
}
