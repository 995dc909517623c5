/* What trainers and objectives share. See learner.h. */
#include "api/learner.h"

#include "api/checks.h"
#include "base/structs.h"

#include <string.h>

cribo_status cb_check_idle(const cb_learner *learner, const char *what)
{
    if (learner->phase == CB_PHASE_IDLE) return CRIBO_OK;
    return cb_fail(CRIBO_WRONG_STATE, "a step is under way: %s after its update", what);
}

cribo_status cb_check_phase(const cb_learner *learner, cb_phase least, const char *call, const char *missing)
{
    if (learner->phase >= least) return CRIBO_OK;
    return cb_fail(CRIBO_WRONG_STATE, "%s needs what %s finds: call that first", call, missing);
}

cribo_status cb_check_report(const cribo_report *report)
{
    return report ? cb_check_size(
                        "report", report->struct_size, CB_SIZE_THROUGH(*report, update_ms), sizeof *report)
                  : CRIBO_OK;
}

void cb_export_report(const cribo_report *done, cribo_report *report)
{
    if (report) cb_struct_export(report, done, sizeof *done);
}

void cb_export_losses(
    const cb_learner *learner, double *loss, double *global, double *cross_view, double *cross_image)
{
    const cb_tally *tally = &learner->objective->tally;
    if (loss) *loss = cb_tally_loss(tally);
    if (global) *global = tally->global;
    if (cross_view) *cross_view = tally->cross_view;
    if (cross_image) *cross_image = tally->cross_image;
}

cribo_sizes cb_learner_sizes(const cb_learner *learner)
{
    const cb_objective *o = learner->objective;
    const cb_share *own = &o->targets.own;
    bool taught = o->targets.images > 0;
    cribo_sizes sizes = {.images = o->config.batch_size,
        .tokens = (int64_t)o->sizes.tokens,
        .width = (int64_t)o->sizes.width,
        .clusters = (int64_t)o->sizes.clusters,
        .prototypes = (int64_t)o->teacher.cls.count,
        .object_prototypes = (int64_t)o->teacher.objects.count,
        .bank_capacity = o->config.bank_images,
        .bank_images = (int64_t)cb_memory_bank_images(o->bank),
        .bank_objects = (int64_t)cb_memory_bank_count(o->bank),
        .target_images = taught ? (int64_t)own->images : 0,
        .target_objects = taught ? (int64_t)own->objects : 0};
    cb_size_parameters(&sizes, learner->student);
    return sizes;
}

static void copy_match(const cb_targets *t, int v, int64_t *index, uint8_t *match)
{
    const cb_share *own = &t->own;
    if (index) memcpy(index, t->index[v] + own->first_object, own->objects * sizeof *index);
    if (match) memcpy(match, t->match[v] + own->first_object, own->objects * sizeof *match);
}

cribo_status cb_export_targets(const cb_learner *learner, const char *teach, const cribo_targets *targets)
{
    cribo_targets wanted = {0};
    CB_TRY(CB_IMPORT(wanted, targets, match2));
    const cb_objective *objective = learner->objective;
    const cb_targets *t = &objective->targets;
    if (t->images == 0) return cb_fail(CRIBO_WRONG_STATE, "there are no targets: %s finds them", teach);
    const cb_share *own = &t->own;
    size_t view = 2 * objective->sizes.tokens, k = objective->sizes.clusters;
    if (wanted.image_capacity)
        CB_TRY(cb_check_capacity("targets.image_capacity", wanted.image_capacity, own->images));
    if (wanted.object_capacity)
        CB_TRY(cb_check_capacity("targets.object_capacity", wanted.object_capacity, own->objects));
    if (wanted.mask && t->mask) memcpy(wanted.mask, t->mask + own->first * view, own->images * view);
    if (wanted.mask && !t->mask) memset(wanted.mask, 0, own->images * view);
    for (size_t i = 0; wanted.labels && i < own->images * view; i++)
        wanted.labels[i] = t->labels[own->first * view + i];
    if (wanted.valid) memcpy(wanted.valid, t->valid + own->first * k, own->images * k);
    if (wanted.objects_per_image)
        memcpy(wanted.objects_per_image, t->per_image + own->first, own->images * sizeof *t->per_image);
    copy_match(t, 0, wanted.index1, wanted.match1);
    copy_match(t, 1, wanted.index2, wanted.match2);
    return CRIBO_OK;
}

cribo_status cb_check_whole(const cb_learner *learner, const char *what)
{
    if (!learner->ranks) return CRIBO_OK;
    return cb_fail(
        CRIBO_WRONG_STATE, "the %s are divided over %zu ranks", what, cb_ranks_size(learner->ranks));
}

void cb_export_moments(
    const cb_learner *learner, const cb_parameter *parameter, float *first, float *second, int64_t *updates)
{
    const cb_optimiser *optimiser = &learner->optimiser;
    if (first) memcpy(first, optimiser->first + parameter->offset, parameter->count * sizeof *first);
    if (second) memcpy(second, optimiser->second + parameter->offset, parameter->count * sizeof *second);
    if (updates) *updates = optimiser->updates[parameter - optimiser->student->list];
}

cribo_status cb_import_gradient(
    cb_learner *learner, const cb_parameter *parameter, const float *values, cb_gradient_change change)
{
    size_t count = parameter->count;
    cb_real *gradient = learner->student->gradients + parameter->offset;
    CB_REQUIRE(!parameter->group.frozen,
        "name = \"%s\" belongs to the frozen blocks, which have no gradients", parameter->name);
    CB_TRY(cb_check_finite(learner->runtime->pool, "values", values, count));
    for (size_t i = 0; i < count; i++)
        gradient[i] = change == CB_GRADIENT_ADD ? gradient[i] + values[i] : values[i];
    return CRIBO_OK;
}

void cb_export_centres(const cb_learner *learner, float *centre, float *object_centre)
{
    const cb_objective *o = learner->objective;
    if (centre) memcpy(centre, o->centre, o->teacher.cls.count * sizeof *centre);
    if (object_centre)
        memcpy(object_centre, o->object_centre, o->teacher.objects.count * sizeof *object_centre);
}

cribo_status cb_read_centres(
    const cb_learner *learner, float *centre, int64_t count, float *object_centre, int64_t object_count)
{
    const cb_objective *o = learner->objective;
    if (centre) CB_TRY(cb_check_count("count", count, o->teacher.cls.count));
    if (object_centre) CB_TRY(cb_check_count("object_count", object_count, o->teacher.objects.count));
    cb_export_centres(learner, centre, object_centre);
    return CRIBO_OK;
}

cribo_status cb_import_centres(cb_learner *learner, const float *centre, const float *object_centre)
{
    cb_objective *o = learner->objective;
    size_t prototypes = o->teacher.cls.count, object_prototypes = o->teacher.objects.count;
    CB_TRY(cb_check_finite(o->runtime->pool, "centre", centre, prototypes));
    CB_TRY(cb_check_finite(o->runtime->pool, "object_centre", object_centre, object_prototypes));
    if (centre) memcpy(o->centre, centre, prototypes * sizeof *centre);
    if (object_centre) memcpy(o->object_centre, object_centre, object_prototypes * sizeof *object_centre);
    return CRIBO_OK;
}
