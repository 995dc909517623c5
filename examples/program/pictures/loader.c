/*
 * See loader.h. A ring of slots, each one batch: workers take items (one picture of one slot) in order, the
 * consumer takes slots in order. Items write only into their own place of their slot, so the lock is held for
 * book-keeping alone.
 */
#include "pictures/loader.h"

#include "pictures/broken.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 4 }; /* one in use by the consumer, three ahead */

/*
 * Streams of the random numbers: epochs for the views, epochs above a bit for the order, for replacements and
 * for local crops.
 */
static const uint64_t order_stream = UINT64_C(1) << 63, replacement_stream = UINT64_C(1) << 61,
                      local_stream = UINT64_C(1) << 60;

struct slot {
    uint8_t *views[2]; /* [batch][3][S][S] */
    uint8_t *local;    /* [batch][local_crops][3][s][s]; NULL: none */
    cribo_crop *crops[2];
    int64_t *ids;
    bool *made, *replaced; /* [batch] */
    uint64_t number;
    size_t begun, done; /* items */
};

/* The counts of the last pictures of a source. */
struct tally {
    unsigned read, broken;
};

struct loader {
    struct loader_options options;
    size_t whole, epoch_batches;    /* whole: images of a batch */
    size_t view_bytes, local_bytes; /* of a view, and of a picture's local crops */
    size_t first, batch;            /* of them, this loader makes `batch` from `first` on */
    struct order order;             /* of the epoch of the newest slot */
    struct broken broken;
    struct loader_broken *news; /* [news_count], for the other parts */
    size_t news_count, news_capacity;
    struct tally *tallies; /* [sources] */
    struct slot slots[SLOTS];
    uint64_t opened;   /* batches opened for the workers */
    uint64_t taken;    /* batches handed to the consumer */
    uint64_t released; /* batches that the consumer has released */
    uint64_t empty_in_a_row;
    struct problem failure;
    bool failed, stop;
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    pthread_t *threads;
    int started;
};

struct order loader_order(uint64_t seed, uint64_t epoch, size_t count)
{
    return order_make(seed, order_stream | epoch, count);
}

void loader_draws(uint64_t seed, uint64_t epoch, uint64_t picture, double *draws)
{
    if (cribo_random_uniform(seed, epoch, picture, 2 * AUGMENT_DRAWS, draws) != CRIBO_OK)
        memset(draws, 0, 2 * AUGMENT_DRAWS * sizeof *draws);
}

static uint64_t epoch_of(const struct loader *loader, const struct slot *slot)
{
    return slot->number / loader->epoch_batches;
}

/* Under the lock: a free slot becomes the next batch. */
static struct slot *open_slot(struct loader *loader)
{
    uint64_t number = loader->opened, place = number % loader->epoch_batches;
    bool first = number == loader->options.first;
    struct slot *slot = &loader->slots[number % SLOTS];
    slot->number = number;
    slot->begun = slot->done = 0;
    if (place == 0 || first)
        loader->order =
            loader_order(loader->options.seed, epoch_of(loader, slot), loader->options.pictures->count);
    for (size_t i = 0; i < loader->batch; i++)
        slot->ids[i] = (int64_t)order_at(&loader->order, place * loader->whole + loader->first + i);
    loader->opened++;
    return slot;
}

/* Under the lock: the slot with the next item, waiting until there is one; NULL at the end. */
static struct slot *next_work(struct loader *loader)
{
    while (!loader->stop) {
        struct slot *newest =
            loader->opened > loader->options.first ? &loader->slots[(loader->opened - 1) % SLOTS] : NULL;
        if (newest && newest->begun < loader->batch) return newest;
        if (loader->opened < loader->released + SLOTS) return open_slot(loader);
        pthread_cond_wait(&loader->work, &loader->lock);
    }
    return NULL;
}

/* One item of a slot, and the picture that is tried for it. */
struct task {
    struct slot *slot;
    size_t item;
    uint64_t picture;
    bool replacement;
};

/* Numbers of their own for each crop: the views do not depend on the crops. */
static bool make_local_crops(const struct loader *loader, const struct task *task, uint64_t stream,
    const struct image *image, float *workspace, struct problem *problem)
{
    const struct loader_options *options = &loader->options;
    const struct recipe recipe = recipe_of_local_crops(&options->recipe);
    uint8_t *crops = task->slot->local ? task->slot->local + task->item * loader->local_bytes : NULL;
    bool made = true;
    for (int l = 0; l < options->local_crops && made; l++) {
        double draws[AUGMENT_DRAWS];
        cribo_crop unused;
        uint64_t index = task->picture * (uint64_t)options->local_crops + (uint64_t)l;
        if (cribo_random_uniform(options->seed, stream | local_stream, index, AUGMENT_DRAWS, draws) !=
            CRIBO_OK)
            memset(draws, 0, sizeof draws);
        size_t bytes = loader->local_bytes / (size_t)options->local_crops;
        made = augment_view(&recipe, image, VIEW_FIRST, options->local_size, draws, workspace,
            crops + (size_t)l * bytes, &unused, problem);
    }
    return made;
}

/* The least side for the views and for the local crops. */
static double least_side(const struct loader_options *options)
{
    const struct recipe local = recipe_of_local_crops(&options->recipe);
    double views = augment_least_side(&options->recipe, options->image_size);
    return options->local_crops ? fmax(views, augment_least_side(&local, options->local_size)) : views;
}

static size_t workspace_of(const struct loader_options *options)
{
    bool local = options->local_crops && options->local_size > options->image_size;
    return augment_workspace(local ? options->local_size : options->image_size);
}

static bool make_views(
    const struct loader *loader, const struct task *task, float *workspace, struct problem *problem)
{
    const struct loader_options *options = &loader->options;
    struct slot *slot = task->slot;
    double draws[2 * AUGMENT_DRAWS];
    struct image image;
    if (!pictures_load(options->pictures, (size_t)task->picture, &image, 3, least_side(options), problem))
        return false;
    /* The views differ from those at the replacement's regular place in the epoch. */
    uint64_t stream = epoch_of(loader, slot) | (task->replacement ? replacement_stream : 0);
    loader_draws(options->seed, stream, task->picture, draws);
    bool made = true;
    for (int v = 0; v < 2 && made; v++)
        made = augment_view(&options->recipe, &image, v ? VIEW_SECOND : VIEW_FIRST, options->image_size,
            draws + v * AUGMENT_DRAWS, workspace, slot->views[v] + task->item * loader->view_bytes,
            &slot->crops[v][task->item], problem);
    made = made && make_local_crops(loader, task, stream, &image, workspace, problem);
    image_free(&image);
    return made;
}

/* Under the lock. */
static void tell_broken(struct loader *loader, const struct task *task, const struct problem *problem)
{
    if (loader->news_count == loader->news_capacity) {
        size_t capacity = loader->news_capacity ? 2 * loader->news_capacity : 16;
        void *news = realloc(loader->news, capacity * sizeof *loader->news);
        if (!news) {
            loader->failed = problem_no_memory(&loader->failure) || true;
            return;
        }
        loader->news = news;
        loader->news_capacity = capacity;
    }
    struct loader_broken *broken = &loader->news[loader->news_count++];
    *broken = (struct loader_broken){.picture = task->picture, .batch = task->slot->number};
    if (problem) snprintf(broken->reason, sizeof broken->reason, "%.255s", problem->text);
}

/*
 * Under the lock; problem NULL if the picture was known to be broken: an earlier batch may be recorded later.
 */
static void note_broken(struct loader *loader, const struct task *task, const struct problem *problem)
{
    const struct loader_options *options = &loader->options;
    char name[1024];
    uint64_t before = broken_since(&loader->broken, task->picture);
    bool first;
    if (!broken_add(&loader->broken, task->picture, task->slot->number, &first))
        loader->failed = problem_no_memory(&loader->failure) || true;
    if (options->parts > 1 && broken_since(&loader->broken, task->picture) != before)
        tell_broken(loader, task, problem);
    if (!first || !problem || !options->say_broken) return;
    pictures_name(options->pictures, (size_t)task->picture, name, sizeof name);
    options->say_broken(options->say_broken_user, name, problem->text);
}

/* Under the lock. Old pictures count half as much each time that MOST_TALLY have been tried. */
static void tally(struct loader *loader, uint64_t picture, bool made)
{
    enum { MOST_TALLY = 512 };
    const struct pictures *pictures = loader->options.pictures;
    size_t source = pictures_source(pictures, (size_t)picture);
    struct tally *tally = &loader->tallies[source];
    tally->read += made;
    tally->broken += !made;
    if (tally->broken >= LOADER_UNREADABLE && tally->broken > tally->read && !loader->failed) {
        problem_set(&loader->failure,
            "%s: of the last %u pictures that were tried there, %u could not be read",
            pictures_source_name(pictures, source), tally->read + tally->broken, tally->broken);
        loader->failed = true;
        pthread_cond_signal(&loader->ready);
    }
    if (tally->read + tally->broken < MOST_TALLY) return;
    tally->read /= 2;
    tally->broken /= 2;
}

/* Under the lock, which is released while the views are made. */
static bool try_picture(struct loader *loader, const struct task *task, float *workspace)
{
    struct problem problem;
    bool known = broken_has(&loader->broken, task->picture), made = false;
    if (!known) {
        pthread_mutex_unlock(&loader->lock);
        made = make_views(loader, task, workspace, &problem);
        pthread_mutex_lock(&loader->lock);
        tally(loader, task->picture, made);
    }
    if (!made) note_broken(loader, task, known ? NULL : &problem);
    return made;
}

/* The numbers of the pictures that are tried, in order, in place of an unreadable one. */
static void choose_replacements(const struct loader *loader, const struct task *task, uint64_t *pictures)
{
    double draws[LOADER_REPLACEMENTS] = {0};
    uint64_t place = task->slot->number % loader->epoch_batches * loader->whole + loader->first + task->item;
    if (cribo_random_uniform(loader->options.seed,
            order_stream | replacement_stream | epoch_of(loader, task->slot), place, LOADER_REPLACEMENTS,
            draws) != CRIBO_OK)
        memset(draws, 0, sizeof draws);
    for (int i = 0; i < LOADER_REPLACEMENTS; i++)
        pictures[i] = (uint64_t)(draws[i] * (double)loader->options.pictures->count);
}

/* Under the lock, which is released while the views are made. */
static void do_item(struct loader *loader, struct slot *slot, float *workspace)
{
    struct task task = {.slot = slot, .item = slot->begun++};
    uint64_t replacements[LOADER_REPLACEMENTS];
    task.picture = (uint64_t)slot->ids[task.item];
    bool made = try_picture(loader, &task, workspace);
    task.replacement = !made;
    if (!made) choose_replacements(loader, &task, replacements);
    for (int i = 0; i < LOADER_REPLACEMENTS && !made; i++) {
        task.picture = replacements[i];
        made = try_picture(loader, &task, workspace);
    }
    slot->ids[task.item] = (int64_t)task.picture;
    slot->made[task.item] = made;
    slot->replaced[task.item] = task.replacement;
    if (++slot->done == loader->batch) pthread_cond_signal(&loader->ready);
}

static void *work(void *argument)
{
    struct loader *loader = argument;
    float *workspace = malloc(workspace_of(&loader->options) * sizeof *workspace);
    pthread_mutex_lock(&loader->lock);
    if (!workspace) {
        loader->failed = problem_no_memory(&loader->failure) || true;
        pthread_cond_signal(&loader->ready);
    }
    for (struct slot *slot; workspace && (slot = next_work(loader));) do_item(loader, slot, workspace);
    pthread_mutex_unlock(&loader->lock);
    free(workspace);
    return NULL;
}

/* Moves the views that could be made to the front. */
static int64_t close_up(const struct loader *loader, struct slot *slot)
{
    size_t kept = 0;
    for (size_t i = 0; i < loader->batch; i++) {
        if (!slot->made[i]) continue;
        for (int v = 0; v < 2 && kept < i; v++) {
            memcpy(slot->views[v] + kept * loader->view_bytes, slot->views[v] + i * loader->view_bytes,
                loader->view_bytes);
            slot->crops[v][kept] = slot->crops[v][i];
        }
        if (slot->local && kept < i)
            memcpy(slot->local + kept * loader->local_bytes, slot->local + i * loader->local_bytes,
                loader->local_bytes);
        slot->replaced[kept] = slot->replaced[i];
        slot->ids[kept++] = slot->ids[i];
    }
    return (int64_t)kept;
}

bool loader_next(struct loader *loader, struct loader_batch *batch, struct problem *problem)
{
    *batch = (struct loader_batch){0};
    struct slot *slot = &loader->slots[loader->taken % SLOTS];
    pthread_mutex_lock(&loader->lock);
    loader->released = loader->taken;
    pthread_cond_broadcast(&loader->work);
    while (!loader->failed && (loader->opened <= loader->taken || slot->done < loader->batch))
        pthread_cond_wait(&loader->ready, &loader->lock);
    bool failed = loader->failed;
    if (failed) *problem = loader->failure;
    pthread_mutex_unlock(&loader->lock);
    if (failed) return false;
    loader->taken++;
    *batch = (struct loader_batch){.images = close_up(loader, slot),
        .view1 = slot->views[0],
        .view2 = slot->views[1],
        .local = slot->local,
        .crops1 = slot->crops[0],
        .crops2 = slot->crops[1],
        .ids = slot->ids,
        .replaced = slot->replaced};
    return loader->options.parts > 1 || loader_count(loader, batch->images, problem);
}

bool loader_count(struct loader *loader, int64_t images, struct problem *problem)
{
    loader->empty_in_a_row = images ? 0 : loader->empty_in_a_row + 1;
    return loader->empty_in_a_row < loader->epoch_batches ||
           problem_set(problem, "none of the %zu pictures could be read", loader->options.pictures->count);
}

bool loader_remake(struct loader *loader, struct loader_batch *batch, int64_t images, const int64_t *ids,
    const bool *replaced, struct problem *problem)
{
    struct slot *slot = &loader->slots[(loader->taken - 1) % SLOTS];
    float *workspace = malloc(workspace_of(&loader->options) * sizeof *workspace);
    bool made = workspace || problem_no_memory(problem);
    for (int64_t i = 0; i < images && made; i++) {
        struct task task = {slot, (size_t)i, (uint64_t)ids[i], replaced[i]};
        made = make_views(loader, &task, workspace, problem);
        slot->ids[i] = ids[i];
    }
    free(workspace);
    batch->images = images;
    return made;
}

size_t loader_news(struct loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    size_t count = loader->news_count;
    pthread_mutex_unlock(&loader->lock);
    return count;
}

bool loader_take_broken(struct loader *loader, struct loader_broken *broken)
{
    pthread_mutex_lock(&loader->lock);
    bool found = loader->news_count > 0;
    if (found) *broken = loader->news[--loader->news_count];
    pthread_mutex_unlock(&loader->lock);
    return found;
}

bool loader_add_broken(struct loader *loader, const struct loader_broken *broken, struct problem *problem)
{
    const struct loader_options *options = &loader->options;
    char name[1024];
    bool first;
    pthread_mutex_lock(&loader->lock);
    bool added = broken_add(&loader->broken, broken->picture, broken->batch, &first);
    pthread_mutex_unlock(&loader->lock);
    if (!added) return problem_no_memory(problem);
    if (!first || !options->say_broken) return true;
    pictures_name(options->pictures, (size_t)broken->picture, name, sizeof name);
    options->say_broken(options->say_broken_user, name, broken->reason);
    return true;
}

size_t loader_whole(const struct loader *loader)
{
    return loader->whole;
}

size_t loader_epoch_batches(const struct loader *loader)
{
    return loader->epoch_batches;
}

uint64_t loader_taken(const struct loader *loader)
{
    return loader->taken;
}

size_t loader_broken(struct loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    size_t broken = loader->broken.count;
    pthread_mutex_unlock(&loader->lock);
    return broken;
}

size_t loader_broken_before(struct loader *loader, uint64_t end, uint32_t *files)
{
    pthread_mutex_lock(&loader->lock);
    size_t count = broken_before(&loader->broken, end, files);
    pthread_mutex_unlock(&loader->lock);
    return count;
}

static bool slot_make(const struct loader *loader, struct slot *slot, size_t batch)
{
    if (loader->local_bytes) slot->local = calloc(batch, loader->local_bytes);
    for (int v = 0; v < 2; v++) {
        slot->views[v] = calloc(batch, loader->view_bytes);
        slot->crops[v] = calloc(batch, sizeof *slot->crops[v]);
    }
    slot->ids = calloc(batch, sizeof *slot->ids);
    slot->made = calloc(batch, sizeof *slot->made);
    slot->replaced = calloc(batch, sizeof *slot->replaced);
    return slot->views[0] && slot->views[1] && slot->crops[0] && slot->crops[1] && slot->ids && slot->made &&
           slot->replaced && (slot->local || !loader->local_bytes);
}

static void slot_free(struct slot *slot)
{
    for (int v = 0; v < 2; v++) {
        free(slot->views[v]);
        free(slot->crops[v]);
    }
    free(slot->local);
    free(slot->ids);
    free(slot->made);
    free(slot->replaced);
}

static bool allocate(struct loader *loader)
{
    const struct loader_options *options = &loader->options;
    bool made = true;
    size_t most = options->parts > 1 ? loader->whole / options->parts + 1 : loader->whole; /* loader_remake */
    for (int i = 0; i < SLOTS && made; i++) made = slot_make(loader, &loader->slots[i], most);
    size_t sources = options->pictures->sources;
    loader->tallies = calloc(sources ? sources : 1, sizeof *loader->tallies);
    loader->threads = calloc((size_t)options->workers, sizeof *loader->threads);
    return made && loader->tallies && loader->threads;
}

/* As if the batches before the first had been opened, made and released. */
static bool go_to_first(struct loader *loader)
{
    const struct loader_options *options = &loader->options;
    bool added = true, first;
    loader->opened = loader->taken = loader->released = options->first;
    for (size_t i = 0; i < options->broken_count && added; i++)
        added = broken_add(&loader->broken, options->broken[i], 0, &first);
    return added;
}

static bool start(struct loader *loader)
{
    while (loader->started < loader->options.workers) {
        if (pthread_create(&loader->threads[loader->started], NULL, work, loader)) break;
        loader->started++;
    }
    return loader->started > 0; /* fewer will do */
}

size_t loader_part(const struct loader_options *options, size_t images, size_t *first)
{
    size_t parts = options->parts ? options->parts : 1;
    *first = images * options->part / parts;
    return images * (options->part + 1) / parts - *first;
}

bool loader_create(struct loader **out, const struct loader_options *options, struct problem *problem)
{
    *out = NULL;
    struct loader *loader = calloc(1, sizeof *loader);
    if (!loader) return problem_no_memory(problem);
    loader->options = *options;
    size_t count = options->pictures->count;
    loader->whole = options->batch < count ? options->batch : count;
    loader->epoch_batches = count / loader->whole;
    loader->batch = loader_part(options, loader->whole, &loader->first);
    loader->view_bytes = 3 * (size_t)options->image_size * (size_t)options->image_size;
    loader->local_bytes =
        3 * (size_t)options->local_crops * (size_t)options->local_size * (size_t)options->local_size;
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->ready, NULL);
    bool allocated = allocate(loader) && go_to_first(loader);
    if (allocated && start(loader)) {
        *out = loader;
        return true;
    }
    loader_free(loader);
    return problem_set(problem, allocated ? "cannot start a loader thread" : "no memory for the loader");
}

void loader_free(struct loader *loader)
{
    if (!loader) return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->started; i++) pthread_join(loader->threads[i], NULL);
    for (int i = 0; i < SLOTS; i++) slot_free(&loader->slots[i]);
    broken_free(&loader->broken);
    free(loader->news);
    free(loader->tallies);
    free(loader->threads);
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->lock);
    free(loader);
}
