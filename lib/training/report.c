/* A step's report, and the signs of collapse. See report.h. */
#include "training/report.h"

#include "objective/match.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

/*
 * Standard deviation over the batch of the L2-normalised [CLS] features, averaged over their numbers, times
 * √D.
 */
static double feature_deviation(const cb_objective *o, const cb_report_scratch *scratch)
{
    const cb_targets *t = &o->targets;
    size_t d = o->sizes.width, rows = 2 * t->images;
    double deviation = 0, *sum = scratch->sums, *squares = sum + d;
    memset(sum, 0, 2 * d * sizeof *sum);
    for (size_t r = 0; r < rows; r++) {
        cb_normalise_row(scratch->unit, t->cls + r * d, d);
        for (size_t j = 0; j < d; j++) {
            double x = scratch->unit[j];
            sum[j] += x;
            squares[j] += x * x;
        }
    }
    for (size_t j = 0; j < d; j++) {
        double mean = sum[j] / (double)rows;
        deviation += sqrt(fmax(0, squares[j] / (double)rows - mean * mean));
    }
    return deviation / sqrt((double)d);
}

/* Entropy in nats of the mean of the summed distributions. */
static double mean_entropy(const cb_prototype_signs *signs, size_t prototypes)
{
    double entropy = 0;
    for (size_t p = 0; p < prototypes && signs->rows > 0; p++) {
        double share = signs->mean[p] / (double)signs->rows;
        if (share > 0) entropy -= share * log(share);
    }
    return entropy;
}

static double used_share(const cb_prototype_signs *signs, size_t prototypes)
{
    size_t used = 0, possible = signs->rows < prototypes ? signs->rows : prototypes;
    for (size_t p = 0; p < prototypes; p++) used += signs->used[p];
    return possible ? (double)used / (double)possible : 0;
}

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

void cb_report_fill(
    const cb_objective *o, double gradient_norm, const cb_report_scratch *scratch, cribo_report *report)
{
    const cb_targets *t = &o->targets;
    const cribo_step_values *now = &o->now;
    const cb_tally *tally = &o->tally;
    size_t prototypes = o->student.cls.count;
    double matches = (double)(cb_objective_matches(o, 0) + cb_objective_matches(o, 1));
    *report = (cribo_report){
        .struct_size = sizeof *report,
        .step = o->step,
        .epoch = now->epoch,
        .images = (int64_t)t->images,
        .loss = cb_tally_loss(tally),
        .global_loss = tally->global,
        .cross_view_loss = tally->cross_view,
        .cross_image_loss = tally->cross_image,
        .gradient_norm = gradient_norm,
        .learning_rate = now->learning_rate,
        .weight_decay = now->weight_decay,
        .ema_momentum = now->ema_momentum,
        .teacher_temperature = now->teacher_temperature,
        .object_teacher_temperature = now->object_teacher_temperature,
        .position_weight = now->position_weight,
        .objects_per_image = share((double)t->objects, (double)t->images),
        .matched_share = share(matches, 2 * (double)t->objects),
        .cross_image_on = t->cross_image,
        .bank_fill = share((double)cb_memory_bank_images(o->bank), (double)cb_memory_bank_capacity(o->bank)),
        .uniform_loss = log((double)prototypes),
        .teacher_entropy = share(tally->cls_signs.entropy, (double)tally->cls_signs.rows),
        .mean_teacher_entropy = mean_entropy(&tally->cls_signs, prototypes),
        .prototypes_used = used_share(&tally->object_signs, o->student.objects.count),
        .feature_deviation = feature_deviation(o, scratch),
        .cluster_ms = tally->cluster_ms,
        .match_ms = tally->match_ms,
        .koleo_loss = tally->koleo,
        .gram_loss = tally->gram,
        .masked_loss = tally->masked,
        .masked_share =
            share((double)cb_targets_masked_before(t, t->images), 2 * (double)(t->images * o->sizes.tokens)),
        .local_loss = tally->local,
    };
}

/* --- signs of collapse --- */

/* Healthy runs stay far from these: entropies between a few nats and 0.9 ln P, deviations above 0.2. */
#define UNIFORM_SHARE 0.995       /* of ln P, in the teacher's mean entropy */
#define ONE_PROTOTYPE_SHARE 0.005 /* of ln P, in the entropy of the teacher's mean */
#define EQUAL_FEATURES 0.01       /* of the deviation that isotropic features have */

/* The [CLS] loss of uniform distributions, scaled as the report's. */
static double uniform_loss(const cribo_objective_config *config, const cribo_report *report)
{
    return (config->authors_normalisation ? 1 : 2) * config->global_weight * report->uniform_loss;
}

int64_t cb_collapse_patience(int64_t total_steps)
{
    int64_t share = total_steps / 50;
    return share > CB_COLLAPSE_PATIENCE ? share : CB_COLLAPSE_PATIENCE;
}

void cb_collapse_look(cb_collapse_watch *watch, const cb_runtime *runtime,
    const cribo_objective_config *config, int64_t total_steps, const cribo_report *report)
{
    static const char *const what[CB_SIGNS] = {
        "the [CLS] loss or the teacher's entropy is that of uniform distributions, or above",
        "the teacher gives all images the same prototype",
        "the [CLS] features of all images are equal",
    };
    const bool several = report->images > 1;
    const bool seen[CB_SIGNS] = {
        report->teacher_entropy > UNIFORM_SHARE * report->uniform_loss ||
            (config->global_weight > 0 && report->global_loss > uniform_loss(config, report)),
        several && report->mean_teacher_entropy < ONE_PROTOTYPE_SHARE * report->uniform_loss,
        several && report->feature_deviation < EQUAL_FEATURES,
    };
    for (int sign = 0; sign < CB_SIGNS; sign++) {
        watch->steps[sign] = seen[sign] ? watch->steps[sign] + 1 : 0;
        if (watch->steps[sign] == cb_collapse_patience(total_steps))
            cb_log(runtime, CRIBO_LOG_WARNING,
                "collapse at step %lld: %s ([CLS] loss %.4g, uniform %.4g; teacher entropy %.4g of ln P = "
                "%.4g, of its mean %.4g, feature deviation %.4g)",
                (long long)report->step + 1, what[sign], report->global_loss, uniform_loss(config, report),
                report->teacher_entropy, report->uniform_loss, report->mean_teacher_entropy,
                report->feature_deviation);
    }
}
