/* The trainer's state as named arrays. See state.h. */
#include "training/state.h"

#include "base/text.h"
#include "tensor/finite.h"

#include <string.h>

/* --- the list --- */

static size_t bytes_of(const cb_state_array *array)
{
    return array->count * (array->integers ? sizeof(int64_t) : sizeof(cb_real));
}

/* Adds an array; only counts while there is no list. */
static void add(cb_state *state, cb_state_array array)
{
    array.count = 1;
    for (size_t i = 0; i < array.axes; i++) array.count *= array.shape[i];
    if (state->arrays) state->arrays[state->count] = array;
    state->count++;
}

static void add_parameters(cb_state *state, const cb_parameters *layout, const char *prefix, cb_real *values)
{
    for (size_t p = 0; p < layout->count; p++) {
        const cb_parameter *parameter = &layout->list[p];
        cb_state_array array = {.prefix = prefix,
            .name = parameter->name,
            .axes = parameter->axes,
            .target = values + parameter->offset};
        memcpy(array.shape, parameter->shape, sizeof array.shape);
        add(state, array);
    }
}

static void add_vector(cb_state *state, const char *name, bool integers, void *values, size_t count)
{
    add(state,
        (cb_state_array){
            .prefix = "", .name = name, .integers = integers, .axes = 1, .shape = {count}, .target = values});
}

static void list_all(cb_learner *learner, cb_state *state)
{
    const cb_parameters *layout = learner->student;
    size_t width = learner->objective->sizes.width;
    state->count = 0;
    add_parameters(state, layout, CB_STUDENT_PREFIX, layout->values);
    add_parameters(state, layout, CB_TEACHER_PREFIX, learner->teacher->values);
    if (learner->anchor) add_parameters(state, learner->anchor, CB_ANCHOR_PREFIX, learner->anchor->values);
    if (learner->average) {
        add_parameters(state, layout, CB_AVERAGE_PREFIX, learner->average);
        add_vector(state, "average_steps", true, &learner->averaged, 1);
    }
    add_parameters(state, layout, "optimiser.first.", learner->optimiser.first);
    add_parameters(state, layout, "optimiser.second.", learner->optimiser.second);
    add_vector(state, "optimiser.updates", true, learner->optimiser.updates, layout->count);
    add_vector(state, "centre", false, learner->objective->centre, learner->objective->teacher.cls.count);
    add_vector(state, "object_centre", false, learner->objective->object_centre,
        learner->objective->teacher.objects.count);
    if (learner->objective->masked_centre)
        add_vector(state, "masked_centre", false, learner->objective->masked_centre,
            learner->objective->teacher.cls.count);
    add_vector(state, "bank.objects_per_image", true, NULL, state->images);
    add_vector(state, "bank.ids", true, NULL, state->images);
    for (int v = 0; v < 2; v++)
        add(state, (cb_state_array){.prefix = "",
                       .name = v == 0 ? "bank.view1" : "bank.view2",
                       .axes = 2,
                       .shape = {state->objects, width},
                       .view = v});
    add_vector(state, "collapse.steps", true, learner->collapse.steps, CB_SIGNS);
}

static cribo_status make_list(cb_learner *learner, cb_state *state)
{
    list_all(learner, state); /* counts */
    CB_TRY(CB_ALLOCATE(state->allocator, &state->arrays, state->count, "list of a state"));
    list_all(learner, state);
    return CRIBO_OK;
}

void cb_state_free(cb_state *state)
{
    cb_release(state->allocator, state->names);
    cb_release(state->allocator, state->memory);
    cb_release(state->allocator, state->arrays);
    *state = (cb_state){0};
}

/* Freed, if `status` is a failure. */
static cribo_status complete(cb_state *state, cribo_status status)
{
    if (status != CRIBO_OK) cb_state_free(state);
    return status;
}

const cb_state_array *cb_state_find(const cb_state *state, const char *name)
{
    for (size_t i = 0; i < state->count; i++) {
        size_t prefix = strlen(state->arrays[i].prefix);
        if (strncmp(state->arrays[i].prefix, name, prefix) == 0 &&
            strcmp(state->arrays[i].name, name + prefix) == 0)
            return &state->arrays[i];
    }
    return NULL;
}

static cb_state_array *find(const cb_state *state, const char *name)
{
    return (cb_state_array *)cb_state_find(state, name);
}

/* --- a trainer's own state --- */

/* An empty list, for the present size of the bank. */
static cb_state begin_state(const cb_learner *learner, const cb_allocator *allocator)
{
    return (cb_state){.allocator = allocator,
        .images = cb_memory_bank_images(learner->objective->bank),
        .objects = cb_memory_bank_count(learner->objective->bank)};
}

static cribo_status collect(cb_learner *learner, cb_state *state)
{
    int64_t *images;
    CB_TRY(make_list(learner, state));
    CB_TRY(CB_ALLOCATE(state->allocator, &images, 2 * state->images, "list of the bank's images"));
    state->memory = images;
    cb_memory_bank_export(learner->objective->bank, images, images + state->images, NULL, NULL);
    for (size_t i = 0; i < state->count; i++) state->arrays[i].values = state->arrays[i].target;
    find(state, "bank.objects_per_image")->values = images;
    find(state, "bank.ids")->values = images + state->images;
    return CRIBO_OK;
}

cribo_status cb_state_of(cb_learner *learner, cb_state *state)
{
    *state = begin_state(learner, &learner->runtime->allocator);
    CB_TRY(cb_optimiser_spread_moments(&learner->optimiser));
    return complete(state, collect(learner, state));
}

/* --- places in separate memory --- */

/* Sets the place of each array, one after the other; returns the bytes of all. */
static size_t lay_out(cb_state *state)
{
    size_t bytes = 0;
    for (size_t i = 0; i < state->count; i++) {
        if (state->memory) state->arrays[i].values = (unsigned char *)state->memory + bytes;
        bytes += (bytes_of(&state->arrays[i]) + CB_ALIGNMENT - 1) / CB_ALIGNMENT * CB_ALIGNMENT;
    }
    return bytes;
}

/* A list whose arrays have separate memory. `what` names their content in messages. */
static cribo_status prepare(cb_learner *learner, cb_state *state, const char *what)
{
    CB_TRY(make_list(learner, state));
    CB_TRY(cb_allocate(state->allocator, &state->memory, lay_out(state), 1, what));
    lay_out(state);
    return CRIBO_OK;
}

cribo_status cb_state_stage(cb_learner *learner, size_t images, size_t objects, cb_state *state)
{
    *state = (cb_state){.allocator = &learner->runtime->allocator, .images = images, .objects = objects};
    return complete(state, prepare(learner, state, "state that is read"));
}

/* --- a copy --- */

static void copy_array(void *context, size_t task, size_t worker)
{
    const cb_state_array *array = &((const cb_state *)context)->arrays[task];
    (void)worker;
    if (array->target) memcpy(array->values, array->target, bytes_of(array));
}

static cribo_status copy(cb_learner *learner, cb_state *state)
{
    CB_TRY(prepare(learner, state, "copy of a trainer's state"));
    CB_TRY(CB_ALLOCATE(state->allocator, &state->names, state->count, "names"));
    for (size_t i = 0; i < state->count; i++) {
        memcpy(state->names[i], state->arrays[i].name, strlen(state->arrays[i].name) + 1);
        state->arrays[i].name = state->names[i];
    }
    cb_pool_run(learner->runtime->pool, state->count, copy_array, state);
    cb_memory_bank_export(learner->objective->bank, find(state, "bank.objects_per_image")->values,
        find(state, "bank.ids")->values, find(state, "bank.view1")->values,
        find(state, "bank.view2")->values);
    return CRIBO_OK;
}

cribo_status cb_state_copy(cb_learner *learner, const cb_allocator *allocator, cb_state *state)
{
    *state = begin_state(learner, allocator);
    CB_TRY(cb_optimiser_spread_moments(&learner->optimiser));
    return complete(state, copy(learner, state));
}

/* --- a stage --- */

static cribo_status refuse(const cb_state_array *array, const char *origin, size_t index, const char *problem)
{
    return cb_fail(
        CRIBO_CORRUPT, "%.200s: %s%s: element %zu %s", origin, array->prefix, array->name, index, problem);
}

/* Moments may have overflowed in a sound run; everything else is finite. */
static cribo_status check_numbers(const cb_learner *learner, const cb_state_array *array, const char *origin)
{
    if (array->integers || cb_starts_with(array->prefix, "optimiser.")) return CRIBO_OK;
    size_t bad = cb_pool_first_not_finite(learner->runtime->pool, array->values, array->count);
    return bad == array->count ? CRIBO_OK : refuse(array, origin, bad, "is not finite");
}

static cribo_status check_integers(
    const cb_state_array *array, int64_t least, int64_t most, const char *origin)
{
    const int64_t *values = array->values;
    for (size_t i = 0; i < array->count; i++)
        if (values[i] < least || values[i] > most) return refuse(array, origin, i, "is out of range");
    return CRIBO_OK;
}

static cb_objects objects_of(const cb_state *stage)
{
    return (cb_objects){stage->images, find(stage, "bank.objects_per_image")->values,
        {find(stage, "bank.view1")->values, find(stage, "bank.view2")->values},
        find(stage, "bank.ids")->values};
}

static cribo_status check_bank(const cb_learner *learner, const cb_state *stage, const char *origin)
{
    cb_objects objects = objects_of(stage);
    CB_TRY(check_integers(
        find(stage, "bank.objects_per_image"), 0, learner->objective->config.clusters, origin));
    size_t count = cb_objects_count(&objects, objects.images);
    if (count == stage->objects) return CRIBO_OK;
    return cb_fail(CRIBO_CORRUPT,
        "%.200s: bank.objects_per_image: they sum up to %zu, but bank.view1 has %zu", origin, count,
        stage->objects);
}

cribo_status cb_state_check(const cb_learner *learner, const cb_state *stage, const char *origin)
{
    for (size_t i = 0; i < stage->count; i++) CB_TRY(check_numbers(learner, &stage->arrays[i], origin));
    CB_TRY(check_integers(find(stage, "optimiser.updates"), 0, INT64_MAX / 2, origin));
    CB_TRY(check_integers(find(stage, "collapse.steps"), 0, INT64_MAX / 2, origin));
    if (learner->average) CB_TRY(check_integers(find(stage, "average_steps"), 0, INT64_MAX / 2, origin));
    return check_bank(learner, stage, origin);
}

void cb_state_adopt(cb_learner *learner, const cb_state *stage, int64_t step)
{
    const cb_parameters *student = learner->student;
    cb_objects objects = objects_of(stage);
    for (size_t i = 0; i < stage->count; i++)
        if (stage->arrays[i].target)
            memcpy(stage->arrays[i].target, stage->arrays[i].values, bytes_of(&stage->arrays[i]));
    memset(student->gradients + student->frozen, 0,
        (student->total - student->frozen) * sizeof *student->gradients);
    cb_memory_bank_replace(learner->objective->bank, &objects);
    learner->step = step;
    cb_learner_forget_targets(learner);
}
