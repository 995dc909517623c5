/*
 * The trainer's results: what they must not depend on (micro-batches, threads, how a batch is given, how a
 * step is called), and what happens at the edges.
 */
#include "support/suite.h"
#include "support/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- micro-batches --- */

typedef struct gradients {
    float *values;
    size_t count;
    double loss;
} gradients;

static double largest(const float *x, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)x[i]));
    return most;
}

/* A trainer at step 0 whose teacher is not its student, whose centres are not zero and whose bank is full. */
static cribo_trainer *disturbed(const cribo_trainer_config *config)
{
    cribo_trainer_config other = *config;
    cribo_trainer *trainer = training_begin(config, 0);
    other.micro_batch = 1;
    other.ema_momentum = 0.5;
    other.global_weight = other.cross_view_weight = other.cross_image_weight = 1;
    cribo_trainer *pilot = training_begin(&other, 0);
    training_steps(pilot, &other, 2);
    training_copy_bank(pilot, trainer);
    cribo_parameter p;
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        float *values = calloc((size_t)p.count, sizeof *values);
        OK(cribo_model_read_parameter(cribo_trainer_teacher(pilot), p.name, values, p.count));
        OK(cribo_model_write_parameter(cribo_trainer_teacher(trainer), p.name, values, p.count));
        free(values);
    }
    float centres[64];
    OK(cribo_trainer_get_centres(pilot, centres, centres + config->prototypes));
    OK(cribo_trainer_set_centres(trainer, centres, centres + config->prototypes));
    cribo_trainer_free(pilot);
    return trainer;
}

/* The gradients of one step, and that the cross-image loss had a part in it. */
static cribo_trainer *learned(const cribo_trainer_config *config, int64_t images, cribo_report *report)
{
    cribo_trainer *trainer = disturbed(config);
    training_batch batch = training_batch_of(config, images, 77);
    OK(cribo_trainer_teach(trainer, &batch.batch));
    OK(cribo_trainer_learn(trainer, &batch.batch));
    OK(cribo_trainer_update(trainer, report));
    training_batch_free(&batch);
    return trainer;
}

static void compare_gradients(cribo_trainer *a, cribo_trainer *b, int64_t micro)
{
    cribo_parameter p;
    for (int64_t i = 0; training_parameter(a, i, &p); i++) {
        size_t n = (size_t)p.count;
        float *x = calloc(2 * n, sizeof *x), *y = x + n;
        OK(cribo_trainer_gradient(a, p.name, x, p.count));
        OK(cribo_trainer_gradient(b, p.name, y, p.count));
        double most = largest(x, n);
        ck_assert_msg(most > 0, "%s has no gradient", p.name);
        for (size_t k = 0; k < n; k++)
            ck_assert_msg(fabs((double)x[k] - y[k]) <= 1e-5 * most,
                "micro-batch %lld: gradient of %s[%zu] is %.9g, not %.9g; the largest is %.9g",
                (long long)micro, p.name, k, (double)y[k], (double)x[k], most);
        free(x);
    }
}

static const struct batch_case {
    int64_t images, hard, batch_cost;
} batch_cases[] = {{1, 1, 0}, {3, 1, 0}, {4, 0, 0}, {5, 1, 0}, {5, 0, 0}, {5, 1, 1}, {4, 0, 1}, {3, 1, 1}};

START_TEST(test_trainer_micro_batches_give_the_same_gradients)
{
    const struct batch_case *given = &batch_cases[_i];
    cribo_trainer_config c = training_config();
    cribo_report first = {.struct_size = sizeof first}, report = first;
    c.hard_assignment = given->hard;
    c.batch_cost = given->batch_cost;
    c.micro_batch = 5;
    cribo_trainer *whole = learned(&c, given->images, &first);
    ck_assert_double_eq(first.cross_image_on, 1);
    ck_assert_double_gt(first.cross_image_loss, 0);
    for (c.micro_batch = 1; c.micro_batch < 5; c.micro_batch++) {
        cribo_trainer *cut = learned(&c, given->images, &report);
        compare_gradients(whole, cut, c.micro_batch);
        ck_assert_double_eq_tol(report.loss, first.loss, 1e-5);
        ck_assert_double_eq_tol(report.teacher_entropy, first.teacher_entropy, 1e-5);
        ck_assert_double_eq_tol(report.mean_teacher_entropy, first.mean_teacher_entropy, 1e-5);
        ck_assert_double_eq(report.matched_share, first.matched_share);
        cribo_trainer_free(cut);
    }
    cribo_trainer_free(whole);
}
END_TEST

/* --- the losses' weights --- */

/* Adds `scale` times a parameter's gradient to sum. */
static void add_gradient(cribo_trainer *trainer, const cribo_parameter *p, double scale, double *sum)
{
    float *x = calloc((size_t)p->count, sizeof *x);
    OK(cribo_trainer_gradient(trainer, p->name, x, p->count));
    for (int64_t k = 0; k < p->count; k++) sum[k] += scale * (double)x[k];
    free(x);
}

static cribo_trainer *weighed(double global, double cross_view, double cross_image, cribo_report *report)
{
    cribo_trainer_config c = training_config();
    c.global_weight = global;
    c.cross_view_weight = cross_view;
    c.cross_image_weight = cross_image;
    return learned(&c, 5, report);
}

/*
 * The gradient is that of the weighted sum: with weights 2, 3, 0.5 it is made of those of the losses alone.
 */
START_TEST(test_trainer_losses_count_by_their_weights)
{
    static const double weights[3] = {2, 3, 0.5};
    cribo_report plain = {.struct_size = sizeof plain}, mixed = plain, alone[3] = {plain, plain, plain};
    cribo_trainer *all = weighed(1, 1, 1, &plain), *mix = weighed(2, 3, 0.5, &mixed);
    cribo_trainer *one[3];
    for (int i = 0; i < 3; i++) one[i] = weighed(i == 0, i == 1, i == 2, &alone[i]);
    ck_assert_double_gt(plain.cross_image_loss, 0);
    ck_assert_double_eq_tol(mixed.global_loss, 2 * plain.global_loss, 1e-5);
    ck_assert_double_eq_tol(mixed.cross_view_loss, 3 * plain.cross_view_loss, 1e-5);
    ck_assert_double_eq_tol(mixed.cross_image_loss, 0.5 * plain.cross_image_loss, 1e-5);
    ck_assert(alone[0].loss == alone[0].global_loss && alone[0].cross_view_loss == 0);
    ck_assert(alone[1].loss == alone[1].cross_view_loss && alone[1].cross_image_loss == 0);
    ck_assert(alone[2].loss == alone[2].cross_image_loss && alone[2].global_loss == 0);
    cribo_parameter p;
    for (int64_t i = 0; training_parameter(mix, i, &p); i++) {
        double *difference = calloc(2 * (size_t)p.count, sizeof *difference), *size = difference + p.count;
        for (int j = 0; j < 3; j++) add_gradient(one[j], &p, -weights[j], difference);
        add_gradient(mix, &p, 1, difference);
        add_gradient(all, &p, 1, size);
        double most = 0;
        for (int64_t k = 0; k < p.count; k++) most = fmax(most, fabs(size[k]));
        for (int64_t k = 0; k < p.count; k++)
            ck_assert_msg(fabs(difference[k]) <= 2e-5 * most, "gradient of %s[%lld] is off by %.3g of %.3g",
                p.name, (long long)k, difference[k], most);
        free(difference);
    }
    for (int i = 0; i < 3; i++) cribo_trainer_free(one[i]);
    cribo_trainer_free(mix);
    cribo_trainer_free(all);
}
END_TEST

/* A program that was built before the weights were settings trains as it did. */
START_TEST(test_trainer_config_of_an_older_caller_weighs_one)
{
    cribo_trainer_config c = training_config(), older = c;
    older.struct_size = offsetof(cribo_trainer_config, global_weight);
    older.global_weight = older.cross_view_weight = older.cross_image_weight = 0; /* not its own memory */
    cribo_trainer *a = training_begin(&c, 0), *b = training_begin(&older, 0);
    training_steps(a, &c, 2);
    training_steps(b, &c, 2);
    ck_assert(training_same(a, b));
    cribo_trainer_free(a);
    cribo_trainer_free(b);
}
END_TEST

/* --- threads and seeds --- */

START_TEST(test_trainer_threads_give_the_same_bits)
{
    cribo_trainer_config c = training_config();
    c.hard_assignment = _i % 2;
    c.batch_cost = _i / 2;
    cribo_trainer *one = training_begin(&c, 1);
    training_steps(one, &c, 5);
    for (int64_t threads = 2; threads <= 3; threads++) {
        cribo_trainer *several = training_begin(&c, threads);
        training_steps(several, &c, 5);
        ck_assert_msg(
            training_same(one, several), "%lld threads give other bits than one", (long long)threads);
        cribo_trainer_free(several);
    }
    cribo_trainer_free(one);
}
END_TEST

START_TEST(test_trainer_seed_decides_all_draws)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *a = training_begin(&c, 0), *b = training_begin(&c, 0);
    c.seed++;
    cribo_trainer *other = training_begin(&c, 0);
    ck_assert(training_same(a, b));
    ck_assert(!training_same(a, other));
    training_steps(a, &c, 2);
    training_steps(b, &c, 2);
    ck_assert(training_same(a, b));
    cribo_trainer_free(a);
    cribo_trainer_free(b);
    cribo_trainer_free(other);
}
END_TEST

/* --- ways to give a batch --- */

static cribo_report report_of(const cribo_trainer_config *config, const cribo_batch *batch)
{
    cribo_report report = {.struct_size = sizeof report};
    cribo_trainer *trainer = training_begin(config, 0);
    OK(cribo_trainer_step(trainer, batch, &report));
    cribo_trainer_free(trainer);
    return report;
}

static void assert_same_step(const cribo_report *a, const cribo_report *b, double tolerance)
{
    ck_assert_double_eq_tol(a->loss, b->loss, tolerance * fabs(a->loss));
    ck_assert_double_eq_tol(a->gradient_norm, b->gradient_norm, tolerance * a->gradient_norm);
    ck_assert_double_eq(a->objects_per_image, b->objects_per_image);
}

START_TEST(test_trainer_seeks_only_what_a_loss_wants)
{
    static const struct {
        double cross_view, cross_image;
        bool objects, memory;
    } cases[] = {{0, 0, false, false}, {1, 0, true, false}, {0, 1, true, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cribo_trainer_config c = training_config();
        c.cross_view_weight = cases[i].cross_view;
        c.cross_image_weight = cases[i].cross_image;
        training_batch made = training_batch_of(&c, 5, 1);
        cribo_report report = report_of(&c, &made.batch);
        ck_assert_int_eq(report.objects_per_image > 0, cases[i].objects);
        ck_assert_int_eq(report.bank_fill > 0, cases[i].memory);
        ck_assert_double_gt(report.global_loss, 0);
        training_batch_free(&made);
    }
}
END_TEST

START_TEST(test_trainer_bytes_are_the_floats_they_stand_for)
{
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 3);
    size_t plane = (size_t)(c.image_size * c.image_size), view = 5 * 3 * plane;
    uint8_t *bytes = calloc(2 * view, 1);
    cribo_batch as_bytes = made.batch;
    as_bytes.view1 = as_bytes.view2 = NULL;
    as_bytes.view1_bytes = bytes;
    as_bytes.view2_bytes = bytes + view;
    for (int i = 0; i < 3; i++) as_bytes.mean[i] = 0.4 + 0.1 * i, as_bytes.deviation[i] = 0.2 + 0.05 * i;
    for (size_t i = 0; i < 2 * view; i++) {
        size_t channel = i / plane % 3;
        bytes[i] = (uint8_t)fmin(255, fmax(0, 64 * ((double)made.pixels[i] + 2)));
        made.pixels[i] = (float)((bytes[i] / 255. - as_bytes.mean[channel]) / as_bytes.deviation[channel]);
    }
    cribo_report a = report_of(&c, &made.batch), b = report_of(&c, &as_bytes);
    assert_same_step(&a, &b, 1e-4);
    as_bytes.mean[1] += 0.2;
    b = report_of(&c, &as_bytes);
    ck_assert_double_ne(a.loss, b.loss);
    free(bytes);
    training_batch_free(&made);
}
END_TEST

/* The centres (x, y) of a view's patches, by the comment of cribo_crop. */
static void positions_of(const cribo_trainer_config *c, const cribo_crop *crop, float *positions)
{
    int64_t grid = c->image_size / c->patch_size;
    for (int64_t row = 0; row < grid; row++)
        for (int64_t column = 0; column < grid; column++) {
            double across = ((double)column + 0.5) * (double)c->patch_size / (double)c->image_size;
            double down = ((double)row + 0.5) * (double)c->patch_size / (double)c->image_size;
            if (crop->flipped) across = 1 - across;
            *positions++ = (float)(crop->x + across * crop->width - 0.5);
            *positions++ = (float)(crop->y + down * crop->height - 0.5);
        }
}

START_TEST(test_trainer_crops_are_the_positions_that_follow_from_them)
{
    cribo_trainer_config c = training_config();
    c.position_weight = c.position_weight_final = 3;
    training_batch made = training_batch_of(&c, 5, 4);
    made.crops[1].flipped = made.crops[7].flipped = made.crops[8].flipped = 1;
    float positions[5][2][9][2];
    for (int i = 0; i < 5; i++)
        for (int v = 0; v < 2; v++) positions_of(&c, &made.crops[5 * v + i], positions[i][v][0]);
    cribo_batch with_positions = made.batch;
    with_positions.crops1 = with_positions.crops2 = NULL;
    with_positions.positions = positions[0][0][0];
    cribo_report a = report_of(&c, &made.batch), b = report_of(&c, &with_positions);
    assert_same_step(&a, &b, 1e-4);
    made.crops[0].x += 500;
    b = report_of(&c, &made.batch);
    ck_assert_double_ne(a.loss, b.loss);
    training_batch_free(&made);
}
END_TEST

START_TEST(test_trainer_ids_left_out_are_indices)
{
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 4);
    const int64_t ids[5] = {0, 1, 2, 3, 4}, others[5] = {9, 1, 2, 3, 4};
    cribo_report a = report_of(&c, &made.batch);
    made.batch.ids = ids;
    cribo_report b = report_of(&c, &made.batch);
    ck_assert_double_eq(a.loss, b.loss);
    made.batch.ids = others;
    b = report_of(&c, &made.batch);
    ck_assert_double_ne(a.loss, b.loss); /* other seeds, other dropped branches */
    training_batch_free(&made);
}
END_TEST

/*
 * Were -1 itself the key, all images without an id would begin with the same tokens and drop the same
 * branches.
 */
START_TEST(test_trainer_images_without_ids_draw_by_index)
{
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 4);
    const int64_t none[5] = {-1, -1, -1, -1, -1}, some[5] = {-1, 1, -1, 3, -1};
    cribo_report a = report_of(&c, &made.batch);
    made.batch.ids = none;
    cribo_report b = report_of(&c, &made.batch);
    ck_assert_double_eq(a.loss, b.loss);
    made.batch.ids = some;
    b = report_of(&c, &made.batch);
    ck_assert_double_eq(a.loss, b.loss);
    training_batch_free(&made);
}
END_TEST

/* --- phases --- */

START_TEST(test_trainer_phases_in_turn_are_a_step)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *whole = training_begin(&c, 0), *parts = training_begin(&c, 0);
    for (uint64_t step = 0; step < 4; step++) {
        training_batch made = training_batch_of(&c, 5, step), other = training_batch_of(&c, 3, step + 90);
        cribo_report a = {.struct_size = sizeof a}, b = a;
        OK(cribo_trainer_step(whole, &made.batch, &a));
        if (step == 1) OK(cribo_trainer_teach(parts, &other.batch)); /* forgotten by the next */
        OK(cribo_trainer_teach(parts, &made.batch));
        if (step == 2) OK(cribo_trainer_teach(parts, &made.batch));
        OK(cribo_trainer_learn(parts, &made.batch));
        if (step == 3) OK(cribo_trainer_learn(parts, &made.batch));
        OK(cribo_trainer_update(parts, &b));
        a.teach_ms = a.cluster_ms = a.match_ms = a.learn_ms = a.update_ms = 0;
        b.teach_ms = b.cluster_ms = b.match_ms = b.learn_ms = b.update_ms = 0;
        ck_assert_mem_eq(&a, &b, sizeof a);
        ck_assert(training_same(whole, parts));
        training_batch_free(&made);
        training_batch_free(&other);
    }
    cribo_trainer_free(whole);
    cribo_trainer_free(parts);
}
END_TEST

START_TEST(test_trainer_phases_out_of_turn_are_refused)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, 0);
    training_batch made = training_batch_of(&c, 5, 0), other = training_batch_of(&c, 4, 0);
    cribo_targets targets = {.struct_size = sizeof targets};
    REFUSED(cribo_trainer_targets(trainer, &targets), CRIBO_WRONG_STATE, "cribo_trainer_teach");
    REFUSED(cribo_trainer_learn(trainer, &made.batch), CRIBO_WRONG_STATE, "cribo_trainer_teach");
    REFUSED(cribo_trainer_update(trainer, NULL), CRIBO_WRONG_STATE, "cribo_trainer_learn");
    OK(cribo_trainer_teach(trainer, &made.batch));
    REFUSED(cribo_trainer_update(trainer, NULL), CRIBO_WRONG_STATE, "cribo_trainer_learn");
    REFUSED(cribo_trainer_learn(trainer, &other.batch), CRIBO_INVALID_ARGUMENT, "batch.images");
    OK(cribo_trainer_learn(trainer, &made.batch));
    OK(cribo_trainer_teach(trainer, &made.batch));
    REFUSED(cribo_trainer_update(trainer, NULL), CRIBO_WRONG_STATE, "cribo_trainer_learn");
    OK(cribo_trainer_learn(trainer, &made.batch));
    OK(cribo_trainer_update(trainer, NULL));
    REFUSED(cribo_trainer_update(trainer, NULL), CRIBO_WRONG_STATE, "cribo_trainer_learn");
    REFUSED(cribo_trainer_learn(trainer, &made.batch), CRIBO_WRONG_STATE, "cribo_trainer_teach");
    OK(cribo_trainer_targets(trainer, &targets));
    training_batch_free(&made);
    training_batch_free(&other);
    cribo_trainer_free(trainer);
}
END_TEST

/* A step that is discarded after learn has no effect: later steps have the bits of a run without it. */
/* --- gradients that the caller writes --- */

static void learn_batch(cribo_trainer *trainer, const cribo_trainer_config *config, uint64_t number)
{
    training_batch made = training_batch_of(config, 5, number);
    OK(cribo_trainer_teach(trainer, &made.batch));
    OK(cribo_trainer_learn(trainer, &made.batch));
    training_batch_free(&made);
}

typedef cribo_status write_gradient(
    cribo_trainer *trainer, const char *name, const float *values, int64_t count);

/* Gives every gradient of `from` to `to`, and returns the sum of the squares of what `to` then has. */
static double pass_gradients(cribo_trainer *from, cribo_trainer *to, write_gradient *write)
{
    cribo_parameter p;
    double squares = 0;
    for (int64_t i = 0; training_parameter(from, i, &p); i++) {
        float *values = calloc((size_t)p.count, sizeof *values);
        ck_assert_ptr_nonnull(values);
        OK(cribo_trainer_gradient(from, p.name, values, p.count));
        OK(write(to, p.name, values, p.count));
        OK(cribo_trainer_gradient(to, p.name, values, p.count));
        for (int64_t k = 0; k < p.count; k++) squares += (double)values[k] * values[k];
        free(values);
    }
    return squares;
}

START_TEST(test_trainer_gradients_written_are_those_of_the_update)
{
    cribo_trainer_config c = training_config();
    c.drop_path = 0;
    cribo_trainer *a = training_begin(&c, 1), *b = training_begin(&c, 2);
    learn_batch(a, &c, 0);
    learn_batch(b, &c, 0);
    OK(cribo_trainer_set_gradient(b, "backbone.norm.bias", (const float[16]){7}, 16));
    pass_gradients(a, b, cribo_trainer_set_gradient);
    OK(cribo_trainer_update(a, NULL));
    OK(cribo_trainer_update(b, NULL));
    ck_assert(training_same(a, b));
    cribo_trainer_free(a);
    cribo_trainer_free(b);
}
END_TEST

/* Gradient accumulation: the sum over two batches is measured, clipped and applied. */
START_TEST(test_trainer_gradients_of_several_batches_add_up)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *a = training_begin(&c, 1), *b = training_begin(&c, 1);
    cribo_report report = {.struct_size = sizeof report};
    learn_batch(a, &c, 0);
    learn_batch(b, &c, 1);
    double squares = pass_gradients(a, b, cribo_trainer_add_gradient);
    OK(cribo_trainer_update(b, &report));
    ck_assert_double_gt(squares, 0);
    ck_assert_double_eq_tol(report.gradient_norm, sqrt(squares), 1e-5 * sqrt(squares));
    OK(cribo_trainer_update(a, NULL));
    ck_assert(!training_same(a, b));
    cribo_trainer_free(a);
    cribo_trainer_free(b);
}
END_TEST

START_TEST(test_trainer_gradients_of_frozen_blocks_are_refused)
{
    cribo_trainer_config c = training_config();
    c.frozen_blocks = 1;
    cribo_trainer *trainer = training_begin(&c, 1);
    const float values[16] = {1};
    learn_batch(trainer, &c, 0);
    REFUSED(cribo_trainer_set_gradient(trainer, "backbone.blocks.0.norm1.bias", values, 16),
        CRIBO_INVALID_ARGUMENT, "frozen blocks");
    OK(cribo_trainer_set_gradient(trainer, "backbone.blocks.1.norm1.bias", values, 16));
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_trainer_gradients_that_overflow_end_the_update)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, 1);
    const float values[16] = {3e38F};
    training_state before = training_state_of(trainer);
    learn_batch(trainer, &c, 0);
    OK(cribo_trainer_set_gradient(trainer, "backbone.norm.bias", values, 16));
    OK(cribo_trainer_add_gradient(trainer, "backbone.norm.bias", values, 16));
    REFUSED(cribo_trainer_update(trainer, NULL), CRIBO_NOT_FINITE, "backbone.norm.bias");
    OK(cribo_trainer_forget(trainer));
    training_state after = training_state_of(trainer);
    ck_assert(training_state_equal(&before, &after));
    training_state_free(&before);
    training_state_free(&after);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_trainer_forgotten_step_changes_nothing)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *plain = training_begin(&c, 1), *other = training_begin(&c, 1);
    training_batch odd = training_batch_of(&c, 5, 99);
    OK(cribo_trainer_forget(other));
    for (uint64_t step = 0; step < 3; step++) {
        double loss, global, cross_view, cross_image;
        training_state before = training_state_of(other), after;
        OK(cribo_trainer_teach(other, &odd.batch));
        OK(cribo_trainer_learn(other, &odd.batch));
        OK(cribo_trainer_losses(other, &loss, &global, &cross_view, &cross_image));
        ck_assert_double_eq(loss, global + cross_view + cross_image);
        OK(cribo_trainer_forget(other));
        REFUSED(cribo_trainer_update(other, NULL), CRIBO_WRONG_STATE, "learn");
        after = training_state_of(other);
        ck_assert(training_state_equal(&before, &after));
        training_state_free(&before);
        training_state_free(&after);
        training_batch made = training_batch_of(&c, 5, step);
        cribo_report report = {.struct_size = sizeof report};
        OK(cribo_trainer_teach(other, &made.batch));
        OK(cribo_trainer_learn(other, &made.batch));
        OK(cribo_trainer_losses(other, &loss, &global, NULL, NULL));
        OK(cribo_trainer_update(other, &report));
        ck_assert_double_eq(report.loss, loss);
        ck_assert_double_eq(report.global_loss, global);
        ck_assert_double_eq(training_step(plain, &c, step), loss);
        training_batch_free(&made);
    }
    ck_assert(training_same(plain, other));
    training_batch_free(&odd);
    cribo_trainer_free(plain);
    cribo_trainer_free(other);
}
END_TEST

static void add_all(TCase *tests)
{
    tcase_add_loop_test(tests, test_trainer_micro_batches_give_the_same_gradients, 0,
        (int)(sizeof batch_cases / sizeof batch_cases[0]));
    tcase_add_test(tests, test_trainer_losses_count_by_their_weights);
    tcase_add_test(tests, test_trainer_config_of_an_older_caller_weighs_one);
    tcase_add_loop_test(tests, test_trainer_threads_give_the_same_bits, 0, 4);
    tcase_add_test(tests, test_trainer_seed_decides_all_draws);
    tcase_add_test(tests, test_trainer_seeks_only_what_a_loss_wants);
    tcase_add_test(tests, test_trainer_bytes_are_the_floats_they_stand_for);
    tcase_add_test(tests, test_trainer_crops_are_the_positions_that_follow_from_them);
    tcase_add_test(tests, test_trainer_ids_left_out_are_indices);
    tcase_add_test(tests, test_trainer_images_without_ids_draw_by_index);
    tcase_add_test(tests, test_trainer_phases_in_turn_are_a_step);
    tcase_add_test(tests, test_trainer_phases_out_of_turn_are_refused);
    tcase_add_test(tests, test_trainer_gradients_written_are_those_of_the_update);
    tcase_add_test(tests, test_trainer_gradients_of_several_batches_add_up);
    tcase_add_test(tests, test_trainer_gradients_of_frozen_blocks_are_refused);
    tcase_add_test(tests, test_trainer_gradients_that_overflow_end_the_update);
    tcase_add_test(tests, test_trainer_forgotten_step_changes_nothing);
}

int main(void)
{
    Suite *suite = suite_create("trainer");
    TCase *tests = tcase_create("trainer");
    tcase_set_timeout(tests, 120);
    add_all(tests);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
