/* cribo/loss.h: arguments checked, then distillation/loss.h. */
#include "distillation/loss.h"

#include "api/checks.h"
#include "api/create.h"
#include "api/settings.h"
#include "base/structs.h"
#include "tensor/finite.h"

#include <math.h>
#include <string.h>

struct cribo_loss {
    cb_guard own_guard, *guard;
    cb_runtime runtime;
    cb_loss *loss;
};

CB_CONFIG_FUNCTIONS(loss, &cb_loss_settings)
CB_SETTING_GETTERS(loss, &cb_loss_settings, cb_loss_config(loss->loss))

cribo_status cribo_loss_sizes(const cribo_loss *loss, cribo_sizes *sizes)
{
    CB_ENTER(loss);
    const cribo_sizes full = {.prototypes = (int64_t)cb_loss_prototypes(loss->loss, 0),
        .object_prototypes = (int64_t)cb_loss_prototypes(loss->loss, 1)};
    return cb_export_sizes(&full, sizes);
}

cribo_status cribo_loss_set_setting(cribo_loss *loss, const char *name, double value)
{
    static const cb_setting_group groups[] = {
        {"prototypes, object_prototypes", "the centres are made for it at creation"}, {NULL, NULL}};
    CB_ENTER(loss);
    return cb_config_change(&cb_loss_settings, groups, cb_loss_config(loss->loss), name, value);
}

cribo_status cribo_loss_create(
    cribo_loss **out, const cribo_loss_config *config, const cribo_runtime *runtime)
{
    cribo_loss_config full;
    cribo_loss *loss;
    cb_runtime own;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_TRY(cb_config_import(&cb_loss_settings, &full, config));
    CB_TRY(cb_handle_begin(&own, runtime, &loss, sizeof *loss, "loss"));
    loss->guard = &loss->own_guard;
    loss->runtime = own;
    cribo_status status = cb_loss_create(&loss->runtime, &loss->loss, &full);
    if (status == CRIBO_OK)
        *out = loss;
    else
        cribo_loss_free(loss);
    return status;
}

void cribo_loss_free(cribo_loss *loss)
{
    if (!CB_MAY_FREE(loss)) return;
    cb_runtime runtime = loss->runtime;
    cb_loss_free(&runtime, loss->loss);
    cb_release(&runtime.allocator, loss);
    cb_runtime_end(&runtime);
}

static cribo_status check_logits(const float *logits, const char *name, size_t rows, size_t prototypes)
{
    if (rows == 0) return CRIBO_OK;
    CB_REQUIRE(logits, "input.%s is NULL", name);
    size_t count, strange;
    CB_REQUIRE(cb_multiply(rows, prototypes, &count) && count <= SIZE_MAX / sizeof *logits,
        "input.%s: %zu rows of %zu logits are more than an address can hold", name, rows, prototypes);
    strange = cb_first_not_finite(logits, count);
    CB_REQUIRE(strange == count, "input.%s: element %zu of row %zu = %g is not finite", name,
        strange % prototypes, strange / prototypes, (double)logits[strange]);
    return CRIBO_OK;
}

static cribo_status check_temperature(double temperature, const char *name)
{
    CB_REQUIRE(temperature >= 1e-4 && temperature <= 1e4, "input.%s = %g must be in 1e-4 ... 1e4", name,
        temperature);
    return CRIBO_OK;
}

/* The caller's input in our form; its sizes are checked, its arrays are not. */
static cribo_status import(cribo_loss_input *full, const cribo_loss_input *input)
{
    const long long most = (long long)1 << 31;
    *full = (cribo_loss_input){0};
    CB_TRY(CB_IMPORT(*full, input, object_teacher_temperature));
    CB_REQUIRE(full->images >= 1 && full->images <= most, "input.images = %lld must be in 1 ... 2^31",
        (long long)full->images);
    CB_REQUIRE(full->objects >= 0 && full->objects <= most, "input.objects = %lld must be in 0 ... 2^31",
        (long long)full->objects);
    return CRIBO_OK;
}

static cribo_status check_teacher(const cribo_loss *loss, const cribo_loss_input *input)
{
    CB_TRY(check_logits(
        input->teacher_cls, "teacher_cls", 2 * (size_t)input->images, cb_loss_prototypes(loss->loss, 0)));
    return check_logits(input->teacher_objects, "teacher_objects", 2 * (size_t)input->objects,
        cb_loss_prototypes(loss->loss, 1));
}

static cribo_status check_student(const cribo_loss *loss, const cribo_loss_input *input)
{
    CB_TRY(check_logits(
        input->student_cls, "student_cls", 2 * (size_t)input->images, cb_loss_prototypes(loss->loss, 0)));
    return check_logits(input->student_objects, "student_objects", 2 * (size_t)input->objects,
        cb_loss_prototypes(loss->loss, 1));
}

/* Only the rows that will be read. */
static cribo_status check_neighbours(
    const float *neighbours, const uint8_t *match, int view, size_t objects, size_t prototypes)
{
    CB_REQUIRE(match, "input.match%d is NULL, but there are neighbours", view);
    for (size_t k = 0; k < objects; k++) {
        if (!match[k]) continue;
        const float *row = neighbours + k * prototypes;
        size_t strange = cb_first_not_finite(row, prototypes);
        CB_REQUIRE(strange == prototypes, "input.neighbours%d: element %zu of row %zu = %g is not finite",
            view, strange, k, (double)row[strange]);
    }
    return CRIBO_OK;
}

static cribo_status check_input(const cribo_loss *loss, const cribo_loss_input *input)
{
    CB_TRY(check_temperature(input->teacher_temperature, "teacher_temperature"));
    CB_TRY(check_temperature(input->object_teacher_temperature, "object_teacher_temperature"));
    CB_TRY(check_student(loss, input));
    CB_TRY(check_teacher(loss, input));
    CB_REQUIRE(!input->neighbours1 == !input->neighbours2 || input->objects == 0,
        "input.neighbours1 and input.neighbours2 go together: give both or none");
    if (!input->neighbours1 || input->objects == 0) return CRIBO_OK;
    size_t objects = (size_t)input->objects, prototypes = cb_loss_prototypes(loss->loss, 1);
    CB_TRY(check_neighbours(input->neighbours1, input->match1, 1, objects, prototypes));
    return check_neighbours(input->neighbours2, input->match2, 2, objects, prototypes);
}

static cb_loss_input translate(const cribo_loss_input *input)
{
    return (cb_loss_input){
        .head = {{(size_t)input->images, input->student_cls, input->teacher_cls, input->teacher_temperature},
            {(size_t)input->objects, input->student_objects, input->teacher_objects,
                input->object_teacher_temperature}},
        .neighbour = {input->neighbours1, input->neighbours2},
        .match = {input->match1, input->match2},
    };
}

static cribo_status check_finite(double value, const char *name)
{
    if (!isfinite(value)) return cb_fail(CRIBO_NOT_FINITE, "the %s loss is %g", name, value);
    return CRIBO_OK;
}

cribo_status cribo_loss_compute(cribo_loss *loss, const cribo_loss_input *input, cribo_loss_output *output)
{
    cribo_loss_input given;
    cribo_loss_output wanted = {0};
    CB_ENTER(loss);
    CB_TRY(import(&given, input));
    CB_TRY(check_input(loss, &given));
    CB_TRY(CB_IMPORT(wanted, output, student_objects_gradient));
    cb_loss_input logits = translate(&given);
    cb_loss_output result = {.gradient = {wanted.student_cls_gradient, wanted.student_objects_gradient}};
    cb_loss_compute(loss->loss, &logits, &result);
    wanted.global = result.global;
    wanted.cross_view = result.cross_view;
    wanted.cross_image = result.cross_image;
    cb_struct_export(output, &wanted, sizeof wanted);
    CB_TRY(check_finite(result.global, "global"));
    CB_TRY(check_finite(result.cross_view, "cross-view"));
    return check_finite(result.cross_image, "cross-image");
}

cribo_status cribo_loss_update_centres(cribo_loss *loss, const cribo_loss_input *input)
{
    cribo_loss_input given;
    CB_ENTER(loss);
    CB_TRY(import(&given, input));
    CB_TRY(check_teacher(loss, &given));
    cb_loss_input logits = translate(&given);
    cb_loss_update_centres(loss->loss, logits.head);
    return CRIBO_OK;
}

static void copy_centres(const cribo_loss *loss, float *const to[2])
{
    for (int head = 0; head < 2; head++)
        if (to[head])
            memcpy(to[head], cb_loss_centre(loss->loss, head),
                cb_loss_prototypes(loss->loss, head) * sizeof *to[head]);
}

cribo_status cribo_loss_get_centres(const cribo_loss *loss, float *centre, float *object_centre)
{
    CB_ENTER(loss);
    copy_centres(loss, (float *const[2]){centre, object_centre});
    return CRIBO_OK;
}

cribo_status cribo_loss_read_centres(
    const cribo_loss *loss, float *centre, int64_t count, float *object_centre, int64_t object_count)
{
    CB_ENTER(loss);
    if (centre) CB_TRY(cb_check_count("count", count, cb_loss_prototypes(loss->loss, 0)));
    if (object_centre)
        CB_TRY(cb_check_count("object_count", object_count, cb_loss_prototypes(loss->loss, 1)));
    copy_centres(loss, (float *const[2]){centre, object_centre});
    return CRIBO_OK;
}

cribo_status cribo_loss_set_centres(cribo_loss *loss, const float *centre, const float *object_centre)
{
    const float *from[2] = {centre, object_centre};
    CB_ENTER(loss);
    for (int head = 0; head < 2; head++) {
        size_t n = cb_loss_prototypes(loss->loss, head);
        size_t strange = from[head] ? cb_first_not_finite(from[head], n) : n;
        CB_REQUIRE(strange == n, "%s[%zu] = %g is not finite", head == 0 ? "centre" : "object_centre",
            strange, (double)from[head][strange]);
    }
    for (int head = 0; head < 2; head++)
        if (from[head])
            memcpy(cb_loss_centre(loss->loss, head), from[head],
                cb_loss_prototypes(loss->loss, head) * sizeof *centre);
    return CRIBO_OK;
}
