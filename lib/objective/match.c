/* Neighbours and the cycle test. See match.h. */
#include "objective/match.h"

#include "base/clock.h"
#include "objective/exchange.h"

static void search_group(cb_objective *o, const cb_group *group)
{
    cb_objects objects = cb_targets_of_group(&o->targets, group, o->sizes.width);
    cb_neighbour *first = o->nearest + group->first_object;
    cb_memory_bank_search(o->bank, &objects, (cb_neighbour *const[2]){first, first + o->targets.objects});
}

static void test_group(cb_objective *o, const cb_group *group)
{
    cb_targets *t = &o->targets;
    size_t first = group->first_object;
    cb_objects objects = cb_targets_of_group(t, group, o->sizes.width);
    cb_memory_bank_test(o->bank, &objects, (int64_t *const[2]){t->index[0] + first, t->index[1] + first},
        (uint8_t *const[2]){t->match[0] + first, t->match[1] + first});
}

/* The nearest entries of all ranks. */
static cribo_status find_nearest(cb_objective *o)
{
    cb_targets *t = &o->targets;
    for (size_t g = 0; g < t->groups; g++) search_group(o, &t->group[g]);
    CB_TRY(cb_objective_exchange_nearest(o));
    for (size_t v = 0; v < 2; v++)
        for (size_t r = 0; r < t->objects; r++) t->index[v][r] = o->nearest[v * t->objects + r].index;
    return CRIBO_OK;
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
    CB_TRY(find_nearest(o));
    for (size_t g = 0; g < t->groups; g++) test_group(o, &t->group[g]);
    CB_TRY(cb_objective_exchange_matches(o));
    for (size_t g = 0; g < t->groups; g++) count_matches(t, &t->group[g]);
    t->cross_image = o->now.cross_image && cb_uses_neighbours(&o->config) &&
                     cb_memory_bank_count(o->bank) >= (size_t)o->config.cross_image_objects;
    if (t->cross_image) CB_TRY(cb_objective_exchange_neighbours(o));
    o->tally.match_ms += cb_clock_ms() - start;
    return CRIBO_OK;
}

size_t cb_objective_matches(const cb_objective *o, int view)
{
    size_t matches = 0;
    for (size_t g = 0; g < o->targets.groups; g++) matches += o->targets.group[g].matches[view];
    return matches;
}
