/* Signs of collapse. See collapse.h. */
#include "training/collapse.h"

#include <stdbool.h>

/* Healthy runs stay far from these: entropies between a few nats and 0.9 ln P, deviations above 0.2. */
#define UNIFORM_SHARE 0.995       /* of ln P, in the teacher's mean entropy */
#define ONE_PROTOTYPE_SHARE 0.005 /* of ln P, in the entropy of the teacher's mean */
#define EQUAL_FEATURES 0.01       /* of the deviation that isotropic features have */

void cb_collapse_look(cb_collapse_watch *watch, const cb_runtime *runtime, const cribo_report *report)
{
    static const char *const what[CB_SIGNS] = {
        "the teacher's distributions are uniform",
        "the teacher gives all images the same prototype",
        "the [CLS] features of all images are equal",
    };
    const bool several = report->images > 1;
    const bool seen[CB_SIGNS] = {
        report->teacher_entropy > UNIFORM_SHARE * report->uniform_loss,
        several && report->mean_teacher_entropy < ONE_PROTOTYPE_SHARE * report->uniform_loss,
        several && report->feature_deviation < EQUAL_FEATURES,
    };
    for (int sign = 0; sign < CB_SIGNS; sign++) {
        watch->steps[sign] = seen[sign] ? watch->steps[sign] + 1 : 0;
        if (watch->steps[sign] == CB_COLLAPSE_PATIENCE)
            cb_log(runtime, CRIBO_LOG_WARNING,
                "collapse at step %lld: %s (teacher entropy %.4g of ln P = %.4g, of its mean %.4g, feature "
                "deviation %.4g)",
                (long long)report->step, what[sign], report->teacher_entropy, report->uniform_loss,
                report->mean_teacher_entropy, report->feature_deviation);
    }
}
