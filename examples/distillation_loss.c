/*
 * The self-distillation losses and their gradients from the logits of any network.
 *
 * There is no network here: the student's logits are trained directly by gradient descent, so that the loss
 * must fall. In a training loop the two gradients are the input of the student's backward pass.
 */
#include "check.h"

#include <math.h>

enum { B = 4, R = 6, P = 32, OBJECT_P = 48, STEPS = 50 };

static float student_cls[2][B][P], teacher_cls[2][B][P], cls_gradient[2][B][P];
static float student_objects[2][R][OBJECT_P], teacher_objects[2][R][OBJECT_P],
    objects_gradient[2][R][OBJECT_P];
static float neighbours1[R][OBJECT_P], neighbours2[R][OBJECT_P];
static const uint8_t match1[R] = {1, 1, 0, 0, 1, 0}, match2[R] = {1, 0, 0, 1, 1, 1};

static void fill(float *logits, size_t count, uint64_t stream)
{
    double uniform[2 * R * OBJECT_P];
    EXPECT(count <= 2 * R * OBJECT_P);
    MUST(cribo_random_uniform(11, stream, 0, count, uniform));
    for (size_t i = 0; i < count; i++) logits[i] = (float)(2 * uniform[i] - 1);
}

static void descend(float *logits, const float *gradient, size_t count)
{
    for (size_t i = 0; i < count; i++) logits[i] -= 0.05F * gradient[i];
}

static double total(const cribo_loss_output *output)
{
    return output->global + output->cross_view + output->cross_image;
}

/* The gradient of one logit against the slope of the loss. */
static void expect_slope(
    cribo_loss *loss, const cribo_loss_input *input, cribo_loss_output output, float *logit, float gradient)
{
    const float step = 1.0F / 256;
    float before = *logit;
    *logit = before + step;
    MUST(cribo_loss_compute(loss, input, &output));
    double above = total(&output);
    *logit = before - step;
    MUST(cribo_loss_compute(loss, input, &output));
    double below = total(&output);
    *logit = before;
    EXPECT(
        fabs((above - below) / (2 * (double)step) - (double)gradient) < 0.01 * fabs((double)gradient) + 1e-3);
}

int main(void)
{
    fill(&student_cls[0][0][0], sizeof student_cls / sizeof(float), 1);
    fill(&teacher_cls[0][0][0], sizeof teacher_cls / sizeof(float), 2);
    fill(&student_objects[0][0][0], sizeof student_objects / sizeof(float), 3);
    fill(&teacher_objects[0][0][0], sizeof teacher_objects / sizeof(float), 4);
    fill(&neighbours1[0][0], sizeof neighbours1 / sizeof(float), 5);
    fill(&neighbours2[0][0], sizeof neighbours2 / sizeof(float), 6);

    cribo_loss_config config;
    MUST(cribo_loss_config_init(&config, sizeof config));
    config.prototypes = P;
    config.object_prototypes = OBJECT_P;

    cribo_loss *loss;
    MUST(cribo_loss_create(&loss, &config, NULL));

    cribo_loss_input input = {.struct_size = sizeof input,
        .images = B,
        .objects = R,
        .student_cls = &student_cls[0][0][0],
        .teacher_cls = &teacher_cls[0][0][0],
        .student_objects = &student_objects[0][0][0],
        .teacher_objects = &teacher_objects[0][0][0],
        .neighbours1 = &neighbours1[0][0], /* both NULL: no cross-image loss yet */
        .neighbours2 = &neighbours2[0][0],
        .match1 = match1, /* from cribo_memory_bank_query */
        .match2 = match2,
        .teacher_temperature = 0.5, /* mild, since these logits never sharpen; published: 0.04 to 0.07 */
        .object_teacher_temperature = 0.5};
    cribo_loss_output output = {.struct_size = sizeof output,
        .student_cls_gradient = &cls_gradient[0][0][0],
        .student_objects_gradient = &objects_gradient[0][0][0]};

    MUST(cribo_loss_compute(loss, &input, &output));
    double first = total(&output);
    printf("before: global %.4f, cross-view %.4f, cross-image %.4f\n", output.global, output.cross_view,
        output.cross_image);

    cribo_loss_output losses_only = {.struct_size = sizeof losses_only};
    expect_slope(loss, &input, losses_only, &student_cls[1][2][3], cls_gradient[1][2][3]);
    expect_slope(loss, &input, losses_only, &student_objects[0][4][5], objects_gradient[0][4][5]);

    for (int i = 0; i < STEPS; i++) {
        MUST(cribo_loss_compute(loss, &input, &output));
        descend(&student_cls[0][0][0], &cls_gradient[0][0][0], sizeof student_cls / sizeof(float));
        descend(
            &student_objects[0][0][0], &objects_gradient[0][0][0], sizeof student_objects / sizeof(float));
    }
    MUST(cribo_loss_compute(loss, &input, &output));
    printf("after:  global %.4f, cross-view %.4f, cross-image %.4f\n", output.global, output.cross_view,
        output.cross_image);
    EXPECT(total(&output) < 0.9 * first);

    /* After each step of a real loop the centres follow the teacher. They start at zero. */
    float centre[P];
    double mean = 0;
    MUST(cribo_loss_update_centres(loss, &input));
    MUST(cribo_loss_get_centres(loss, centre, NULL));
    for (int i = 0; i < 2 * B; i++) mean += (double)teacher_cls[i / B][i % B][0] / (2 * B);
    EXPECT(fabs((double)centre[0] - (1 - config.centre_momentum) * mean) < 1e-6);

    cribo_loss_free(loss);
    return 0;
}
