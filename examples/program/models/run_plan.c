/* See run_plan.h. */
#include "models/run_plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number or a quotient of two; what follows it is at *end. */
static double fraction_of(const char *text, char **end)
{
    double value = strtod(text, end);
    if (*end == text || **end != '/') return *end == text ? NAN : value;
    const char *below = *end + 1;
    double divisor = strtod(below, end);
    return *end == below ? NAN : value / divisor;
}

bool run_request_fractions(struct run_request *request, const char *text, struct problem *problem)
{
    char *end;
    request->fraction_count = 0;
    for (const char *next = text;; next = end + 1) {
        double value = fraction_of(next, &end);
        if (!(value > 0 && value <= 1) || (*end && *end != ',') || request->fraction_count == MAX_NUMBERS)
            return problem_set(
                problem, "--fractions=%s: numbers above 0 and at most 1 with commas, as 1,1/8", text);
        request->fractions[request->fraction_count++] = value;
        if (!*end) return true;
    }
}

bool run_request_seeds(struct run_request *request, const char *text, struct problem *problem)
{
    char *end;
    request->seed_count = 0;
    for (const char *next = text;; next = end + 1) {
        double value = strtod(next, &end);
        if (end == next || !(value >= 0 && value < 9007199254740992.0) || value != floor(value) ||
            (*end && *end != ',') || request->seed_count == MAX_NUMBERS)
            return problem_set(problem, "--seed=%s: whole numbers from 0 on with commas, as 0,1,2", text);
        request->seeds[request->seed_count++] = (int64_t)value;
        if (!*end) return true;
    }
}

/* --- data --- */

static size_t lists_in(const char *lists)
{
    size_t count = 1;
    for (; lists && *lists; lists++) count += *lists == ',';
    return count;
}

/* Opens the pictures of list number `which`, and those to score with the first. */
static bool open_list(struct run_plan *plan, size_t which, const char *list,
    const struct dataset_choice *data, struct problem *problem)
{
    struct dataset_choice choice = *data;
    struct dataset test;
    choice.train_list = list;
    bool opened = dataset_open_both(&plan->trains[which], &test, &choice, problem);
    if (which == 0)
        plan->test = test;
    else
        dataset_free(&test);
    return opened;
}

static bool open_data(struct run_plan *plan, const struct run_request *request,
    const struct dataset_choice *data, struct problem *problem)
{
    plan->list_count = lists_in(request->lists);
    plan->trains = calloc(plan->list_count, sizeof *plan->trains);
    char *lists = request->lists ? strdup(request->lists) : NULL, *rest = lists;
    bool opened = (plan->trains && (lists || !request->lists)) || problem_no_memory(problem);
    for (size_t i = 0; opened && i < plan->list_count; i++)
        opened = open_list(plan, i, lists ? strsep(&rest, ",") : NULL, data, problem);
    free(lists);
    return opened;
}

/* --- runs --- */

/* The first `count` of all pictures in a random order by the seed. */
static size_t *draw_pictures(size_t all, size_t count, int64_t seed, struct problem *problem)
{
    size_t *order = malloc(all * sizeof *order);
    double *draws = malloc(count * sizeof *draws);
    bool drawn =
        order && draws && cribo_random_uniform((uint64_t)seed, UINT64_MAX, 0, count, draws) == CRIBO_OK;
    for (size_t i = 0; drawn && i < all; i++) order[i] = i;
    for (size_t i = 0; drawn && i < count; i++) {
        size_t other = i + (size_t)(draws[i] * (double)(all - i)), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    free(draws);
    if (drawn) return order;
    free(order);
    problem_no_memory(problem);
    return NULL;
}

static bool add_run(struct run_plan *plan, const struct dataset *train, double fraction, int64_t seed,
    const char *list, struct problem *problem)
{
    if (plan->count == MAX_RUNS) return problem_set(problem, "more than %d runs", MAX_RUNS);
    struct evaluation_run *run = &plan->runs[plan->count];
    size_t count = (size_t)(fraction * (double)train->count);
    *run = (struct evaluation_run){
        .name = plan->names[plan->count], .train = train, .count = count ? count : 1, .seed = seed};
    if (run->count < train->count) {
        run->pictures = draw_pictures(train->count, run->count, seed, problem);
        if (!run->pictures) return false;
    }
    if (list)
        snprintf(plan->names[plan->count], sizeof plan->names[0], "%.40s, seed %lld", list, (long long)seed);
    else
        snprintf(plan->names[plan->count], sizeof plan->names[0], "%.4g of the pictures, seed %lld", fraction,
            (long long)seed);
    plan->count++;
    return true;
}

bool run_plan_make(struct run_plan *plan, const struct run_request *request,
    const struct dataset_choice *data, struct problem *problem)
{
    int fractions = request->fraction_count ? request->fraction_count : 1;
    int seeds = request->seed_count ? request->seed_count : 1;
    const char *list = request->lists;
    *plan = (struct run_plan){0};
    if (!open_data(plan, request, data, problem)) return false;
    for (size_t l = 0; l < plan->list_count;
        l++, list = list ? strchr(list, ',') : NULL, list += list != NULL) {
        char name[64] = "";
        if (list) {
            size_t length = strcspn(list, ",");
            const char *base = list + length;
            while (base > list && base[-1] != '/') base--;
            snprintf(name, sizeof name, "%.*s", (int)(list + length - base), base);
        }
        for (int f = 0; f < fractions; f++)
            for (int s = 0; s < seeds; s++)
                if (!add_run(plan, &plan->trains[l], request->fraction_count ? request->fractions[f] : 1,
                        request->seed_count ? request->seeds[s] : 0, list ? name : NULL, problem))
                    return false;
    }
    return true;
}

void run_plan_free(struct run_plan *plan)
{
    for (size_t r = 0; r < plan->count; r++) free((size_t *)plan->runs[r].pictures);
    for (size_t i = 0; plan->trains && i < plan->list_count; i++) dataset_free(&plan->trains[i]);
    free(plan->trains);
    dataset_free(&plan->test);
    *plan = (struct run_plan){0};
}

/* --- several results --- */

static struct run_summary *summary_of(struct run_summary *summaries, size_t *count, size_t pictures)
{
    size_t place = 0;
    while (place < *count && summaries[place].pictures < pictures) place++;
    if (place < *count && summaries[place].pictures == pictures) return &summaries[place];
    memmove(summaries + place + 1, summaries + place, (*count - place) * sizeof *summaries);
    summaries[place] = (struct run_summary){.pictures = pictures};
    ++*count;
    return &summaries[place];
}

size_t run_plan_summarise(
    const struct run_plan *plan, const struct evaluation *results, struct run_summary *summaries)
{
    size_t count = 0;
    for (size_t r = 0; r < plan->count; r++) {
        struct run_summary *s = summary_of(summaries, &count, plan->runs[r].count);
        s->mean += results[r].nearest.mean_iou;
        s->runs++;
    }
    for (size_t i = 0; i < count; i++) {
        summaries[i].mean /= (double)summaries[i].runs;
        summaries[i].fraction = (double)summaries[i].pictures / (double)summaries[count - 1].pictures;
    }
    for (size_t r = 0; r < plan->count; r++) {
        struct run_summary *s = summary_of(summaries, &count, plan->runs[r].count);
        double away = results[r].nearest.mean_iou - s->mean;
        s->deviation += away * away;
    }
    for (size_t i = 0; i < count; i++)
        summaries[i].deviation =
            summaries[i].runs > 1 ? sqrt(summaries[i].deviation / (double)(summaries[i].runs - 1)) : 0;
    return count;
}
