/* The [CLS] loss of local crops. See local.h. */
#include "objective/local.h"

#include "objective/centring.h"

/* One row of the pooling for the global vector of each crop. */
static cb_pooling plan_pooling(cb_tape *tape, const cb_local_tokens *local)
{
    size_t rows = local->tokens.rows / local->layout.tokens, entries = rows * local->layout.global_count;
    cb_pooling pooling = {.begin = cb_arena_take(tape->arena, rows + 1, sizeof *pooling.begin),
        .token = cb_arena_take(tape->arena, entries, sizeof *pooling.token),
        .weight = cb_arena_take(tape->arena, entries, sizeof *pooling.weight)};
    for (size_t r = 0; r < rows && cb_tape_runs(tape); r++)
        cb_layout_pool_global(&local->layout, r * local->layout.tokens, &pooling);
    pooling.rows = rows;
    return pooling;
}

static cb_prototype_workspace take_workspace(
    const cb_objective *o, cb_tape *tape, size_t rows, size_t teacher_rows)
{
    return cb_prototype_workspace_take(tape->arena, rows, teacher_rows, o->student.cls.count, 0);
}

/* Each crop has both views of its image as teachers. */
static cb_row_targets *set_targets(cb_tape *tape, size_t rows, size_t crops, double weight)
{
    cb_row_targets *targets = cb_arena_take(tape->arena, rows, sizeof *targets);
    cb_real w = (cb_real)weight;
    for (size_t r = 0; r < rows && cb_tape_runs(tape); r++) {
        uint32_t image = (uint32_t)(r / crops);
        targets[r] = (cb_row_targets){{2 * image, 2 * image + 1}, {w, w}};
    }
    return targets;
}

void cb_objective_learn_local(
    cb_objective *o, size_t m, cb_tape *tape, const cb_local_tokens *local, double weight)
{
    const cb_micro_batch *micro = &o->targets.micro[m];
    size_t rows = micro->images * local->crops, teacher_rows = 2 * micro->images;
    cb_pooling *pooling = cb_arena_take(tape->arena, 1, sizeof *pooling);
    double scale = o->config.authors_normalisation ? 0.5 : 1;
    *pooling = plan_pooling(tape, local);
    cb_tensor x = cb_heads_forward(o->student.heads, tape, cb_op_pool(tape, local->tokens, pooling));
    cb_prototype_job job = {
        .student = &o->student.cls,
        .teacher = &o->teacher.cls,
        .centre = cb_objective_centre_of(o, &o->cls_centring, o->centre),
        .student_temperature = (cb_real)o->config.student_temperature,
        .teacher_temperature = (cb_real)o->now.teacher_temperature,
        .rows = rows,
        .x = x.value,
        .targets = set_targets(
            tape, rows, local->crops, scale * weight / ((double)o->targets.images * (double)local->crops)),
        .teacher_rows = teacher_rows,
        .teacher_x = micro->cls,
        .dx = x.gradient,
        .du = o->now.last_layer_frozen ? NULL : o->student.heads->cls.direction.gradient,
    };
    cb_prototype_workspace workspace = take_workspace(o, tape, rows, teacher_rows);
    cb_prototype_loss(o->runtime->pool, &job, &workspace);
    o->tally.local += job.loss[0] + job.loss[1];
}

void cb_objective_plan_local(const cb_objective *o, cb_tape *tape, const cb_local_tokens *local)
{
    size_t rows = local->tokens.rows / local->layout.tokens;
    cb_arena_take(tape->arena, 1, sizeof(cb_pooling));
    cb_pooling pooling = plan_pooling(tape, local);
    cb_heads_forward(o->student.heads, tape, cb_op_pool(tape, local->tokens, &pooling));
    set_targets(tape, rows, local->crops, 0);
    take_workspace(o, tape, rows, 2 * o->sizes.micro_images);
}
