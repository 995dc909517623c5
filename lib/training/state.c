/* The trainer's state as named arrays. See state.h. */
#include "training/state.h"

#include "base/digest.h"
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

/* values NULL: they are divided over the ranks. */
static void add_parameters(
    cb_state *state, const cb_parameters *layout, const char *prefix, cb_real *values, cb_state_kind kind)
{
    for (size_t p = 0; p < layout->count; p++) {
        const cb_parameter *parameter = &layout->list[p];
        cb_state_array array = {.prefix = prefix,
            .name = parameter->name,
            .axes = parameter->axes,
            .target = values ? values + parameter->offset : NULL,
            .kind = kind,
            .divided = !values,
            .begin = parameter->offset};
        memcpy(array.shape, parameter->shape, sizeof array.shape);
        add(state, array);
    }
}

static void add_vector(cb_state *state, const char *name, bool integers, void *values, size_t count)
{
    add(state, (cb_state_array){.prefix = "",
                   .name = name,
                   .integers = integers,
                   .axes = 1,
                   .shape = {count},
                   .target = values,
                   .kind = CB_STATE_OTHER});
}

static void list_all(cb_learner *learner, cb_state *state)
{
    const cb_parameters *layout = learner->student;
    size_t width = learner->objective->sizes.width;
    bool divided = learner->ranks != NULL;
    cb_real *first = divided ? NULL : learner->optimiser.first;
    cb_real *second = divided ? NULL : learner->optimiser.second;
    state->count = 0;
    add_parameters(state, layout, CB_STUDENT_PREFIX, layout->values, CB_STATE_OTHER);
    add_parameters(state, layout, CB_TEACHER_PREFIX, learner->teacher->values, CB_STATE_OTHER);
    if (learner->anchor)
        add_parameters(state, learner->anchor, CB_ANCHOR_PREFIX, learner->anchor->values, CB_STATE_OTHER);
    if (learner->average) {
        add_parameters(state, layout, CB_AVERAGE_PREFIX, learner->average, CB_STATE_OTHER);
        add_vector(state, "average_steps", true, &learner->averaged, 1);
    }
    add_parameters(state, layout, "optimiser.first.", first, CB_STATE_FIRST);
    add_parameters(state, layout, "optimiser.second.", second, CB_STATE_SECOND);
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
                       .kind = v == 0 ? CB_STATE_VIEW1 : CB_STATE_VIEW2,
                       .divided = divided});
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
    for (int kind = 0; kind < CB_STATE_OTHER; kind++) cb_release(state->allocator, state->own[kind]);
    cb_release(state->allocator, state->piece);
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

/* --- divided arrays --- */

#define PIECE ((size_t)1 << 20) /* numbers */

static bool is_view(const cb_state_array *array)
{
    return array->kind == CB_STATE_VIEW1 || array->kind == CB_STATE_VIEW2;
}

size_t cb_state_piece(const cb_state_array *array)
{
    size_t row = is_view(array) ? array->shape[1] : 1;
    return cb_max(PIECE / row, 1) * row;
}

cribo_status cb_state_fetch(cb_learner *learner, const cb_state *state, const cb_state_array *array,
    size_t first, size_t count, cb_real *to)
{
    size_t width = learner->objective->sizes.width;
    if (is_view(array))
        return cb_memory_bank_collect(learner->objective->bank, array->kind == CB_STATE_VIEW2, first / width,
            count / width, state->piece, to);
    return cb_optimiser_collect(&learner->optimiser,
        array->kind == CB_STATE_FIRST ? CB_FIRST_MOMENT : CB_SECOND_MOMENT, array->begin + first, count, to);
}

/* Rows offset, offset + ranks, ... of the bank are this rank's. */
static void store_rows(const cb_learner *learner, const cb_state *stage, const cb_state_array *array,
    size_t first, size_t count, const cb_real *values)
{
    size_t ranks = cb_ranks_size(learner->ranks), width = array->shape[1], begin = first / width;
    size_t offset = cb_memory_bank_restored_offset(learner->objective->bank, stage->objects);
    for (size_t row = begin + (offset + ranks - begin % ranks) % ranks; row < begin + count / width;
        row += ranks)
        memcpy(stage->own[array->kind] + row / ranks * width, values + (row - begin) * width,
            width * sizeof *values);
}

void cb_state_store(const cb_learner *learner, const cb_state *stage, const cb_state_array *array,
    size_t first, size_t count, const cb_real *values)
{
    if (is_view(array))
        store_rows(learner, stage, array, first, count, values);
    else
        cb_optimiser_keep(&learner->optimiser, array->begin + first, count, values, stage->own[array->kind]);
}

static cribo_status allocate_piece(const cb_learner *learner, cb_state *state)
{
    if (!learner->ranks) return CRIBO_OK;
    return CB_ALLOCATE(
        state->allocator, &state->piece, cb_max(PIECE, learner->objective->sizes.width), "piece of a state");
}

/* The number of this rank's rows of the bank in a state. */
static size_t own_rows(const cb_learner *learner, const cb_state *state)
{
    size_t ranks = cb_ranks_size(learner->ranks);
    size_t offset = cb_memory_bank_restored_offset(learner->objective->bank, state->objects);
    return (state->objects + ranks - 1 - offset) / ranks;
}

static cribo_status allocate_own(const cb_learner *learner, cb_state *stage)
{
    size_t rows = own_rows(learner, stage), width = learner->objective->sizes.width;
    for (int kind = 0; learner->ranks && kind < CB_STATE_OTHER; kind++)
        CB_TRY(CB_ALLOCATE(stage->allocator, &stage->own[kind],
            kind < CB_STATE_VIEW1 ? learner->optimiser.held : rows * width, "state that is read"));
    return allocate_piece(learner, stage);
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
    CB_TRY(allocate_piece(learner, state));
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
    return complete(state, collect(learner, state));
}

/* --- places in separate memory --- */

/* Sets the place of each array, with or without divided ones; returns the bytes of all. */
static size_t lay_out(cb_state *state, bool divided)
{
    size_t bytes = 0;
    for (size_t i = 0; i < state->count; i++) {
        if (state->arrays[i].divided && !divided) continue;
        if (state->memory) state->arrays[i].values = (unsigned char *)state->memory + bytes;
        bytes += (bytes_of(&state->arrays[i]) + CB_ALIGNMENT - 1) / CB_ALIGNMENT * CB_ALIGNMENT;
    }
    return bytes;
}

/* A list whose arrays have separate memory. `what` names their content in messages. */
static cribo_status prepare(cb_learner *learner, cb_state *state, bool divided, const char *what)
{
    CB_TRY(make_list(learner, state));
    CB_TRY(cb_allocate(state->allocator, &state->memory, lay_out(state, divided), 1, what));
    lay_out(state, divided);
    return CRIBO_OK;
}

cribo_status cb_state_stage(cb_learner *learner, size_t images, size_t objects, cb_state *state)
{
    *state = (cb_state){.allocator = &learner->runtime->allocator, .images = images, .objects = objects};
    cribo_status status = prepare(learner, state, false, "state that is read");
    if (status == CRIBO_OK) status = allocate_own(learner, state);
    return complete(state, status);
}

/* --- a copy --- */

static void copy_array(void *context, size_t task, size_t worker)
{
    const cb_state_array *array = &((const cb_state *)context)->arrays[task];
    (void)worker;
    if (array->target) memcpy(array->values, array->target, bytes_of(array));
}

static cribo_status prepare_copy(cb_learner *learner, cb_state *state)
{
    CB_TRY(prepare(learner, state, true, "copy of a trainer's state"));
    return CB_ALLOCATE(state->allocator, &state->names, state->count, "names");
}

/* Copies everything that this rank has. */
static void copy_held(cb_learner *learner, cb_state *state)
{
    for (size_t i = 0; i < state->count; i++) {
        memcpy(state->names[i], state->arrays[i].name, strlen(state->arrays[i].name) + 1);
        state->arrays[i].name = state->names[i];
    }
    cb_pool_run(learner->runtime->pool, state->count, copy_array, state);
    cb_real *view1 = find(state, "bank.view1")->values, *view2 = find(state, "bank.view2")->values;
    cb_memory_bank_export(learner->objective->bank, find(state, "bank.objects_per_image")->values,
        find(state, "bank.ids")->values, learner->ranks ? NULL : view1, learner->ranks ? NULL : view2);
}

/* Fetches divided arrays from all ranks; only rank 0 has places for them. */
static cribo_status fetch_divided(cb_learner *learner, const cb_state *state)
{
    for (size_t i = 0; i < state->count; i++) {
        const cb_state_array *array = &state->arrays[i];
        size_t piece = cb_state_piece(array);
        for (size_t first = 0; array->divided && first < array->count; first += piece)
            CB_TRY(cb_state_fetch(learner, state, array, first, cb_min(piece, array->count - first),
                array->values ? (cb_real *)array->values + first : NULL));
    }
    return CRIBO_OK;
}

static cribo_status copy(cb_learner *learner, cb_state *state)
{
    bool copies = cb_ranks_own(learner->ranks) == 0;
    cribo_status status = copies ? prepare_copy(learner, state) : make_list(learner, state);
    if (status == CRIBO_OK) status = allocate_piece(learner, state);
    CB_TRY(cb_ranks_agree(learner->ranks, status));
    if (copies) copy_held(learner, state);
    CB_TRY(fetch_divided(learner, state));
    if (!copies) cb_state_free(state);
    return CRIBO_OK;
}

cribo_status cb_state_copy(cb_learner *learner, const cb_allocator *allocator, cb_state *state)
{
    *state = begin_state(learner, allocator);
    return complete(state, copy(learner, state));
}

/* --- comparison of ranks --- */

/* The digests of a state's arrays, and then the step. */
typedef struct digests {
    const cb_state *state;
    uint64_t *own, *first; /* [arrays + 1] of this rank, and of rank 0 */
} digests;

static void digest_array(void *context, size_t task, size_t worker)
{
    const digests *d = context;
    const cb_state_array *array = &d->state->arrays[task];
    (void)worker;
    d->own[task] = cb_digest(0, array->values, array->values ? bytes_of(array) : 0);
}

static cribo_status compare_digests(cb_learner *learner, const digests *d)
{
    size_t count = d->state->count;
    cb_difference found;
    cb_pool_run(learner->runtime->pool, count, digest_array, (void *)d);
    d->own[count] = (uint64_t)learner->step;
    CB_TRY(cb_ranks_compare(learner->ranks, "digests of the states", d->own, d->first, count + 1, &found));
    CB_REQUIRE(found.index != count,
        "rank 0 is at step %lld, but rank %zu at step %lld: all load the same checkpoint",
        (long long)d->first[count], found.rank, (long long)found.value);
    CB_REQUIRE(found.index > count,
        "%s%s has other values on rank %zu than on rank 0: all ranks begin with the same weights",
        d->state->arrays[found.index].prefix, d->state->arrays[found.index].name, found.rank);
    return CRIBO_OK;
}

static cribo_status compare_states(cb_learner *learner)
{
    const cb_allocator *allocator = &learner->runtime->allocator;
    cb_state state;
    digests d = {&state, NULL, NULL};
    cribo_status status = cb_state_of(learner, &state);
    bool listed = status == CRIBO_OK;
    if (listed) status = CB_ALLOCATE(allocator, &d.own, 2 * (state.count + 1), "digests of a state");
    if (status == CRIBO_OK) d.first = d.own + state.count + 1;
    status = cb_ranks_agree(learner->ranks, status);
    if (status == CRIBO_OK) status = compare_digests(learner, &d);
    cb_release(allocator, d.own);
    if (listed) cb_state_free(&state);
    return status;
}

cribo_status cb_state_compare(cb_learner *learner)
{
    cribo_status status = learner->ranks && !learner->compared ? compare_states(learner) : CRIBO_OK;
    learner->compared = status == CRIBO_OK;
    if (status != CRIBO_OK) cb_learner_forget_targets(learner);
    return status;
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
    if (array->integers || cb_starts_with(array->prefix, "optimiser.") || array->divided) return CRIBO_OK;
    size_t bad = cb_pool_first_not_finite(learner->runtime->pool, array->values, array->count);
    return bad == array->count ? CRIBO_OK : refuse(array, origin, bad, "is not finite");
}

/* The same for this rank's rows of the bank. */
static cribo_status check_own_rows(const cb_learner *learner, const cb_state *stage, const char *origin)
{
    size_t ranks = cb_ranks_size(learner->ranks), width = learner->objective->sizes.width;
    size_t count = own_rows(learner, stage) * width;
    size_t offset = cb_memory_bank_restored_offset(learner->objective->bank, stage->objects);
    for (int v = 0; learner->ranks && v < 2; v++) {
        size_t bad = cb_pool_first_not_finite(learner->runtime->pool, stage->own[CB_STATE_VIEW1 + v], count);
        if (bad < count)
            return refuse(find(stage, v == 0 ? "bank.view1" : "bank.view2"), origin,
                (bad / width * ranks + offset) * width + bad % width, "is not finite");
    }
    return CRIBO_OK;
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
    const cb_state_array *view1 = find(stage, "bank.view1"), *view2 = find(stage, "bank.view2");
    return (cb_objects){stage->images, find(stage, "bank.objects_per_image")->values,
        {view1->divided ? stage->own[CB_STATE_VIEW1] : view1->values,
            view2->divided ? stage->own[CB_STATE_VIEW2] : view2->values},
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
    CB_TRY(check_own_rows(learner, stage, origin));
    CB_TRY(check_integers(find(stage, "optimiser.updates"), 0, INT64_MAX / 2, origin));
    CB_TRY(check_integers(find(stage, "collapse.steps"), 0, INT64_MAX / 2, origin));
    if (learner->average) CB_TRY(check_integers(find(stage, "average_steps"), 0, INT64_MAX / 2, origin));
    return check_bank(learner, stage, origin);
}

static void adopt_own_moments(cb_optimiser *optimiser, const cb_state *stage)
{
    size_t bytes = optimiser->held * sizeof(cb_real);
    if (!optimiser->ranks) return;
    memcpy(optimiser->first, stage->own[CB_STATE_FIRST], bytes);
    memcpy(optimiser->second, stage->own[CB_STATE_SECOND], bytes);
}

void cb_state_adopt(cb_learner *learner, const cb_state *stage, int64_t step)
{
    const cb_parameters *student = learner->student;
    cb_objects objects = objects_of(stage);
    for (size_t i = 0; i < stage->count; i++)
        if (stage->arrays[i].target)
            memcpy(stage->arrays[i].target, stage->arrays[i].values, bytes_of(&stage->arrays[i]));
    adopt_own_moments(&learner->optimiser, stage);
    memset(student->gradients + student->frozen, 0,
        (student->total - student->frozen) * sizeof *student->gradients);
    cb_memory_bank_restore(learner->objective->bank, &objects);
    learner->step = step;
    learner->compared = false;
    cb_learner_forget_targets(learner);
}
