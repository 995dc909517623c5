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

static bool no_memory(struct problem *problem)
{
    return problem_set(problem, "no memory for the list of pictures");
}

/* ROOT/a/b.../name: joins what is not NULL. */
static char *join(const char *root, const char *first, const char *second)
{
    char *path = path_join(root, first);
    if (!second || !path) return path;
    char *longer = path_join(path, second);
    free(path);
    return longer;
}

static bool is_folder(const char *root, const char *first, const char *second)
{
    struct stat status;
    char *path = join(root, first, second);
    bool is = path && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    free(path);
    return is;
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
    return no_memory(problem);
}

/* "NAME.png" under `folder` for the picture "NAME.jpg"; `name` may have folders in it. */
static char *labels_path(const char *folder, const char *name)
{
    const char *dot = strrchr(name, '.'), *slash = strrchr(name, '/');
    size_t stem = dot && (!slash || dot > slash) ? (size_t)(dot - name) : strlen(name);
    char *file;
    if (asprintf(&file, "%.*s.png", (int)stem, name) < 0) return NULL;
    char *path = path_join(folder, file);
    free(file);
    return path;
}

static bool add_pair(struct dataset *dataset, const char *pictures, const char *labels, const char *name,
    struct problem *problem)
{
    char *picture = path_join(pictures, name), *truth = labels_path(labels, name);
    if (picture && truth && access(truth, R_OK)) {
        problem_set(problem, "%s: no labels for it: %s: %s", picture, truth, strerror(errno));
        free(picture);
        free(truth);
        return false;
    }
    return add(dataset, picture, truth, problem);
}

/* All pictures under one folder, with the labels of the same names under another. */
static bool add_folders(
    struct dataset *dataset, const char *pictures, const char *labels, struct problem *problem)
{
    struct folder folder;
    size_t prefix = strlen(pictures);
    if (!folder_list(&folder, pictures, problem)) return false;
    bool added = true;
    for (size_t i = 0; added && i < folder.count; i++) {
        const char *name = folder.paths[i] + prefix;
        added = add_pair(dataset, pictures, labels, name + strspn(name, "/"), problem);
    }
    folder_free(&folder);
    return added;
}

/* All names on the lines of a VOC list. */
static bool add_list(struct dataset *dataset, const char *root, const char *list, struct problem *problem)
{
    char *pictures = path_join(root, "JPEGImages"), *labels = path_join(root, "SegmentationClass"),
         *line = NULL;
    FILE *file = fopen(list, "re");
    size_t room = 0;
    bool added = pictures && labels;
    if (!file) added = problem_set(problem, "%s: %s", list, strerror(errno));
    while (added && getline(&line, &room, file) > 0) {
        char *name = strtok(line, " \t\r\n"), *with_ending;
        if (!name) continue;
        added = asprintf(&with_ending, "%s.jpg", name) >= 0 || no_memory(problem);
        if (!added) break;
        added = add_pair(dataset, pictures, labels, with_ending, problem);
        free(with_ending);
    }
    if (file) fclose(file);
    free(line);
    free(labels);
    free(pictures);
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

/* Cuts the numbers off where every name has its own: "2d thing" alone is a name. */
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

/* A class's name on each line of ROOT/classes.txt; without the file the data do not name them. */
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
    return read || no_memory(problem);
}

static bool open_pair(
    struct dataset *dataset, const char *root, const char *half, bool ade, struct problem *problem)
{
    char *pictures = join(root, "images", ade ? half : NULL);
    char *labels = join(root, ade ? "annotations" : "labels", ade ? half : NULL);
    bool opened = pictures && labels ? add_folders(dataset, pictures, labels, problem) : no_memory(problem);
    free(labels);
    free(pictures);
    return opened;
}

static bool open_voc(
    struct dataset *dataset, const char *root, enum dataset_part part, struct problem *problem)
{
    char *list = join(root, "ImageSets/Segmentation", part == DATASET_TRAIN ? "train.txt" : "val.txt");
    bool opened = list ? add_list(dataset, root, list, problem) : no_memory(problem);
    free(list);
    return opened;
}

static bool open_layout(
    struct dataset *dataset, const char *root, enum dataset_part part, struct problem *problem)
{
    if (is_folder(root, "JPEGImages", NULL)) {
        dataset->classes = 21;
        return open_voc(dataset, root, part, problem);
    }
    if (is_folder(root, "annotations", NULL)) {
        dataset->classes = 150;
        dataset->reduce_zero = true;
        return open_pair(dataset, root, part == DATASET_TRAIN ? "training" : "validation", true, problem);
    }
    if (!is_folder(root, "images", NULL) || !is_folder(root, "labels", NULL))
        return problem_set(problem,
            "%s: no data set with labels: neither images and labels, JPEGImages and SegmentationClass, nor "
            "images and annotations are in it",
            root);
    dataset->plain = true;
    return open_pair(dataset, root, NULL, false, problem) && read_names(dataset, root, problem);
}

/* Keeps every second picture. */
static void keep_half(struct dataset *dataset, enum dataset_part part)
{
    size_t kept = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        bool wanted = i % 2 == (part == DATASET_VALIDATION);
        if (wanted)
            dataset->list[kept++] = dataset->list[i];
        else
            free_pair(&dataset->list[i]);
    }
    dataset->count = kept;
}

bool dataset_open(struct dataset *dataset, const char *root, enum dataset_part part, struct problem *problem)
{
    *dataset = (struct dataset){0};
    bool opened = open_layout(dataset, root, part, problem);
    if (opened && dataset->plain && part != DATASET_ALL) keep_half(dataset, part);
    if (opened && dataset->count == 0)
        opened = problem_set(problem, "%s: no pictures with labels in it", root);
    if (!opened) dataset_free(dataset);
    return opened;
}

void dataset_free(struct dataset *dataset)
{
    for (size_t i = 0; i < dataset->count; i++) free_pair(&dataset->list[i]);
    for (int c = 0; dataset->names && c < dataset->classes; c++) free(dataset->names[c]);
    free(dataset->names);
    free(dataset->list);
    *dataset = (struct dataset){0};
}

static bool complete(struct dataset *dataset, const struct dataset_choice *choice, struct problem *problem)
{
    if (choice->classes && dataset->names)
        return problem_set(problem, "--classes: classes.txt names %d classes already", dataset->classes);
    if (choice->classes) dataset->classes = choice->classes;
    dataset->reduce_zero |= choice->reduce_zero;
    dataset->upright = choice->upright;
    return dataset->classes || problem_set(problem, "say by --classes how many classes there are");
}

bool dataset_open_both(
    struct dataset *train, struct dataset *test, const struct dataset_choice *choice, struct problem *problem)
{
    const char *second = choice->test ? choice->test : choice->train;
    *train = *test = (struct dataset){0};
    if (!dataset_open(train, choice->train, DATASET_TRAIN, problem)) return false;
    if (choice->test && train->plain) { /* a folder of its own: all of it */
        dataset_free(train);
        if (!dataset_open(train, choice->train, DATASET_ALL, problem)) return false;
    }
    enum dataset_part part = choice->test && train->plain ? DATASET_ALL : DATASET_VALIDATION;
    if (!dataset_open(test, second, part, problem) || !complete(train, choice, problem) ||
        !complete(test, choice, problem))
        return false;
    return train->classes == test->classes || problem_set(problem, "%s has %d classes, %s has %d",
                                                  choice->train, train->classes, second, test->classes);
}

/* The class that a stored label stands for; -1 when it is none. */
static int class_of(const struct dataset *dataset, int label)
{
    if (label == NO_LABEL || (dataset->reduce_zero && label == 0)) return NO_LABEL;
    int class = label - dataset->reduce_zero;
    return class < dataset->classes ? class : -1;
}

static bool resize_labels(const struct dataset *dataset, const struct image *image, int size, int32_t *labels,
    const char *path, struct problem *problem)
{
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) {
            int from_y = (int)((y + 0.5) * image->height / size),
                from_x = (int)((x + 0.5) * image->width / size);
            int label = image->pixels[(size_t)from_y * (size_t)image->width + (size_t)from_x];
            int class = class_of(dataset, label);
            if (class < 0)
                return problem_set(problem, "%s: label %d at (%d, %d), but there are %d classes%s", path,
                    label, from_x, from_y, dataset->classes, dataset->reduce_zero ? " from 1 on" : "");
            labels[y * size + x] = class;
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

/* Whether a label map has as many pixels as the file of its picture, to what a reduced picture cannot say. */
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

bool dataset_labels(const struct dataset *dataset, size_t index, const struct image *picture, int size,
    int32_t *labels, struct problem *problem)
{
    const struct labelled *pair = &dataset->list[index];
    struct image image;
    struct problem why;
    if (!image_load_labels(&image, pair->labels, &why))
        return problem_set(problem, "%s: %s", pair->labels, why.text);
    bool made = turn_labels(&image, pair, picture, problem) && check_size(&image, pair, picture, problem) &&
                resize_labels(dataset, &image, size, labels, pair->labels, problem);
    image_free(&image);
    return made;
}
