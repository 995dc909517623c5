/* See protocol.h. */
#include "models/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct protocol protocols[] = {
    {.name = "simple"},
    {.name = "hummingbird",
        .bytes = true,
        .floor_labels = true,
        .passes = 1,
        .rare = true,
        .void_is_zero = true,
        .matched = true,
        .published = true,
        .blue_deviation = 0.255},
};

bool protocol_named(struct protocol *protocol, const char *name, struct problem *problem)
{
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++)
        if (!strcmp(protocols[i].name, name)) {
            *protocol = protocols[i];
            return true;
        }
    return problem_set(problem, "--protocol=%s: it is simple, hummingbird, linear, clusters or knn", name);
}

/* One of two words. */
struct choice {
    const char *rule, *off, *on;
};

static bool *switch_of(struct protocol *p, const char *rule, struct choice *choice)
{
    const struct choice choices[] = {{"resize", "bicubic", "bilinear"}, {"label-pixel", "middle", "floor"},
        {"memory", "uniform", "rare"}, {"void", "ignore", "zero"}, {"mean", "occurring", "matched"}};
    bool *switches[] = {&p->bytes, &p->floor_labels, &p->rare, &p->void_is_zero, &p->matched};
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
        if (!strcmp(choices[i].rule, rule)) {
            *choice = choices[i];
            return switches[i];
        }
    return NULL;
}

static bool set_number(struct protocol *p, const char *rule, const char *value, struct problem *problem)
{
    char *end;
    double number = strtod(value, &end);
    bool is_number = end != value && !*end;
    if (!strcmp(rule, "passes")) {
        if (!is_number || number < 0 || number > 1000 || number != (int)number)
            return problem_set(problem, "--passes=%s: it must be a number from 0 to 1000", value);
        p->passes = (int)number;
        return true;
    }
    if (!is_number || !(number > 0) || number > 10)
        return problem_set(
            problem, "--blue-deviation=%s: it must be a number above 0, 0.225 or 0.255", value);
    p->blue_deviation = number;
    return true;
}

bool protocol_set(struct protocol *protocol, const char *rule, const char *value, struct problem *problem)
{
    struct choice choice;
    bool *chosen = switch_of(protocol, rule, &choice);
    if (!chosen) return set_number(protocol, rule, value, problem);
    if (strcmp(value, choice.on) && strcmp(value, choice.off))
        return problem_set(problem, "--%s=%s: it is %s or %s", rule, value, choice.off, choice.on);
    *chosen = !strcmp(value, choice.on);
    return true;
}

void protocol_describe(const struct protocol *p, char *text, size_t size)
{
    char passes[64];
    snprintf(passes, sizeof passes, "%d pass%s of crops and jitter", p->passes, p->passes > 1 ? "es" : "");
    snprintf(text, size, "protocol %s: pictures %s, labels by %s, %s, memory %s, void %s, mean over %s",
        p->name, p->bytes ? "bilinear" : "bicubic", p->floor_labels ? "floor" : "the middle",
        p->passes ? passes : "each picture once", p->rare ? "by rare classes" : "uniform",
        p->void_is_zero ? "class 0 in the memory" : "ignored",
        p->matched ? "all classes after matching" : "the classes that occur");
}
