/* cribo evaluate: see models/evaluation.h. */
#include "base/arguments.h"
#include "base/say.h"
#include "commands/command.h"
#include "drawing/failures.h"
#include "drawing/fractions.h"
#include "models/classification.h"
#include "models/linear_head.h"
#include "models/unsupervised.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum {
    KEY_PROTOCOL = 256,
    KEY_RULE, /* one for each of `rules`, in their order */
    KEY_JSON = KEY_RULE + 16,
    KEY_LINEAR,
    KEY_FLOOR,
    KEY_MEMORY_PATCHES,
    KEY_NEIGHBOURS,
    KEY_TEMPERATURE,
    KEY_SEED,
    KEY_FRACTIONS,
    KEY_PLOT,
    KEY_RECORD,
    KEY_FAILURES,
    KEY_FAILURE_COUNT,
    KEY_EPOCHS,
    KEY_RATE,
    KEY_CLUSTERS,
    KEY_MATCHING,
    KEY_LAYOUT,
    KEY_TRAIN_LIST,
    KEY_TEST_LIST,
    KEY_CLASSES,
    KEY_REDUCE_ZERO,
    KEY_UPRIGHT
};

/* The rules of a protocol that have an option each. */
static const char *const rules[] = {
    "resize", "label-pixel", "passes", "memory", "void", "mean", "blue-deviation"};
enum { RULES = sizeof rules / sizeof rules[0] };

static const struct argp_option table[] = {
    {0, 0, 0, 0, "The protocol:", 1},
    {"protocol", KEY_PROTOCOL, "NAME", 0,
        "simple (default); hummingbird: the rules of the public evaluator open-hummingbird-eval 2.0; linear: "
        "a layer trained on the pixels of TRAIN; clusters: k-means of the tokens, matched with classes; knn: "
        "nearest [CLS] tokens, TRAIN/train and TRAIN/val with a folder for each class",
        1},
    {"resize", KEY_RULE, "bicubic|bilinear", 0,
        "Interpolation of resized pictures: bicubic, or bilinear rounded to bytes as in Pillow", 1},
    {"label-pixel", KEY_RULE + 1, "middle|floor", 0,
        "Stored label of a resized pixel: the one at the pixel's centre, or at floor(i * scale)", 1},
    {"passes", KEY_RULE + 2, "N", 0,
        "Passes over the pictures of TRAIN, each with a random crop and colour jitter; 0: each whole picture "
        "once",
        1},
    {"memory", KEY_RULE + 3, "uniform|rare", 0,
        "Sample of patches in a bounded memory: uniform over all patches, or per picture with rare classes "
        "preferred",
        1},
    {"void", KEY_RULE + 4, "ignore|zero", 0,
        "Treatment of labels without a class in the memory: ignore them, or count them as class 0", 1},
    {"mean", KEY_RULE + 5, "occurring|matched", 0,
        "Classes of the mean IoU: those that occur, or all classes after Hungarian matching", 1},
    {"blue-deviation", KEY_RULE + 6, "X", 0,
        "Standard deviation that normalises the blue channel: 0.225, or 0.255 as in the public evaluator", 1},
    {0, 0, 0, 0, "The memory:", 2},
    {"memory-patches", KEY_MEMORY_PATCHES, "N", 0,
        "Maximum number of patches of TRAIN in the memory; default 0: all", 2},
    {"neighbours", KEY_NEIGHBOURS, "K", 0,
        "Number of nearest patches that vote for a patch's label; default 30", 2},
    {"temperature", KEY_TEMPERATURE, "X", 0,
        "Temperature of the softmax over the neighbours' cosines; default 0.02", 2},
    {"linear", KEY_LINEAR, NULL, 0, "Fit a linear layer to the patches of TRAIN as well and score it", 2},
    {"floor", KEY_FLOOR, NULL, 0,
        "Score features without a network by the same retrieval as well: mean colour, deviation and oriented "
        "gradients (HOG) of each patch",
        2},
    {"epochs", KEY_EPOCHS, "N", 0, "Epochs of --protocol linear; default 25", 2},
    {"rate", KEY_RATE, "X", 0, "Learning rate of --protocol linear in its first four fifths; default 0.01",
        2},
    {"clusters", KEY_CLUSTERS, "K", 0,
        "Number of clusters for --protocol clusters; default: that of the classes", 2},
    {"matching", KEY_MATCHING, "KIND", 0,
        "How clusters get classes: hungarian, one to one by IoU (default), or many-to-one, each the class of "
        "most of its pixels",
        2},
    {"seed", KEY_SEED, "N[,N...]", 0, "Seeds of crops, jitter and samples, one run each; default 0", 2},
    {"fractions", KEY_FRACTIONS, "F[,F...]", 0,
        "Fractions of the pictures of TRAIN to use, one run each, for example 1,1/8; default 1", 2},
    {0, 0, 0, 0, "The data:", 3},
    {"layout", KEY_LAYOUT, "NAME", 0,
        "Layout of the data set: pairs, voc, voc-aug, ade20k, ade20k-151, cityscapes, coco-stuff, "
        "coco-stuff-15, coco-things-12, pascal-context, pascal-context-59; default: recognised by folders",
        3},
    {"train-list", KEY_TRAIN_LIST, "FILE[,FILE...]", 0,
        "Use the pictures of TRAIN that FILE lists, one per line; one run per file", 3},
    {"test-list", KEY_TEST_LIST, "FILE", 0, "Score the pictures that FILE lists, one per line", 3},
    {"classes", KEY_CLASSES, "N", 0, "Number of classes, for data sets that do not contain it", 3},
    {"reduce-zero-label", KEY_REDUCE_ZERO, NULL, 0,
        "Ignore label 0 and treat label c as class c - 1, as ADE20k's protocol with 150 classes does", 3},
    {"upright", KEY_UPRIGHT, NULL, 0,
        "Rotate pictures and their label maps by the pictures' EXIF orientation; default: as stored", 3},
    {0, 0, 0, 0, "The results:", 4},
    {"json", KEY_JSON, "FILE", 0,
        "Write the results as JSON to FILE as well; -: print JSON to standard output instead of the table",
        4},
    {"plot", KEY_PLOT, "FILE", 0, "Plot the mean IoU of several fractions to FILE, .png or .svg", 4},
    {"failures", KEY_FAILURES, "FILE", 0,
        "Draw the pictures scored worst to FILE, .png or .svg, with the remembered patches that voted", 4},
    {"failure-count", KEY_FAILURE_COUNT, "N", 0, "Number of pictures in the file of --failures; default 6",
        4},
    {"record", KEY_RECORD, "FILE", 0,
        "Write each remembered crop and its jitter to FILE, a line of JSON each", 4},
    {0},
};

struct parsing {
    struct frozen_options model;
    struct dataset_choice data;
    struct run_request request;
    struct evaluation_options what;
    struct unsupervised_options clusters;
    size_t failure_count;
    bool floor;  /* features without a network, too */
    int epochs;  /* of the linear layer */
    double rate; /* of its first steps */
    const char *json, *plot, *failures, *protocol, *rule[RULES];
};

/* The data of one run of the command. */
struct work {
    struct run_plan plan;
    struct frozen frozen;
    struct evaluation results[MAX_RUNS];
    struct evaluation floor; /* of the first run's pictures; only with the option */
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

/* The protocol with the rules of separate options, in any order on the command line. */
static void settle_protocol(struct argp_state *state, struct parsing *parsing)
{
    struct protocol *protocol = &parsing->what.protocol;
    struct problem problem;
    const char *name = parsing->protocol ? parsing->protocol : "simple";
    bool other = !strcmp(name, "clusters") || !strcmp(name, "knn") || !strcmp(name, "linear");
    bool settled = protocol_named(protocol, other ? "simple" : name, &problem);
    for (size_t i = 0; settled && i < RULES; i++)
        if (parsing->rule[i]) settled = protocol_set(protocol, rules[i], parsing->rule[i], &problem);
    if (!settled) argp_error(state, "%s", problem.text);
    parsing->data.published = protocol->published;
    parsing->data.floor_labels = protocol->floor_labels;
    parsing->data.void_is_zero = protocol->void_is_zero;
}

static void end(struct argp_state *state, struct parsing *parsing)
{
    if (!parsing->data.train) argp_error(state, "name a model and a data set");
    settle_protocol(state, parsing);
}

static error_t parse_data(int key, char *value, struct argp_state *state, struct parsing *parsing)
{
    switch (key) {
    case KEY_LAYOUT: parsing->data.layout = value; return 0;
    case KEY_TRAIN_LIST: parsing->request.lists = value; return 0;
    case KEY_TEST_LIST: parsing->data.test_list = value; return 0;
    case KEY_CLASSES: parsing->data.classes = (int)command_integer(state, "classes", value, 1, 255); return 0;
    case KEY_REDUCE_ZERO: parsing->data.reduce_zero = true; return 0;
    case KEY_UPRIGHT: parsing->data.upright = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_memory(int key, char *value, struct argp_state *state, struct parsing *parsing)
{
    struct problem problem;
    switch (key) {
    case KEY_LINEAR: parsing->what.linear = true; return 0;
    case KEY_FLOOR: parsing->floor = true; return 0;
    case KEY_MEMORY_PATCHES:
        parsing->what.memory_patches = command_integer(state, "memory-patches", value, 0, INT64_C(1) << 31);
        return 0;
    case KEY_NEIGHBOURS:
        parsing->what.neighbours = command_integer(state, "neighbours", value, 1, 4096);
        return 0;
    case KEY_TEMPERATURE: parsing->what.temperature = command_positive(state, "temperature", value); return 0;
    case KEY_SEED:
        if (!run_request_seeds(&parsing->request, value, &problem)) argp_error(state, "%s", problem.text);
        return 0;
    case KEY_FRACTIONS:
        if (!run_request_fractions(&parsing->request, value, &problem)) argp_error(state, "%s", problem.text);
        return 0;
    case KEY_EPOCHS: parsing->epochs = (int)command_integer(state, "epochs", value, 1, 100000); return 0;
    case KEY_RATE: parsing->rate = command_positive(state, "rate", value); return 0;
    case KEY_CLUSTERS:
        parsing->clusters.clusters = (int)command_integer(state, "clusters", value, 1, 65536);
        return 0;
    case KEY_MATCHING:
        if (strcmp(value, "hungarian") && strcmp(value, "many-to-one"))
            argp_error(state, "--matching=%s: it is hungarian or many-to-one", value);
        parsing->clusters.matching = value[0] == 'm' ? CRIBO_MATCH_MANY_TO_ONE : CRIBO_MATCH_ONE_TO_ONE;
        return 0;
    default: return parse_data(key, value, state, parsing);
    }
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct parsing *parsing = state->input;
    if (key >= KEY_RULE && key < KEY_RULE + RULES) {
        parsing->rule[key - KEY_RULE] = value;
        return 0;
    }
    switch (key) {
    case KEY_PROTOCOL: parsing->protocol = value; return 0;
    case KEY_JSON: parsing->json = value; return 0;
    case KEY_PLOT: parsing->plot = value; return 0;
    case KEY_FAILURES: parsing->failures = value; return 0;
    case KEY_FAILURE_COUNT:
        parsing->failure_count = (size_t)command_integer(state, "failure-count", value, 1, 100);
        return 0;
    case KEY_RECORD: parsing->what.record = value; return 0;
    case ARGP_KEY_INIT: state->child_inputs[0] = &parsing->model; return 0;
    case ARGP_KEY_ARG: take_argument(state, parsing, value); return 0;
    case ARGP_KEY_END: end(state, parsing); return 0;
    default: return parse_memory(key, value, state, parsing);
    }
}

/* --- results --- */

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

static void print_runs(const struct work *work)
{
    struct run_summary summaries[MAX_RUNS];
    for (size_t r = 0; r < work->plan.count; r++)
        printf("%-40s  mIoU %6.2f %%   %lld patches\n", work->plan.runs[r].name,
            100 * work->results[r].nearest.mean_iou, (long long)work->results[r].entries);
    size_t count = run_plan_summarise(&work->plan, work->results, summaries);
    for (size_t i = 0; i < count; i++)
        printf("%zu pictures (%.4g of the most): mIoU %.2f %% +- %.2f over %zu runs\n", summaries[i].pictures,
            summaries[i].fraction, 100 * summaries[i].mean, 100 * summaries[i].deviation, summaries[i].runs);
}

/* The conditions of the scores. */
static void print_foot(const struct parsing *parsing, const struct work *work)
{
    char rules_in_words[512];
    const struct evaluation_options *what = &parsing->what;
    const struct evaluation_run *run = &work->plan.runs[0];
    protocol_describe(&what->protocol, rules_in_words, sizeof rules_in_words);
    printf("%s\n", rules_in_words);
    printf("%d x %d pixels, patches of %d; %lld neighbours, temperature %g, exact search", work->frozen.size,
        work->frozen.size, work->frozen.patch, (long long)(what->neighbours ? what->neighbours : 30),
        what->temperature > 0 ? what->temperature : 0.02);
    if (what->memory_patches) printf("; at most %lld patches", (long long)what->memory_patches);
    printf("\n%zu pictures remembered (%s), %zu scored (%s), seed %lld; cribo %s\n", run->count,
        run->train->layout->name, work->plan.test.count, work->plan.test.layout->name, (long long)run->seed,
        cribo_version());
}

static json_t *runs_json(const struct work *work)
{
    json_t *runs = json_array();
    for (size_t r = 0; r < work->plan.count; r++) {
        const struct evaluation_run *run = &work->plan.runs[r];
        json_t *one = evaluation_json(&work->results[r], &work->plan.test);
        json_object_set_new(one, "name", json_string(run->name));
        json_object_set_new(one, "pictures", json_integer((json_int_t)run->count));
        json_object_set_new(one, "seed", json_integer((json_int_t)run->seed));
        json_array_append_new(runs, one);
    }
    return runs;
}

static json_t *summaries_json(const struct work *work)
{
    struct run_summary summaries[MAX_RUNS];
    json_t *all = json_array();
    size_t count = run_plan_summarise(&work->plan, work->results, summaries);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(
            all, json_pack("{s:I, s:f, s:I, s:f, s:f}", "pictures", (json_int_t)summaries[i].pictures,
                     "fraction", summaries[i].fraction, "runs", (json_int_t)summaries[i].runs, "mean_iou",
                     summaries[i].mean, "deviation", summaries[i].deviation));
    return all;
}

/* Writes an object, which is freed, to the file that --json names. */
static bool dump(json_t *root, const char *path, struct problem *problem)
{
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(9);
    errno = 0;
    bool written = root && (strcmp(path, "-") ? json_dump_file(root, path, flags) == 0
                                              : json_dumpf(root, stdout, flags) == 0 && putchar('\n') != EOF);
    json_decref(root);
    return written ||
           problem_set(problem, "cannot write %s: %s", path, errno ? strerror(errno) : "no memory");
}

static bool write_json(const struct parsing *parsing, const struct work *work, struct problem *problem)
{
    json_t *root = evaluation_json(&work->results[0], &work->plan.test);
    json_object_set_new(root, "conditions", evaluation_conditions(&work->frozen, &parsing->what));
    json_object_set_new(root, "seed", json_integer((json_int_t)work->plan.runs[0].seed));
    if (parsing->floor)
        json_object_set_new(root, "floor",
            json_pack("{s:f, s:f}", "mean_iou", work->floor.nearest.mean_iou, "accuracy",
                work->floor.nearest.accuracy));
    if (work->plan.count > 1) {
        json_object_set_new(root, "runs", runs_json(work));
        json_object_set_new(root, "summary", summaries_json(work));
    }
    return dump(root, parsing->json, problem);
}

/* Whether the table is printed: not if another result goes to standard output. */
static bool has_table(const struct parsing *parsing)
{
    return !(parsing->json && !strcmp(parsing->json, "-"));
}

static bool publish(const struct parsing *parsing, struct work *work, struct problem *problem)
{
    struct run_summary summaries[MAX_RUNS];
    evaluation_warn(&work->results[0], &work->plan.test);
    if (has_table(parsing)) {
        if (work->plan.count == 1) print_table(&work->results[0], &work->plan.test);
        if (work->plan.count > 1) print_runs(work);
        if (parsing->floor) print_scores("colour + HOG", &work->floor.nearest);
        print_foot(parsing, work);
    }
    size_t count = run_plan_summarise(&work->plan, work->results, summaries);
    return (!parsing->plot || fractions_draw(parsing->plot, summaries, count, problem)) &&
           (!parsing->failures ||
               failures_draw(parsing->failures, &work->frozen, &parsing->what, &work->results[0], problem)) &&
           (!parsing->json || write_json(parsing, work, problem));
}

/* --- the protocols --- */

/* The first run with features without a network. */
static bool find_floor(const struct parsing *parsing, struct work *work, struct problem *problem)
{
    struct frozen plain = frozen_plain(&work->frozen);
    struct evaluation_options what = parsing->what;
    what.protocol.blue_deviation = 0;
    what.run_count = 1;
    what.linear = false;
    what.worst = 0;
    what.record = NULL;
    return evaluate(&work->floor, &plain, &what, problem);
}

static bool retrieve(struct parsing *parsing, struct work *work, struct problem *problem)
{
    struct evaluation_options *what = &parsing->what;
    what->runs = work->plan.runs;
    what->run_count = work->plan.count;
    what->test = &work->plan.test;
    what->threads = parsing->model.threads;
    what->say = true;
    if (parsing->failures) what->worst = parsing->failure_count ? parsing->failure_count : 6;
    return evaluate(work->results, &work->frozen, what, problem) &&
           (!parsing->floor || find_floor(parsing, work, problem)) && publish(parsing, work, problem);
}

/* The mean and the deviation of the clusters' mean IoU over the seeds, and the last seed's classes. */
static bool publish_clusters(const struct parsing *parsing, const struct work *work,
    const struct unsupervised *last, const double *means, int count, struct problem *problem)
{
    const char *matching = parsing->clusters.matching == CRIBO_MATCH_ONE_TO_ONE ? "hungarian" : "many-to-one";
    double mean = 0, squares = 0;
    for (int i = 0; i < count; i++) mean += means[i] / count;
    for (int i = 0; i < count; i++) squares += (means[i] - mean) * (means[i] - mean);
    double deviation = count > 1 ? sqrt(squares / (count - 1)) : 0;
    if (has_table(parsing)) {
        print_scores("clusters", &last->scores);
        printf("mIoU %.2f %% +- %.2f over %d seeds; %d clusters of %lld tokens, matched %s\n", 100 * mean,
            100 * deviation, count, last->clusters, (long long)last->sampled, matching);
        printf(
            "protocol clusters: k-means of normalised tokens, %d rounds, at most %d tokens for each cluster; "
            "%d x %d pixels, patches of %d; %zu pictures (%s), %d classes; cribo %s\n",
            CLUSTER_ITERATIONS, CLUSTER_SAMPLE, work->frozen.size, work->frozen.size, work->frozen.patch,
            work->plan.test.count, work->plan.test.layout->name, work->plan.test.classes, cribo_version());
    }
    if (!parsing->json) return true;
    return dump(
        json_pack("{s:s, s:f, s:f, s:i, s:i, s:I, s:s, s:i, s:i, s:I, s:i, s:s}", "protocol", "clusters",
            "mean_iou", mean, "deviation", deviation, "seeds", count, "clusters", last->clusters,
            "tokens_sampled", (json_int_t)last->sampled, "matching", matching, "size", work->frozen.size,
            "patch", work->frozen.patch, "pictures", (json_int_t)work->plan.test.count, "classes",
            work->plan.test.classes, "library", cribo_version()),
        parsing->json, problem);
}

static bool cluster(struct parsing *parsing, struct work *work, struct problem *problem)
{
    struct unsupervised_options *options = &parsing->clusters;
    struct unsupervised result = {0};
    double means[MAX_NUMBERS];
    int count = parsing->request.seed_count ? parsing->request.seed_count : 1;
    options->protocol = &parsing->what.protocol;
    options->test = &work->plan.test;
    options->threads = parsing->model.threads;
    options->say = true;
    for (int i = 0; i < count; i++) {
        options->seed = parsing->request.seed_count ? parsing->request.seeds[i] : 0;
        unsupervised_free(&result);
        if (!unsupervised_evaluate(&result, &work->frozen, options, problem)) return false;
        means[i] = result.scores.mean_iou;
    }
    bool done = publish_clusters(parsing, work, &result, means, count, problem);
    unsupervised_free(&result);
    return done;
}

static bool publish_head(const struct parsing *parsing, const struct work *work,
    const struct linear_head *head, struct problem *problem)
{
    const struct evaluation_run *run = &work->plan.runs[0];
    if (has_table(parsing)) {
        print_scores("linear", &head->scores);
        printf(
            "protocol linear: one layer on frozen tokens, logits interpolated to %d x %d label maps; %d "
            "epochs, batches of %d, SGD with momentum %g, decay %g, rate %g, a tenth of it after %d epochs; "
            "last loss %.4f\n",
            head->label_side, head->label_side, head->epochs, HEAD_BATCH, HEAD_MOMENTUM, HEAD_DECAY,
            head->rate, head->epochs * HEAD_DROP / HEAD_EPOCHS, head->loss);
        printf("%d x %d pixels, patches of %d; %zu pictures to train, %zu scored (%s), seed %lld; cribo %s\n",
            work->frozen.size, work->frozen.size, work->frozen.patch, run->count, work->plan.test.count,
            work->plan.test.layout->name, (long long)run->seed, cribo_version());
    }
    if (!parsing->json) return true;
    return dump(
        json_pack("{s:s, s:f, s:f, s:f, s:i, s:i, s:i, s:f, s:f, s:f, s:i, s:i, s:I, s:I, s:I, s:s}",
            "protocol", "linear", "mean_iou", head->scores.mean_iou, "accuracy", head->scores.accuracy,
            "loss", head->loss, "epochs", head->epochs, "batch", HEAD_BATCH, "label_side", head->label_side,
            "rate", head->rate, "momentum", HEAD_MOMENTUM, "decay", HEAD_DECAY, "size", work->frozen.size,
            "patch", work->frozen.patch, "trained", (json_int_t)run->count, "scored",
            (json_int_t)work->plan.test.count, "seed", (json_int_t)run->seed, "library", cribo_version()),
        parsing->json, problem);
}

static bool train_head(struct parsing *parsing, struct work *work, struct problem *problem)
{
    struct linear_head head;
    struct linear_head_options options = {.protocol = &parsing->what.protocol,
        .train = work->plan.runs[0].train,
        .test = &work->plan.test,
        .epochs = parsing->epochs,
        .rate = parsing->rate,
        .seed = work->plan.runs[0].seed,
        .threads = parsing->model.threads,
        .say = true};
    if (work->plan.count > 1)
        return problem_set(
            problem, "--protocol linear: one seed and all pictures; several runs are not trained");
    if (!linear_head_evaluate(&head, &work->frozen, &options, problem)) return false;
    bool done = publish_head(parsing, work, &head, problem);
    linear_head_free(&head);
    return done;
}

static bool classify(struct parsing *parsing, struct work *work, struct problem *problem)
{
    struct classification result;
    struct classification_options options = {.train = parsing->data.train,
        .test = parsing->data.test,
        .neighbours = parsing->what.neighbours,
        .temperature = parsing->what.temperature,
        .threads = parsing->model.threads,
        .say = true};
    if (!classification_evaluate(&result, &work->frozen, &options, problem)) return false;
    int64_t neighbours = options.neighbours ? options.neighbours : 20;
    double temperature = options.temperature > 0 ? options.temperature : 0.07;
    if (has_table(parsing)) {
        printf("k-NN on [CLS]  accuracy %6.2f %%   among the first five %6.2f %%   over %d classes\n",
            100 * result.first, 100 * result.first_five, result.classes);
        printf(
            "protocol knn: %lld neighbours, temperature %g; the middle %d x %d of pictures with a short side "
            "of 8/7 of that, bicubic; %zu pictures remembered, %zu scored; cribo %s\n",
            (long long)neighbours, temperature, work->frozen.size, work->frozen.size, result.remembered,
            result.scored, cribo_version());
    }
    if (!parsing->json) return true;
    return dump(
        json_pack("{s:s, s:f, s:f, s:i, s:I, s:f, s:i, s:I, s:I, s:s}", "protocol", "knn", "accuracy",
            result.first, "accuracy_of_five", result.first_five, "classes", result.classes, "neighbours",
            (json_int_t)neighbours, "temperature", temperature, "size", work->frozen.size, "remembered",
            (json_int_t)result.remembered, "scored", (json_int_t)result.scored, "library", cribo_version()),
        parsing->json, problem);
}

static bool run(struct parsing *parsing, struct work *work, struct problem *problem)
{
    const char *name = parsing->protocol ? parsing->protocol : "simple";
    bool knn = !strcmp(name, "knn");
    if (!knn && !run_plan_make(&work->plan, &parsing->request, &parsing->data, problem)) return false;
    if (!frozen_open(&work->frozen, &parsing->model, problem)) return false;
    if (knn) return classify(parsing, work, problem);
    if (!strcmp(name, "linear")) return train_head(parsing, work, problem);
    return strcmp(name, "clusters") ? retrieve(parsing, work, problem) : cluster(parsing, work, problem);
}

static bool work_through(struct parsing *parsing, struct problem *problem)
{
    struct work *work = calloc(1, sizeof *work);
    bool done = work ? run(parsing, work, problem) : problem_no_memory(problem);
    for (size_t r = 0; work && r < MAX_RUNS; r++) evaluation_free(&work->results[r]);
    if (work) evaluation_free(&work->floor);
    if (work) frozen_free(&work->frozen);
    if (work) run_plan_free(&work->plan);
    free(work);
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
            "Segments the pictures of TEST by dense nearest-neighbour retrieval from those of TRAIN and "
            "prints the mean intersection over union. MODEL is the folder of a run, a checkpoint or a "
            "safetensors file.\v"
            "A data set is a folder with images and labels whose names match, as `cribo scenes` writes them, "
            "or has the layout of Pascal VOC, ADE20k, Cityscapes, COCO-Stuff or Pascal Context. Labels are "
            "PNG files with a palette or grey values; 255 is ignored. If only one folder is given, its "
            "training half fills the memory and its validation half is scored; of images and labels, every "
            "second one. Pictures are resized to a square.\n\n"
            "Example: cribo evaluate run VOCdevkit/VOC2012 --protocol hummingbird --size 448\n\n"};
    struct parsing parsing = {0};
    struct problem problem;
    say_name("cribo evaluate");
    if (argp_parse(&argp, count, arguments, 0, NULL, &parsing)) return 1;
    if (work_through(&parsing, &problem)) return 0;
    say_error("%s", problem.text);
    return 1;
}
