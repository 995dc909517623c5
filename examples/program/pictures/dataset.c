/* See dataset.h. */
#include "pictures/dataset.h"

#include "pictures/folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void free_pair(struct labelled *pair)
{
    free(pair->picture);
    free(pair->labels);
}

/* Takes over both paths. */
static bool add(struct dataset *dataset, char *picture, char *labels, struct problem *problem)
{
    bool room = picture && labels;
    if (room && dataset->count == dataset->capacity) {
        size_t capacity = dataset->capacity ? 2 * dataset->capacity : 256;
        void *list = realloc(dataset->list, capacity * sizeof *dataset->list);
        room = list != NULL;
        if (room) dataset->list = list, dataset->capacity = capacity;
    }
    if (room) {
        dataset->list[dataset->count++] = (struct labelled){picture, labels};
        return true;
    }
    free(picture);
    free(labels);
    return problem_no_memory(problem);
}

/* The length of a name without its ending; `name` may have folders in it. */
static size_t stem_of(const char *name)
{
    const char *dot = strrchr(name, '.'), *slash = strrchr(name, '/');
    return dot && (!slash || dot > slash) ? (size_t)(dot - name) : strlen(name);
}

/* The same without the tail that a layout's pictures have. */
static size_t stem_without(const char *name, const char *tail)
{
    size_t stem = stem_of(name), length = strlen(tail);
    return stem >= length && !memcmp(name + stem - length, tail, length) ? stem - length : stem;
}

/* "STEM" + tail + ".png" under `folder`, for the first of the alternative tails that exists, or the first. */
static char *labels_path(const char *folder, const char *name, size_t stem, const char *tails)
{
    char *names = NULL;
    size_t length = 0;
    FILE *text = open_memstream(&names, &length);
    for (const char *tail = tails; text && tail; tail = strchr(tail, '|') ? strchr(tail, '|') + 1 : NULL)
        fprintf(
            text, "%s%.*s%.*s.png", tail == tails ? "" : "|", (int)stem, name, (int)strcspn(tail, "|"), tail);
    char *path = text && fclose(text) == 0 ? layout_path(folder, names) : NULL;
    free(names);
    return path;
}

/* The two folders of a half. */
struct half {
    char *pictures, *labels, *list;
};

static bool add_pair(
    struct dataset *dataset, const struct half *half, const char *name, struct problem *problem)
{
    const struct layout *layout = dataset->layout;
    char *picture = path_join(half->pictures, name);
    char *truth =
        labels_path(half->labels, name, stem_without(name, layout->picture_tail), layout->label_tails);
    if (picture && truth && access(truth, R_OK)) {
        problem_set(problem, "%s: no labels for it: %s: %s", picture, truth, strerror(errno));
        free(picture);
        free(truth);
        return false;
    }
    return add(dataset, picture, truth, problem);
}

/* The names on the lines of a file, the first word of each. */
struct names {
    char **list;
    size_t count, capacity;
    bool *met;
};

static void free_names(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) free(names->list[i]);
    free(names->list);
    free(names->met);
}

static bool read_list(struct names *names, const char *path, struct problem *problem)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    bool read = true;
    *names = (struct names){0};
    if (!file) return problem_set(problem, "%s: %s", path, strerror(errno));
    while (read && getline(&line, &room, file) > 0) {
        char *name = strtok(line, " \t\r\n");
        if (!name) continue;
        if (names->count == names->capacity) {
            size_t capacity = names->capacity ? 2 * names->capacity : 256;
            void *list = realloc(names->list, capacity * sizeof *names->list);
            read = list != NULL;
            if (read) names->list = list, names->capacity = capacity;
        }
        read = read && (names->list[names->count] = strdup(name));
        names->count += read;
    }
    free(line);
    fclose(file);
    names->met = calloc(names->count + 1, sizeof *names->met);
    return (read && names->met) || problem_no_memory(problem);
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/*
 * Marks the listed name that a picture has: its path or its last part, with ending, without, or without tail.
 */
static bool meet(struct names *names, const char *name, const char *tail)
{
    const char *slash = strrchr(name, '/'), *starts[] = {name, slash ? slash + 1 : name};
    for (size_t i = 0; i < 6; i++) {
        const char *start = starts[i / 3];
        size_t lengths[] = {strlen(start), stem_of(start), stem_without(start, tail)};
        char *key = strndup(start, lengths[i % 3]);
        char **found =
            key ? bsearch(&key, names->list, names->count, sizeof *names->list, compare_text) : NULL;
        free(key);
        if (!found) continue;
        names->met[found - names->list] = true;
        return true;
    }
    return false;
}

/* All pictures of a folder, or those that `listed` names, each of which must be there. */
static bool add_folder(
    struct dataset *dataset, const struct half *half, struct names *listed, struct problem *problem)
{
    struct folder folder;
    size_t prefix = strlen(half->pictures);
    if (!folder_list(&folder, half->pictures, problem)) return false;
    bool added = true;
    if (listed) qsort(listed->list, listed->count, sizeof *listed->list, compare_text);
    for (size_t i = 0; added && i < folder.count; i++) {
        const char *name = folder.paths[i] + prefix + strspn(folder.paths[i] + prefix, "/");
        if (!listed || meet(listed, name, dataset->layout->picture_tail))
            added = add_pair(dataset, half, name, problem);
    }
    for (size_t i = 0; added && listed && i < listed->count; i++)
        if (!listed->met[i])
            added =
                problem_set(problem, "%s: no picture %s in %s", half->list, listed->list[i], half->pictures);
    folder_free(&folder);
    return added;
}

/* The pictures NAME.jpg of a layout with lists. */
static bool add_listed(
    struct dataset *dataset, const struct half *half, const struct names *names, struct problem *problem)
{
    bool added = true;
    for (size_t i = 0; added && i < names->count; i++) {
        char *file, *name = names->list[i];
        bool whole = folder_is_picture(name);
        added = asprintf(&file, "%s%s", name, whole ? "" : ".jpg") >= 0 || problem_no_memory(problem);
        if (!added) break;
        added = add_pair(dataset, half, file, problem);
        free(file);
    }
    return added;
}

static bool add_half(struct dataset *dataset, const struct half *half, struct problem *problem)
{
    struct names names = {0};
    if (!half->list) return add_folder(dataset, half, NULL, problem);
    bool added = read_list(&names, half->list, problem) &&
                 (dataset->layout->lists[0] ? add_listed(dataset, half, &names, problem)
                                            : add_folder(dataset, half, &names, problem));
    free_names(&names);
    return added;
}

/* The name on a line that begins with the number of its class ("3 sky", "3: sky"); NULL when it does not. */
static const char *after_number(const char *line, int number)
{
    char *end;
    long found = strtol(line, &end, 10);
    size_t gap = strspn(end, " \t:");
    return line[0] >= '0' && line[0] <= '9' && found == number && gap && end[gap] ? end + gap : NULL;
}

/* Removes the numbers if every name begins with its number: "2d thing" alone is a name. */
static void cut_numbers(struct dataset *dataset)
{
    for (int c = 0; c < dataset->classes; c++)
        if (!after_number(dataset->names[c], c)) return;
    for (int c = 0; c < dataset->classes; c++) {
        const char *name = after_number(dataset->names[c], c);
        memmove(dataset->names[c], name, strlen(name) + 1);
    }
}

static bool add_name(struct dataset *dataset, const char *name)
{
    char **names = realloc(dataset->names, ((size_t)dataset->classes + 1) * sizeof *names);
    if (!names) return false;
    dataset->names = names;
    names[dataset->classes] = strdup(name);
    return names[dataset->classes] && ++dataset->classes;
}

/* Reads the name of a class on each line of ROOT/classes.txt; without the file the classes have no names. */
static bool read_names(struct dataset *dataset, const char *root, struct problem *problem)
{
    char *path = path_join(root, "classes.txt"), *line = NULL;
    FILE *file = path ? fopen(path, "re") : NULL;
    size_t room = 0;
    bool read = path != NULL;
    while (file && read && getline(&line, &room, file) > 0) {
        char *name = line + strspn(line, " \t");
        size_t length = strcspn(name, "\r\n");
        while (length && (name[length - 1] == ' ' || name[length - 1] == '\t')) length--;
        name[length] = 0;
        read = !*name || add_name(dataset, name);
    }
    if (file) fclose(file);
    free(line);
    free(path);
    if (read) cut_numbers(dataset);
    return read || problem_no_memory(problem);
}

/* Keeps every second picture, from number `first` on. */
static void keep_half(struct dataset *dataset, size_t first)
{
    size_t kept = 0;
    for (size_t i = 0; i < dataset->count; i++)
        if (i % 2 == first)
            dataset->list[kept++] = dataset->list[i];
        else
            free_pair(&dataset->list[i]);
    dataset->count = kept;
}

/* One side of an evaluation: half 0 is remembered, half 1 is scored. */
struct side {
    const char *root, *list;
    int half;
    bool whole; /* of a layout without halves: all of it */
};

static bool list_pictures(struct dataset *dataset, const struct side *side, struct problem *problem)
{
    const struct layout *layout = dataset->layout;
    const char *list = layout->lists[side->half];
    struct half half = {layout_path(side->root, layout->pictures[side->half]),
        layout_path(side->root, layout->labels[side->half]),
        side->list ? strdup(side->list)
        : list     ? layout_path(side->root, list)
                   : NULL};
    bool listed =
        (half.pictures && half.labels && (half.list || (!side->list && !list))) || problem_no_memory(problem);
    listed = listed && add_half(dataset, &half, problem);
    free(half.pictures);
    free(half.labels);
    free(half.list);
    if (listed && !layout_has_halves(layout) && !side->whole && !side->list)
        keep_half(dataset, (size_t)side->half);
    return listed &&
           (dataset->count || problem_set(problem, "%s: no pictures with labels in it", side->root));
}

void dataset_free(struct dataset *dataset)
{
    for (size_t i = 0; i < dataset->count; i++) free_pair(&dataset->list[i]);
    for (int c = 0; dataset->names && c < dataset->classes; c++) free(dataset->names[c]);
    free(dataset->names);
    free(dataset->list);
    *dataset = (struct dataset){0};
}

static bool number_classes(struct dataset *dataset, const struct side *side,
    const struct dataset_choice *choice, struct problem *problem)
{
    struct layout layout = *dataset->layout;
    if (choice->reduce_zero && layout.rule == LABELS_STORED) layout.rule = LABELS_FROM_ONE;
    if (layout.rule == LABELS_COCO_STUFF && strstr(dataset->list[0].labels, "_labelTrainIds"))
        layout.rule = LABELS_STORED;
    if (!layout_has_halves(&layout) && !read_names(dataset, side->root, problem)) return false;
    if (choice->classes && dataset->names)
        return problem_set(problem, "--classes: classes.txt names %d classes already", dataset->classes);
    if (choice->classes) dataset->classes = choice->classes;
    if (!layout_classes(&layout, side->root, side->half == 1, &dataset->classes, dataset->class_of,
            &dataset->names, problem))
        return false;
    for (int label = 0; side->half == 0 && choice->void_is_zero && label < 256; label++)
        if (dataset->class_of[label] == NO_LABEL && !(label == 0 && layout.rule == LABELS_FROM_ONE))
            dataset->class_of[label] = 0;
    return dataset->classes || problem_set(problem, "say by --classes how many classes there are");
}

static bool choose_layout(struct dataset *dataset, const struct side *side,
    const struct dataset_choice *choice, struct problem *problem)
{
    dataset->layout =
        choice->layout ? layout_named(choice->layout, problem) : layout_find(side->root, problem);
    if (dataset->layout && choice->published && !choice->layout && dataset->layout->published)
        dataset->layout = layout_named(dataset->layout->published, problem);
    return dataset->layout != NULL;
}

static bool open_side(struct dataset *dataset, const struct side *side, const struct dataset_choice *choice,
    struct problem *problem)
{
    dataset->upright = choice->upright;
    dataset->floor_labels = choice->floor_labels;
    return choose_layout(dataset, side, choice, problem) && list_pictures(dataset, side, problem) &&
           number_classes(dataset, side, choice, problem);
}

bool dataset_open_both(
    struct dataset *train, struct dataset *test, const struct dataset_choice *choice, struct problem *problem)
{
    bool whole = choice->test != NULL;
    struct side sides[] = {{choice->train, choice->train_list, 0, whole},
        {choice->test ? choice->test : choice->train, choice->test_list, 1, whole}};
    *train = *test = (struct dataset){0};
    if (!open_side(train, &sides[0], choice, problem) || !open_side(test, &sides[1], choice, problem))
        return false;
    return train->classes == test->classes ||
           problem_set(problem, "%s has %d classes, %s has %d", sides[0].root, train->classes, sides[1].root,
               test->classes);
}

/* The stored pixel that becomes pixel i of `size`, of `count` pixels. */
static int source_of(const struct dataset *dataset, int i, int count, int size)
{
    if (!dataset->floor_labels) return (int)((i + 0.5) * count / size);
    int from =
        (int)((float)i * ((float)count / (float)size)); /* in float, as the published evaluators round */
    return from < count ? from : count - 1;
}

static bool resize_labels(const struct dataset *dataset, const struct image *image, struct box box, int size,
    int32_t *labels, const char *path, struct problem *problem)
{
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) {
            int from_y = box.y + source_of(dataset, y, box.height, size);
            int from_x = box.x + source_of(dataset, x, box.width, size);
            int label = image->pixels[(size_t)from_y * (size_t)image->width + (size_t)from_x];
            labels[y * size + x] = dataset->class_of[label];
            if (dataset->class_of[label] < 0)
                return problem_set(problem, "%s: label %d at (%d, %d), but there are %d classes%s", path,
                    label, from_x, from_y, dataset->classes,
                    dataset->class_of[0] == NO_LABEL ? " from 1 on" : "");
        }
    return true;
}

bool dataset_picture(const struct dataset *dataset, size_t index, double least_side, struct image *picture,
    struct problem *problem)
{
    const char *path = dataset->list[index].picture;
    struct problem why;
    if (!image_load(picture, path, 3, least_side, &why))
        return problem_set(problem, "%s: %s", path, why.text);
    if (dataset->upright || image_unorient(picture, &why)) return true;
    image_free(picture);
    return problem_set(problem, "%s: %s", path, why.text);
}

/* Brings a label map into the frame of its picture. */
static bool turn_labels(
    struct image *labels, const struct labelled *pair, const struct image *picture, struct problem *problem)
{
    int own = labels->orientation, wanted = picture->orientation;
    struct problem why;
    if (own && wanted && own != wanted)
        return problem_set(problem, "%s: its EXIF orientation is %d, but that of its picture %s is %d",
            pair->labels, own, pair->picture, wanted);
    return (image_unorient(labels, &why) && image_orient(labels, wanted, &why)) ||
           problem_set(problem, "%s: %s", pair->labels, why.text);
}

/* Whether a label map has the size of its picture's file, up to the rounding of a reduced picture. */
static bool check_size(const struct image *labels, const struct labelled *pair, const struct image *picture,
    struct problem *problem)
{
    int slack = (int)picture->reduction - 1;
    int width = (int)(picture->width * picture->reduction),
        height = (int)(picture->height * picture->reduction);
    return (abs(labels->width - width) <= slack && abs(labels->height - height) <= slack) ||
           problem_set(problem, "%s: %d x %d pixels, but its picture %s has %d x %d", pair->labels,
               labels->width, labels->height, pair->picture, width, height);
}

bool dataset_labels(const struct dataset *dataset, size_t index, const struct image *picture,
    const struct box *box, int size, int32_t *labels, struct problem *problem)
{
    const struct labelled *pair = &dataset->list[index];
    struct image image;
    struct problem why;
    if (!image_load_labels(&image, pair->labels, &why))
        return problem_set(problem, "%s: %s", pair->labels, why.text);
    bool made = turn_labels(&image, pair, picture, problem) && check_size(&image, pair, picture, problem) &&
                resize_labels(dataset, &image, box ? *box : (struct box){0, 0, image.width, image.height},
                    size, labels, pair->labels, problem);
    image_free(&image);
    return made;
}
