/* Neighbours and the cycle test. See match.h. */
#include "objective/match.h"

#include "base/clock.h"

static void match_group(cb_objective *o, cb_group *group)
{
    cb_targets *t = &o->targets;
    size_t first = group->first_object;
    cb_objects objects = cb_targets_of_group(t, group, o->sizes.width);
    cb_match match = {.index = {t->index[0] + first, t->index[1] + first},
        .match = {t->match[0] + first, t->match[1] + first}};
    cb_memory_bank_query(o->bank, &objects, &match);
    for (int v = 0; v < 2; v++) {
        group->matches[v] = 0;
        for (size_t r = 0; r < group->objects; r++) group->matches[v] += t->match[v][first + r];
    }
}

void cb_objective_match(cb_objective *o)
{
    cb_targets *t = &o->targets;
    double start = cb_clock_ms();
    for (size_t g = 0; g < t->groups; g++) match_group(o, &t->group[g]);
    t->cross_image = o->now.cross_image && cb_wants_neighbours(&o->config) &&
                     cb_memory_bank_count(o->bank) >= (size_t)o->config.cross_image_objects;
    o->tally.match_ms += cb_clock_ms() - start;
}

size_t cb_objective_matches(const cb_objective *o, int view)
{
    size_t matches = 0;
    for (size_t g = 0; g < o->targets.groups; g++) matches += o->targets.group[g].matches[view];
    return matches;
}
