/* Neighbours and the cycle test. See match.h. */
#include "objective/match.h"

#include "base/clock.h"
#include "objective/exchange.h"

/* Of a group's objects, those of this rank. */
static cb_range own_rows(const cb_group *group, const cb_share *own)
{
    size_t first = group->first_object, end = first + group->objects;
    size_t own_end = own->first_object + own->objects;
    if (own_end <= first || own->first_object >= end) return (cb_range){0, 0};
    return (cb_range){
        own->first_object > first ? own->first_object - first : 0, cb_min(own_end, end) - first};
}

static void match_group(cb_objective *o, const cb_group *group)
{
    cb_targets *t = &o->targets;
    size_t first = group->first_object;
    cb_objects objects = cb_targets_of_group(t, group, o->sizes.width);
    cb_match match = {.index = {t->index[0] + first, t->index[1] + first},
        .match = {t->match[0] + first, t->match[1] + first}};
    cb_range rows = own_rows(group, &t->own);
    if (rows.begin < rows.end) cb_memory_bank_query_some(o->bank, &objects, rows, &match);
}

static void count_matches(const cb_targets *t, cb_group *group)
{
    for (int v = 0; v < 2; v++) {
        group->matches[v] = 0;
        for (size_t r = 0; r < group->objects; r++) group->matches[v] += t->match[v][group->first_object + r];
    }
}

cribo_status cb_objective_match(cb_objective *o)
{
    cb_targets *t = &o->targets;
    double start = cb_clock_ms();
    for (size_t g = 0; g < t->groups; g++) match_group(o, &t->group[g]);
    CB_TRY(cb_objective_exchange_matches(o));
    for (size_t g = 0; g < t->groups; g++) count_matches(t, &t->group[g]);
    t->cross_image = o->now.cross_image && cb_uses_neighbours(&o->config) &&
                     cb_memory_bank_count(o->bank) >= (size_t)o->config.cross_image_objects;
    o->tally.match_ms += cb_clock_ms() - start;
    return CRIBO_OK;
}

size_t cb_objective_matches(const cb_objective *o, int view)
{
    size_t matches = 0;
    for (size_t g = 0; g < o->targets.groups; g++) matches += o->targets.group[g].matches[view];
    return matches;
}
