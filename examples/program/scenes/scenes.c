/* See scenes.h. */
#include "scenes/scenes.h"

#include "pictures/folder.h"
#include "pictures/resample.h"
#include "base/output.h"
#include "base/say.h"

#include <cribo/base.h>

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The use of each draw. */
enum {
    DRAW_BACKGROUND,
    DRAW_SIDE,
    DRAW_LEFT,
    DRAW_TOP,
    DRAW_OBJECTS,
    DRAW_FIRST_OBJECT, /* then for each object: class, stamp, size, x, y, flip */
    DRAWS_PER_OBJECT = 6,
    LEAST_OBJECTS = 2,
    MOST_OBJECTS = 5,
    DRAW_COLOURS = DRAW_FIRST_OBJECT + MOST_OBJECTS * DRAWS_PER_OBJECT, /* for each object */
    DRAWS = DRAW_COLOURS + MOST_OBJECTS * FASHION_DRAWS
};

/* Shares of the background's short side, and of the scene's side for an object's long side. */
static const double least_crop = 0.5, least_object = 0.3, most_object = 0.6;

static size_t choose(double draw, size_t count)
{
    return (size_t)(draw * (double)count);
}

static bool lay_background(
    struct image *picture, const struct pools *pools, const double *draws, struct problem *problem)
{
    struct image photograph;
    const struct folder *backgrounds = &pools->backgrounds;
    const char *path = backgrounds->paths[choose(draws[DRAW_BACKGROUND], backgrounds->count)];
    struct problem reason;
    if (!image_load(&photograph, path, 3, picture->width / least_crop * 1.5, &reason))
        return problem_set(problem, "%s: %s", path, reason.text);
    int shorter = photograph.width < photograph.height ? photograph.width : photograph.height;
    int side = (int)lround(shorter * (least_crop + draws[DRAW_SIDE] * (1 - least_crop)));
    if (side < 1) side = 1;
    struct box box = {(int)(draws[DRAW_LEFT] * (photograph.width - side + 1)),
        (int)(draws[DRAW_TOP] * (photograph.height - side + 1)), side, side};
    size_t values = 3 * (size_t)picture->width * (size_t)picture->height;
    float *resampled = malloc(values * sizeof *resampled);
    bool laid = resampled ? resample(&photograph, box, picture->width, picture->height, resampled, problem)
                          : problem_no_memory(problem);
    for (size_t i = 0; laid && i < values; i++) picture->pixels[i] = (uint8_t)(resampled[i] + 0.5f);
    free(resampled);
    image_free(&photograph);
    return laid;
}

/* The box of the stamp's visible pixels; false if all pixels are almost transparent. */
static bool visible_box(const struct image *stamp, struct box *box)
{
    int left = stamp->width, right = -1, top = stamp->height, bottom = -1;
    const uint8_t *alpha = stamp->pixels + 3;
    for (int y = 0; y < stamp->height; y++) {
        for (int x = 0; x < stamp->width; x++, alpha += 4) {
            if (*alpha < 32) continue;
            left = x < left ? x : left;
            right = x > right ? x : right;
            top = y < top ? y : top;
            bottom = y > bottom ? y : bottom;
        }
    }
    *box = (struct box){left, top, right - left + 1, bottom - top + 1};
    return right >= 0;
}

/* The place and the class of an object. */
struct placement {
    int left, top, width, height;
    bool flipped;
    uint8_t label;
};

/* object [height][width][4] in 0 ... 255, colours multiplied by alpha. */
static void blend(struct scene *scene, const float *object, struct placement place)
{
    int size = scene->picture.width;
    for (int y = 0; y < place.height; y++) {
        for (int x = 0; x < place.width; x++, object += 4) {
            int sx = place.left + (place.flipped ? place.width - 1 - x : x), sy = place.top + y;
            if (sx < 0 || sx >= size || sy < 0 || sy >= size) continue;
            size_t at = (size_t)sy * (size_t)size + (size_t)sx;
            float alpha = object[3] / 255;
            for (size_t c = 0; c < 3; c++) {
                uint8_t *value = scene->picture.pixels + 3 * at + c;
                *value = (uint8_t)(fminf(object[c] + (1 - alpha) * (float)*value, 255) + 0.5f);
            }
            if (alpha >= 0.75f)
                scene->labels.pixels[at] = place.label;
            else if (alpha >= 0.125f)
                scene->labels.pixels[at] = LABEL_IGNORED;
        }
    }
}

static bool place_object(struct scene *scene, const struct image *stamp, uint8_t label, const double *draws,
    struct problem *problem)
{
    struct box box;
    if (!visible_box(stamp, &box)) return problem_set(problem, "an object is all transparent");
    int size = scene->picture.width, longer = box.width > box.height ? box.width : box.height;
    double scale = size * (least_object + draws[2] * (most_object - least_object)) / longer;
    struct placement place = {.label = label, .flipped = draws[5] < 0.5};
    place.width = (int)fmax(1, lround(box.width * scale));
    place.height = (int)fmax(1, lround(box.height * scale));
    /* Centres keep a distance of an eighth from the edge, so a large part of each object is visible. */
    place.left = (int)lround(size * (0.125 + 0.75 * draws[3]) - place.width / 2.0);
    place.top = (int)lround(size * (0.125 + 0.75 * draws[4]) - place.height / 2.0);
    float *object = malloc(4 * (size_t)place.width * (size_t)place.height * sizeof *object);
    if (!object) return problem_no_memory(problem);
    bool placed = resample(stamp, box, place.width, place.height, object, problem);
    if (placed) blend(scene, object, place);
    free(object);
    return placed;
}

/* Classes without objects in this half are not used. */
static size_t choose_class(const struct pools *pools, double draw)
{
    size_t filled = 0, seen = 0;
    for (size_t k = 0; k < pools->class_count; k++) filled += pools->classes[k].count > 0;
    size_t wanted = choose(draw, filled);
    for (size_t k = 0; k < pools->class_count; k++)
        if (pools->classes[k].count > 0 && seen++ == wanted) return k;
    return 0;
}

static bool add_object(struct scene *scene, const struct pools *pools, const double *draws,
    const double *colours, struct problem *problem)
{
    size_t k = choose_class(pools, draws[0]);
    size_t which = choose(draws[1], pools->classes[k].count);
    struct image object;
    struct problem reason;
    if (!pools_object(pools, k, which, colours, &object, problem)) return false;
    bool placed = place_object(scene, &object, (uint8_t)(k + 1), draws, &reason);
    image_free(&object);
    return placed || problem_set(problem, "object %zu of %s: %s", which, pools->classes[k].name, reason.text);
}

bool scene_compose(struct scene *scene, const struct pools *pools, int size, uint64_t seed, uint64_t number,
    struct problem *problem)
{
    double draws[DRAWS];
    *scene = (struct scene){0};
    if (cribo_random_uniform(seed, 0, number, DRAWS, draws) != CRIBO_OK) return problem_library(problem);
    bool composed = image_make(&scene->picture, size, size, 3, problem) &&
                    image_make(&scene->labels, size, size, 1, problem) &&
                    lay_background(&scene->picture, pools, draws, problem);
    if (composed) memset(scene->labels.pixels, 0, (size_t)size * (size_t)size);
    int objects = LEAST_OBJECTS + (int)choose(draws[DRAW_OBJECTS], MOST_OBJECTS - LEAST_OBJECTS + 1);
    for (int i = 0; composed && i < objects; i++)
        composed = add_object(scene, pools, draws + DRAW_FIRST_OBJECT + i * DRAWS_PER_OBJECT,
            draws + DRAW_COLOURS + i * FASHION_DRAWS, problem);
    if (!composed) scene_free(scene);
    return composed;
}

void scene_free(struct scene *scene)
{
    image_free(&scene->picture);
    image_free(&scene->labels);
}

/* A run of scenes_write: workers take numbers in turn. */
struct workshop {
    const struct scenes_options *options;
    struct pools pools;
    char *images, *labels; /* folders */
    pthread_mutex_t lock;
    int next, done;
    bool failed;
    struct problem problem; /* of the first failure */
};

static bool write_in(const char *folder, int number, const struct image *image, struct problem *problem)
{
    char name[32];
    snprintf(name, sizeof name, "scene-%05d.png", number);
    char *path = path_join(folder, name);
    bool written = path ? image_write_png(image, path, problem) : problem_no_memory(problem);
    free(path);
    return written;
}

static bool make_scene(const struct workshop *shop, int number, struct problem *problem)
{
    struct scene scene;
    const struct scenes_options *options = shop->options;
    if (!scene_compose(&scene, &shop->pools, options->size, options->seed, (uint64_t)number, problem))
        return false;
    bool written = write_in(shop->images, number, &scene.picture, problem) &&
                   write_in(shop->labels, number, &scene.labels, problem);
    scene_free(&scene);
    return written;
}

static void *work(void *argument)
{
    struct workshop *shop = argument;
    pthread_mutex_lock(&shop->lock);
    while (!shop->failed && shop->next < shop->options->count) {
        int number = shop->next++;
        struct problem problem;
        pthread_mutex_unlock(&shop->lock);
        bool made = make_scene(shop, number, &problem);
        pthread_mutex_lock(&shop->lock);
        if (!made && !shop->failed) shop->problem = problem;
        shop->failed |= !made;
        shop->done++;
        if (say_on_terminal()) say_progress("%d of %d scenes", shop->done, shop->options->count);
    }
    pthread_mutex_unlock(&shop->lock);
    return NULL;
}

static bool make_all(struct workshop *shop, struct problem *problem)
{
    enum { MOST_WORKERS = 64 };
    pthread_t threads[MOST_WORKERS];
    int started = 0;
    while (started < shop->options->workers - 1 && started < MOST_WORKERS &&
           !pthread_create(&threads[started], NULL, work, shop))
        started++;
    work(shop);
    while (started > 0) pthread_join(threads[--started], NULL);
    say_progress_end();
    if (shop->failed) *problem = shop->problem;
    return !shop->failed;
}

static bool write_classes(const struct workshop *shop, struct problem *problem)
{
    char *path = path_join(shop->options->out, "classes.txt");
    FILE *file = path ? fopen(path, "w") : NULL;
    bool written = file && fprintf(file, "0 background\n") > 0;
    for (size_t k = 0; written && k < shop->pools.class_count; k++)
        written = fprintf(file, "%zu %s\n", k + 1, shop->pools.classes[k].name) > 0;
    if (file && fclose(file)) written = false;
    if (!written) problem_set(problem, "cannot write %s: %s", path ? path : "classes.txt", strerror(errno));
    free(path);
    return written;
}

/* OUT/incomplete exists while scenes are composed, so that a stopped command may begin again. */
static bool is_incomplete(const char *marker)
{
    return access(marker, F_OK) == 0;
}

/* Removes the scenes of a stopped command. */
static void remove_scenes(const char *path)
{
    glob_t found;
    char *pattern = path_join(path, "scene-*.png");
    bool any = pattern && glob(pattern, GLOB_NOSORT, NULL, &found) == 0;
    for (size_t i = 0; any && i < found.gl_pathc; i++) unlink(found.gl_pathv[i]);
    if (any) globfree(&found);
    free(pattern);
}

static bool make_empty_folder(const char *path, const char *marker, struct problem *problem)
{
    if (!path) return problem_no_memory(problem);
    if (!folder_make(path, problem)) return false;
    if (is_incomplete(marker)) remove_scenes(path);
    DIR *folder = opendir(path);
    if (!folder) return problem_set(problem, "%s: %s", path, strerror(errno));
    bool empty = true;
    for (struct dirent *entry; (entry = readdir(folder));) empty &= entry->d_name[0] == '.';
    closedir(folder);
    return empty ||
           problem_set(problem, "%s: already holds files; choose another output folder or empty it", path);
}

static bool make_folders(const struct workshop *shop, const char *marker, struct problem *problem)
{
    return make_empty_folder(shop->images, marker, problem) &&
           make_empty_folder(shop->labels, marker, problem) && output_write(marker, "", 0, problem);
}

bool scenes_write(const struct scenes_options *options, struct problem *problem)
{
    struct workshop shop = {.options = options, .lock = PTHREAD_MUTEX_INITIALIZER};
    if (!pools_gather(&shop.pools, options->stamps, options->backgrounds, options->split, problem))
        return false;
    shop.images = path_join(options->out, "images");
    shop.labels = path_join(options->out, "labels");
    char *marker = path_join(options->out, "incomplete");
    bool written = (marker || problem_no_memory(problem)) && make_folders(&shop, marker, problem) &&
                   write_classes(&shop, problem) && make_all(&shop, problem);
    if (written) unlink(marker);
    free(marker);
    free(shop.images);
    free(shop.labels);
    pools_free(&shop.pools);
    return written;
}
