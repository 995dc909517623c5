/* Gram anchoring of a micro-batch. See anchor.h. */
#include "objective/anchor.h"

#include "distillation/gram.h"

static cb_gram_workspace take_workspace(const cb_objective *o, cb_tape *tape, size_t views)
{
    return cb_gram_workspace_take(
        tape->arena, cb_pool_threads(o->runtime->pool), views, o->sizes.tokens, o->sizes.width);
}

void cb_objective_anchor(
    cb_objective *o, cb_tape *tape, cb_tensor tokens, const cb_real *anchor, double weight)
{
    size_t views = tokens.rows / o->layout.tokens;
    cb_gram_workspace work = take_workspace(o, tape, views);
    cb_gram_job job = {.views = views,
        .tokens = o->layout.tokens,
        .dense = o->layout.dense,
        .patches = o->sizes.tokens,
        .width = o->sizes.width,
        .weight = weight / (2 * (double)o->targets.images),
        .x = tokens.value,
        .anchor = anchor,
        .dx = cb_arena_take(tape->arena, tokens.rows * tokens.columns, sizeof(cb_real))};
    o->tally.gram += cb_gram(o->runtime->pool, &job, &work);
    cb_op_add_gradient(tape, tokens, job.dx);
}

void cb_objective_plan_anchor(const cb_objective *o, cb_tape *tape, cb_tensor tokens)
{
    take_workspace(o, tape, tokens.rows / o->layout.tokens);
    cb_arena_take(tape->arena, tokens.rows * tokens.columns, sizeof(cb_real));
    cb_op_add_gradient(tape, tokens, NULL);
}
