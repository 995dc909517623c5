/* cribo evaluate: see evaluation.h. */
#include "commands/command.h"
#include "models/evaluation.h"
#include "base/say.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum {
    KEY_CLASSES = 256,
    KEY_REDUCE_ZERO,
    KEY_UPRIGHT,
    KEY_LINEAR,
    KEY_MEMORY,
    KEY_NEIGHBOURS,
    KEY_TEMPERATURE,
    KEY_SEED,
    KEY_JSON
};

static const struct argp_option table[] = {
    {"json", KEY_JSON, "FILE", 0,
        "Write the results as JSON to FILE as well; -: print JSON to standard output instead of the table",
        0},
    {"linear", KEY_LINEAR, NULL, 0, "Fit a linear layer to the patches of TRAIN as well and score it", 0},
    {"memory-patches", KEY_MEMORY, "N", 0,
        "Keep a uniform sample of N patches of TRAIN in the memory; default 0: all", 0},
    {"neighbours", KEY_NEIGHBOURS, "K", 0,
        "Number of nearest patches that vote for a patch's label; default 30", 0},
    {"temperature", KEY_TEMPERATURE, "X", 0,
        "Temperature of the softmax over the neighbours' cosines; default 0.02", 0},
    {"seed", KEY_SEED, "N", 0, "Seed of the sample of patches; default 0", 0},
    {"classes", KEY_CLASSES, "N", 0, "Number of classes, for data sets that do not contain it", 0},
    {"reduce-zero-label", KEY_REDUCE_ZERO, NULL, 0,
        "Ignore label 0 and treat label c as class c - 1, as ADE20k's protocol does", 0},
    {"upright", KEY_UPRIGHT, NULL, 0,
        "Rotate pictures and their label maps by the pictures' EXIF orientation; default: as stored", 0},
    {0},
};

struct parsing {
    struct frozen_options model;
    struct dataset_choice data;
    struct evaluation_options what;
    const char *json;
};

static void take_argument(struct argp_state *state, struct parsing *parsing, char *value)
{
    const char **places[] = {&parsing->model.path, &parsing->data.train, &parsing->data.test};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (!*places[i]) {
            *places[i] = value;
            return;
        }
    argp_error(state, "unexpected argument '%s'", value);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct parsing *parsing = state->input;
    switch (key) {
    case KEY_JSON: parsing->json = value; return 0;
    case KEY_LINEAR: parsing->what.linear = true; return 0;
    case KEY_MEMORY:
        parsing->what.memory_patches = command_integer(state, "memory-patches", value, 0, INT64_C(1) << 31);
        return 0;
    case KEY_NEIGHBOURS:
        parsing->what.neighbours = command_integer(state, "neighbours", value, 1, 4096);
        return 0;
    case KEY_TEMPERATURE: parsing->what.temperature = command_positive(state, "temperature", value); return 0;
    case KEY_SEED: parsing->what.seed = command_integer(state, "seed", value, 0, INT64_C(1) << 53); return 0;
    case KEY_CLASSES: parsing->data.classes = (int)command_integer(state, "classes", value, 1, 255); return 0;
    case KEY_REDUCE_ZERO: parsing->data.reduce_zero = true; return 0;
    case KEY_UPRIGHT: parsing->data.upright = true; return 0;
    case ARGP_KEY_INIT: state->child_inputs[0] = &parsing->model; return 0;
    case ARGP_KEY_ARG: take_argument(state, parsing, value); return 0;
    case ARGP_KEY_END:
        if (!parsing->data.train) argp_error(state, "name a model and a data set");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void print_scores(const char *name, const cribo_scores *scores)
{
    printf("%-14s mIoU %6.2f %%   accuracy %6.2f %%   mean accuracy %6.2f %%   over %lld classes\n", name,
        100 * scores->mean_iou, 100 * scores->accuracy, 100 * scores->mean_accuracy,
        (long long)scores->classes_seen);
}

static void print_class(const struct evaluation *e, const struct dataset *test, int c)
{
    const double *columns[] = {e->nearest_iou, e->linear_iou};
    if (test->names)
        printf("%-20s", test->names[c]);
    else
        printf("class %-14d", c);
    for (int i = 0; i < 2 && columns[i]; i++)
        if (columns[i][c] < 0)
            printf("  %9s", "-");
        else
            printf("  %7.2f %%", 100 * columns[i][c]);
    const char *note = evaluation_note(e, c);
    printf("%s%s\n", *note ? "  " : "", note);
}

static void print_table(const struct evaluation *e, const struct dataset *test)
{
    printf("%-20s  %9s%s\n", "IoU", "retrieval", e->linear_iou ? "     linear" : "");
    for (int c = 0; c < e->classes; c++) print_class(e, test, c);
    print_scores("retrieval", &e->nearest);
    if (e->linear_iou) print_scores("linear probe", &e->linear);
    printf("%lld patches in memory; remembered in %.1f s, scored %zu pictures in %.1f s\n",
        (long long)e->entries, e->remember_seconds, test->count, e->score_seconds);
}

static bool write_json(
    const char *path, const struct evaluation *e, const struct dataset *test, struct problem *problem)
{
    json_t *root = evaluation_json(e, test);
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(9);
    errno = 0;
    bool written = root && (strcmp(path, "-") ? json_dump_file(root, path, flags) == 0
                                              : json_dumpf(root, stdout, flags) == 0 && putchar('\n') != EOF);
    json_decref(root);
    return written ||
           problem_set(problem, "cannot write %s: %s", path, errno ? strerror(errno) : "no memory");
}

static bool run(struct parsing *parsing, struct problem *problem)
{
    struct dataset train = {0}, test = {0};
    struct frozen frozen = {0};
    struct evaluation evaluation = {0};
    parsing->what.train = &train;
    parsing->what.test = &test;
    parsing->what.threads = parsing->model.threads;
    parsing->what.say = true;
    bool done = dataset_open_both(&train, &test, &parsing->data, problem) &&
                frozen_open(&frozen, &parsing->model, problem) &&
                evaluate(&evaluation, &frozen, &parsing->what, problem);
    if (done) evaluation_warn(&evaluation, &test);
    if (done && !(parsing->json && !strcmp(parsing->json, "-"))) print_table(&evaluation, &test);
    if (done && parsing->json) done = write_json(parsing->json, &evaluation, &test, problem);
    evaluation_free(&evaluation);
    frozen_free(&frozen);
    dataset_free(&train);
    dataset_free(&test);
    return done;
}

int command_evaluate(int count, char **arguments)
{
    static const struct argp_child children[] = {{&frozen_argp, 0, "The model:", 9}, {0}};
    static const struct argp argp = {.options = table,
        .parser = parse,
        .children = children,
        .args_doc = "MODEL TRAIN [TEST]",
        .doc =
            "Segments the pictures of TEST by dense nearest-neighbour retrieval from those of TRAIN with the "
            "published protocol and prints the mean intersection over union. MODEL is the folder of a run, a "
            "checkpoint or a safetensors file.\vA data set is a folder with images and labels of matching "
            "names, as `cribo scenes` writes them (labels as PNG: a palette's indices or grey values; 255 is "
            "ignored), Pascal VOC (JPEGImages, SegmentationClass, ImageSets) or ADE20k (images, annotations)."
            " If only one folder is given, its training half fills the memory and its validation half is "
            "scored; of images and labels, every second one. Pictures are resized to a square.\n\n"
            "Example: cribo evaluate run VOCdevkit/VOC2012 --size 448\n\n"};
    struct parsing parsing = {0};
    struct problem problem;
    say_name("cribo evaluate");
    if (argp_parse(&argp, count, arguments, 0, NULL, &parsing)) return 1;
    if (run(&parsing, &problem)) return 0;
    say_error("%s", problem.text);
    return 1;
}
