/*
 * cribo/trainer.h: the whole method in steps: teach, learn, update.
 *
 * A trainer joins a student and a teacher (both vision transformers with heads), a clusterer, a memory bank
 * and the losses with AdamW and the schedules. The caller brings batches of augmented views.
 */
#ifndef CRIBO_TRAINER_H
#define CRIBO_TRAINER_H

#include "cribo/communicator.h"
#include "cribo/model.h"
#include "cribo/objective.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A training run: networks, moments, centres, memory bank, step count, and the memory of a step. */
typedef struct cribo_trainer cribo_trainer;

/*
 * Settings; cribo_trainer_config_init sets the published defaults of ViT-S/16, cribo_trainer_config_preset
 * those of a published run. A part's settings have the same names and meanings as in the part's own config.
 * Fields are only ever appended.
 *
 * The micro-batch decides how much memory a step takes; results depend on it by rounding only. Schedules
 * count in epochs of steps_per_epoch steps; a field ..._steps that is not 0 takes the place of its
 * ..._epochs (total_steps that of epochs). steps_per_epoch has no default: creation fails while it is 0 and a
 * field in epochs above 0 is not replaced. If all are in steps, 0 means that each step is an epoch.
 */
typedef struct cribo_trainer_config {
    size_t struct_size; /* sizeof(cribo_trainer_config), set by _init */

    /* The model: see cribo_model_config. */
    int64_t image_size;        /* side of the square views in pixels, a multiple of patch_size; 224 */
    int64_t patch_size;        /* side of a patch in pixels; 16 */
    int64_t width;             /* D; 384 */
    int64_t depth;             /* L, blocks; 12 */
    int64_t heads;             /* H, attention heads per block; 6 */
    int64_t mlp_ratio;         /* hidden width of a block's MLP over D; 4 */
    double drop_path;          /* drop rate of the student's last block, growing linearly from 0; 0.1 */
    int64_t head_hidden;       /* hidden width of the heads' MLPs; 2048 */
    int64_t head_bottleneck;   /* output width of the heads' MLPs; 256 */
    int64_t prototypes;        /* P of the [CLS] head; 65 536 */
    int64_t object_prototypes; /* P' of the object head; 65 536 */
    int64_t normed_last_layer; /* 1: gains of the prototype layers stay 1; 0: trained. 0 */

    /* Clustering: see cribo_clusterer_config. */
    int64_t clusters;             /* K; 32 */
    double position_weight;       /* lambda_pos in the first epoch; 1.0 */
    double position_weight_final; /* lambda_pos in the last epoch, linear by epoch between them; 1.0 */
    double sinkhorn_lambda;       /* inverse temperature of the transport plan; 20 */
    int64_t sinkhorn_iterations;  /* row and column scalings per assignment; 5 */
    int64_t cluster_iterations;   /* assignments, each followed by an update of the means; 5 */
    int64_t update_marginal;      /* 1: the clusters' masses follow their sizes; 0: equal masses. 1 */
    int64_t hard_assignment;      /* 1: a token belongs to one cluster; 0: to all, in shares. 1 */
    int64_t batch_cost;           /* 1: cost normalised over the batch; 0 */

    /* The memory bank, and when the cross-image loss begins. */
    int64_t bank_images;         /* Q, capacity of the bank in images; 25 000 */
    double cross_image_epochs;   /* epochs before the cross-image loss starts; 1 */
    int64_t cross_image_steps;   /* steps before it starts; 0: cross_image_epochs counts. 0 */
    int64_t cross_image_objects; /* minimum number of objects in the bank before it starts; 1 */

    /* Losses: see cribo_loss_config. */
    double student_temperature;              /* tau_s of [CLS]; 0.1 */
    double object_student_temperature;       /* tau_s of objects; 0.1 */
    double teacher_temperature_start;        /* tau_t of [CLS] in the first epoch; 0.04 */
    double teacher_temperature;              /* tau_t of [CLS] after the warm-up; 0.07 */
    double object_teacher_temperature_start; /* tau_t of objects in the first epoch; 0.04 */
    double object_teacher_temperature;       /* tau_t of objects after the warm-up; 0.07 */
    double teacher_temperature_epochs;       /* epochs of the temperatures' linear warm-up; 30 */
    int64_t teacher_temperature_steps; /* steps of that warm-up; 0: teacher_temperature_epochs counts. 0 */
    double centre_momentum;            /* of both centres; 0.9 */
    int64_t authors_normalisation;     /* 1: losses scaled as the authors' code does; 0: as the paper. 0 */

    /* The optimiser. */
    int64_t batch_size;              /* maximum images per batch; the learning rate scales with it; 256 */
    int64_t micro_batch;             /* images per forward and backward pass (memory and speed); 4 */
    double learning_rate;            /* peak, per 256 images of batch_size; 5e-4 */
    double learning_rate_final;      /* at the end of the cosine schedule; 1e-5 */
    double warmup_epochs;            /* epochs of the learning rate's linear warm-up from 0; 10 */
    int64_t warmup_steps;            /* steps of that warm-up; 0: warmup_epochs counts. 0 */
    double weight_decay;             /* at the start; none for biases and norms; 0.04 */
    double weight_decay_final;       /* at the end of the cosine schedule; 0.4 */
    double ema_momentum;             /* of the teacher's moving average at the start; 0.996 */
    double ema_momentum_final;       /* at the end of the cosine schedule; 1 */
    double clip_norm;                /* maximum norm of the gradient; 0: no clipping. 0 */
    int64_t clip_per_tensor;         /* 1: clip_norm bounds each tensor's norm; 0: the global norm. 0 */
    double freeze_last_layer_epochs; /* epochs with frozen prototype layers; 1 */
    int64_t freeze_last_layer_steps; /* steps with frozen prototype layers; 0: by epochs. 0 */
    double epochs;                   /* length of the training; 300 */
    int64_t steps_per_epoch;         /* batches in an epoch; 0: no setting is in epochs (see above). 0 */
    int64_t total_steps;             /* length of the training in steps; 0: epochs * steps_per_epoch. 0 */
    int64_t seed;                    /* of every random choice; 0 */

    /*
     * Weights of the losses in their sum; a report has the weighted losses. A loss of weight 0 is not
     * computed: with cross_image_weight 0 the bank stays empty, with both object weights and
     * object_koleo_weight 0 there is no clustering and no cluster is valid.
     */
    double global_weight;      /* of L_cv^g; 1 */
    double cross_view_weight;  /* of L_cv^o; 1 */
    double cross_image_weight; /* of L_ci^o once it has started; 1 */

    int64_t precision; /* of both networks: CRIBO_FLOAT32 or CRIBO_BF16; float32 */
    int64_t recompute; /* of the student: see cribo_model_config; 0 */

    /* The transformer's family, of both networks: each as in cribo_model_config. */
    int64_t registers;          /* register tokens; 0 */
    double layer_scale;         /* initial gain of the blocks' branches; 0: none */
    int64_t mlp;                /* CRIBO_MLP_...; GELU */
    int64_t mlp_hidden;         /* hidden width of a block's MLP; 0: mlp_ratio * width */
    int64_t position_embedding; /* CRIBO_POSITIONS_...; learned */
    int64_t position_grid;      /* side of the grid of learned positions, in patches; 0: the view's */
    int64_t cls_position;       /* 1: [CLS] has a learned position; 1 */
    double position_offset;     /* of the resampling of learned positions, in patches; 0.1 */
    int64_t position_antialias; /* 1: the resampling is antialiased; 0 */
    double rope_base;           /* base of the rotary periods; 100 */
    double rope_min_period;     /* shortest rotary period; 0: by rope_base */
    double rope_max_period;     /* longest rotary period; 0: by rope_base */
    int64_t rope_coordinates;   /* CRIBO_ROPE_...; separate */
    double norm_epsilon;        /* epsilon of the layer norms; 1e-6 */
    int64_t qkv_bias;           /* CRIBO_QKV_BIAS_...; all */

    int64_t group_images; /* images of a group (docs/algorithm.md, "Groups"); 0: the whole batch. 0 */
    int64_t shards; /* parts of a batch summed by a fixed tree (docs/distributed.md); a power of two. 1 */
    int64_t sinkhorn_centring; /* iterations of Sinkhorn-Knopp centring; 0: the moving mean. 0 */

    /* Adapting a published backbone (docs/algorithm.md, "Adapting"). */
    int64_t learning_rate_batch; /* batch size that learning_rate is given for; 0: absolute; 256 */
    int64_t frozen_blocks;       /* first blocks that are not trained, with the embedding; at most depth; 0 */
    double layer_decay;          /* factor of the learning rate from a block to the one before it; 1 */
    int64_t heads_only_steps;    /* first steps in which only the heads are trained; 0 */
    int64_t average_steps;       /* last steps over which the student's weights are averaged; 0: none */

    /* The KoLeo regulariser (docs/algorithm.md, "KoLeo"); weight 0: not computed. */
    double koleo_weight;        /* of the student's [CLS] vectors; 0 */
    double object_koleo_weight; /* of the student's objects; 0 */

    /* Gram anchoring (docs/algorithm.md, "Gram anchoring"). */
    double gram_weight;         /* weight of the loss; 0: not computed. 0 */
    int64_t gram_start_steps;   /* step from which it is computed, whose teacher is the first anchor; 0 */
    int64_t gram_refresh_steps; /* steps after which the teacher becomes the anchor again; 0: never. 0 */

    /*
     * Masked patches (docs/algorithm.md): the student does not see some blocks of patches and predicts the
     * teacher's distributions of them. Not with frozen_blocks.
     */
    double masked_weight;    /* of L_m; 0: no patch is masked. 0 */
    double masked_views;     /* share of the views that are masked; 0.5 */
    double masked_share_min; /* smallest share of a masked view's patches that are masked; 0.1 */
    double masked_share_max; /* largest; 0.5 */

    /* Local crops for the [CLS] loss (docs/algorithm.md, "Local crops"), which only the student sees. */
    int64_t local_crops; /* of an image in a batch; 0: none. 0 */
    int64_t local_size;  /* their side in pixels, a multiple of patch_size; 96 */
    double local_weight; /* of their loss; 0: not computed. 1 */

    int64_t stem; /* CRIBO_STEM_..., of both networks: as in cribo_model_config; patch */

    /* Gradients are rounded to it before ranks or shards add them (docs/distributed.md); CRIBO_FLOAT32 */
    int64_t exchange_precision;
} cribo_trainer_config;

/*
 * _init sets the defaults; `struct_size` is sizeof(cribo_trainer_config) as the caller knows it. _set assigns
 * a setting by its name from text, with a decimal point in every locale. _setting describes setting `index`,
 * starting at 0; its strings are static.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, a size this library never had, no such setting, text that is no
 * number, a value out of range, an index past the last).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_config_init(
    cribo_trainer_config *config, size_t struct_size);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_config_set(
    cribo_trainer_config *config, const char *name, const char *value);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_config_setting(size_t index, cribo_setting *setting);

/*
 * Applies presets, one or a list separated by commas ("vitb16-in1k,authors"), in order on top of what is set:
 *   "vits16-coco", "vits16-in1k", "vitb16-in1k"  the published runs: every setting that their arguments have,
 *                                                whatever was set before; not the seed, the micro-batch, the
 *                                                precision, steps_per_epoch, nor what "authors" sets
 *   "tiny", "small", "base"                      width, depth and heads of ViT-T, -S, -B
 *   "mini"                                       a tiny transformer on views of 48 x 48 in batches of 32,
 *                                                which trains in minutes on one core (docs/experiment.md)
 *   "adapt"                                      a published backbone, adapted in hundreds of steps with new
 *                                                heads (docs/adapt.md); its shape is set by the caller
 *   "authors"                                    the authors' formulas where they differ from the paper's:
 *                                                normalisation of the losses, cost normalised over a group,
 *                                                clipping tensor by tensor
 *
 * "vitb16-in1k" sets the authors' normalisation, too, to which its published clipping belongs.
 *
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such preset, a setting that is out of range already).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_config_preset(
    cribo_trainer_config *config, const char *name);

/*
 * Makes a trainer: fresh student, teacher a copy of it, empty bank, zero centres, step 0. All memory of all
 * later steps is allocated here.
 * Ownership: free with cribo_trainer_free.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: memory for student, gradients, two moments and teacher (4 bytes a parameter each), for the
 * activations of a micro-batch and the targets of a batch, and the address space of the bank.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_create(
    cribo_trainer **out, const cribo_trainer_config *config, const cribo_runtime *runtime);

/*
 * The most bytes at once that cribo_trainer_create and all steps take from the allocator, for the same
 * `config` and the threads of `runtime` (NULL: the default number). The number is exact: the code of creation
 * measures. Not included: the caller's batches, saving and loading, features of the lent models, and about
 * 4 MB for each thread that BLIS and the system need. Compare with cribo_memory_available.
 * Errors: as cribo_trainer_create; CRIBO_OUT_OF_MEMORY only where the address space is too small.
 * Cost: some MB of memory and no threads; up to some tenths of a second for large settings.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_memory(
    const cribo_trainer_config *config, const cribo_runtime *runtime, int64_t *bytes);

/*
 * Makes a trainer that is one of several ranks (docs/distributed.md); `communicator` NULL or of one rank: as
 * cribo_trainer_create. All ranks call it with the same settings; config.batch_size is that of the whole
 * batch, and config.shards a multiple of the number of ranks. Rank r then gives each step its share of the
 * batch: images r B / size ... (r + 1) B / size - 1.
 *
 * Step, teach, learn, update, load, save, save_weights and cribo_snapshot_create are collective: all ranks
 * call them in the same order. A call that fails on one rank fails on all, with the message of the lowest
 * rank that failed, and changes no state. CRIBO_TIMED_OUT names a rank that did not answer; every later
 * collective call then fails at once. Of several ranks, rank 0 writes the files; a snapshot holds the state
 * on rank 0 only, and saving it on another rank does nothing. A save may take longer than the deadline, but
 * not one call of a caller's writer. Reports are of the whole batch, targets of the
 * rank's share. Gradients, moments and the memory bank's vectors are divided over the ranks: they cannot be
 * read, and the bank cannot be queried or saved (CRIBO_WRONG_STATE). All ranks push to the bank, import or
 * load it with the same objects.
 *
 * Creation and each collective call compare the ranks' settings, library versions (at creation) and the
 * names of their calls. The first step after creation, after load, or after a rank has written parameters,
 * centres or the bank compares the digests of all that is not divided; for that it allocates some KiB. A
 * difference is CRIBO_INVALID_ARGUMENT (another call: CRIBO_WRONG_STATE) on all ranks, and the message names
 * it. Threads, allocator and deadline may differ.
 * Ownership: as cribo_trainer_create; the communicator's struct is copied; everything it refers to must
 * outlive the trainer.
 * Errors: as cribo_trainer_create, CRIBO_TIMED_OUT.
 * Cost: as cribo_trainer_create, but of moments and memory bank each rank holds one part of `size` equal
 * parts.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_create_distributed(cribo_trainer **out,
    const cribo_trainer_config *config, const cribo_runtime *runtime, const cribo_communicator *communicator);

/* Frees a trainer and the handles borrowed from it. */
CRIBO_API void cribo_trainer_free(cribo_trainer *trainer);

/*
 * The settings with which the trainer works now. _get_config: all of them, into a config whose struct_size is
 * set (_config_init does). _get_setting: one by its name; of a choice its number.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, a size this library never had).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_get_config(
    const cribo_trainer *trainer, cribo_trainer_config *config);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_get_setting(
    const cribo_trainer *trainer, const char *name, double *value);

/*
 * The sizes of the trainer (cribo_sizes): all.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_sizes(const cribo_trainer *trainer, cribo_sizes *sizes);

/*
 * Changes a setting between two steps; the next step uses it. The trainer then continues as one that was made
 * with the new value and has this state. Schedules are functions of the settings and the step: learning_rate
 * is the peak of its schedule, per learning_rate_batch images, and the rate of the next step follows from the
 * new peak; a changed total_steps or epochs stretches or shortens what is left of every schedule.
 *
 * Checkpoints and weights store the changed settings. A trainer made by cribo_checkpoint_config continues bit
 * for bit; one with the earlier settings is refused by cribo_trainer_load, unless it names them as overrides.
 *
 * These can change: drop_path; position_weight, position_weight_final, sinkhorn_lambda, sinkhorn_iterations,
 * cluster_iterations, update_marginal; cross_image_epochs, _steps and _objects; all temperatures and the
 * length of their warm-up; centre_momentum, authors_normalisation; learning_rate, _final and _batch;
 * warmup_epochs and _steps; weight_decay, ema_momentum and their _final; clip_norm, clip_per_tensor;
 * freeze_last_layer_epochs and _steps, heads_only_steps; epochs, steps_per_epoch, total_steps; the weights of
 * the losses, but not masked_weight; those of KoLeo and gram_weight where they were above 0 at creation. All
 * others cannot: networks and memory are made for them, and seed is the key of all draws.
 *
 * Over several ranks the call is collective; all ranks give the same setting and value.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, one that cannot change, with the reason, a value
 * that is out of range or contradicts other settings, ranks that differ), CRIBO_WRONG_STATE (a step is under
 * way), CRIBO_TIMED_OUT.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_set_setting(
    cribo_trainer *trainer, const char *name, double value);

/*
 * A batch of two augmented views of each image.
 *
 * images       B, 1 ... batch_size
 * view1, view2 [B, 3, S, S] float32, normalised (S = image_size); or NULL both, and view1_bytes, view2_bytes
 *              instead
 * view1_bytes, view2_bytes  [B, 3, S, S] uint8; the library computes (byte / 255 - mean[c]) / deviation[c]
 * mean, deviation  [3] of the channels, for bytes only
 * crops1, crops2  [B] the crops, from which patch centres follow: left + (column p + p / 2) width / S - 1/2,
 *                 ...; or NULL both, and
 * positions    [B, 2, N, 2] the patch centres themselves (x, y)
 * seed_tokens  [B, K] tokens that start the clusters; NULL: drawn from the trainer's seed, step and image
 * ids          [B] an id per image: the bank never matches an image with itself; also the key of the image's
 *              random draws. An image with id -1 has none: it is matched with any, and its index in the batch
 *              is the key. NULL: no image has one
 * local_views, local_views_bytes  [B, local_crops, 3, s, s] (s = local_size) local crops of each image,
 * float32
 *              or bytes as the views; NULL both where local_crops is 0
 */
typedef struct cribo_batch {
    size_t struct_size; /* sizeof(cribo_batch) */
    int64_t images;
    const float *view1;
    const float *view2;
    const uint8_t *view1_bytes;
    const uint8_t *view2_bytes;
    double mean[3];
    double deviation[3];
    const cribo_crop *crops1;
    const cribo_crop *crops2;
    const float *positions;
    const int64_t *seed_tokens;
    const int64_t *ids;
    const float *local_views;
    const uint8_t *local_views_bytes;
} cribo_batch;

/*
 * One whole step: teach, learn, update. `report` may be NULL.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_NOT_FINITE (naming the loss or gradient), CRIBO_CANCELLED: the
 * trainer is as before the call, with no step under way.
 * Cost: allocates nothing.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_step(
    cribo_trainer *trainer, const cribo_batch *batch, cribo_report *report);

/*
 * The three phases, for callers that inspect or change state between them. Call them in this order; repeating
 * teach restarts the step; a failed teach leaves no targets. The batch's pixels must not change until learn
 * has returned.
 *
 * teach   teacher, clustering, objects, neighbours: the targets of this step.
 * learn   student forward and backward, micro-batch by micro-batch: losses and gradients. It takes the batch
 *         of teach: another one is refused (compared by digests of pixels, crops, positions and ids)
 * update  clipping, AdamW, teacher, centres, bank, step count.
 *
 * Errors: teach and learn: as cribo_trainer_step. update: CRIBO_NOT_FINITE for a gradient that is not finite,
 * CRIBO_CANCELLED. Out of turn: CRIBO_WRONG_STATE. All that outlives a step (parameters, moments, centres,
 * bank, step count) is then as it was: it changes in update alone, after everything that can fail.
 * Cost: allocates nothing.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_teach(cribo_trainer *trainer, const cribo_batch *batch);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_learn(cribo_trainer *trainer, const cribo_batch *batch);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_update(cribo_trainer *trainer, cribo_report *report);

/*
 * For callers that decide after learn whether to update.
 *
 * losses  the losses of the step under way, as update would report them; any pointer may be NULL
 * forget  discards the step: the trainer is between two steps again, with unchanged state. Gradients
 *         stay readable. No effect if no step has begun
 *
 * Errors: CRIBO_INVALID_ARGUMENT (NULL trainer); losses: CRIBO_WRONG_STATE (not between learn and update).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_losses(
    const cribo_trainer *trainer, double *loss, double *global, double *cross_view, double *cross_image);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_forget(cribo_trainer *trainer);

/*
 * The results of teach, until the next teach; any pointer may be NULL.
 *
 * labels, valid      [B, 2, N] and [B, K] as in cribo_cluster_output
 * objects_per_image  [B] how many clusters are valid; their sum is R
 * index1, index2     [R] as in cribo_match
 * match1, match2     [R] as in cribo_match, in steps without the cross-image loss, too
 *
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set), CRIBO_WRONG_STATE (before the first teach, or
 * after one that failed).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_targets(
    const cribo_trainer *trainer, const cribo_targets *targets);

/*
 * The gradient of a student's parameter by name, as learn left it (before clipping): `count` floats. Zero
 * before the first learn, for last layers that are frozen, and for gains that stay 1.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such name, another count).
 * Cost: looks at every name; that of the copy.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_gradient(
    const cribo_trainer *trainer, const char *name, float *values, int64_t count);

/*
 * Between learn and update: replaces the gradient of a student's parameter, or adds to it, such as the
 * gradient of another loss or of an earlier batch. update measures its norm, clips and applies what then
 * stands there. A parameter that is not trained in this step stays as it is. `values` holds `count` numbers,
 * copied.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such name, another count, a number that is not finite, a parameter
 * of the frozen blocks), CRIBO_WRONG_STATE (not between learn and update, several ranks); the gradients are
 * then unchanged.
 * Cost: looks at every name; one sweep over the values.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_set_gradient(
    cribo_trainer *trainer, const char *name, const float *values, int64_t count);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_add_gradient(
    cribo_trainer *trainer, const char *name, const float *values, int64_t count);

/*
 * The trainer's student and teacher, to read or write parameters and to compute features. Writing and
 * loading give CRIBO_WRONG_STATE while a step is under way. NULL trainer gives NULL.
 * Ownership: borrowed; they end with the trainer; cribo_model_free does nothing to them.
 * Threads: a call on them counts as one on the trainer.
 */
CRIBO_API cribo_model *cribo_trainer_student(cribo_trainer *trainer);
CRIBO_API cribo_model *cribo_trainer_teacher(cribo_trainer *trainer);

/*
 * The mean of the student's weights after each of the last average_steps steps that have been done so far.
 * The schedules' last step is the last one; the mean goes on with steps beyond it. NULL where average_steps
 * is 0, before the first of these steps, and for a NULL trainer.
 * Ownership: borrowed: it lives and ends with the trainer; do not free it.
 * Threads: a call on it counts as one on the trainer.
 */
CRIBO_API cribo_model *cribo_trainer_average(cribo_trainer *trainer);

/*
 * Steps done so far.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_step_count(
    const cribo_trainer *trainer, int64_t *steps);

/*
 * The moments of AdamW of a student's parameter (first, second: [count]), and how many updates it has had;
 * any pointer may be NULL.
 * Errors: CRIBO_INVALID_ARGUMENT (no such name, another count).
 * Cost: looks at every name; that of the copy.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_moments(const cribo_trainer *trainer, const char *name,
    float *first, float *second, int64_t count, int64_t *updates);

/*
 * Reads or writes the centres: centre [P], object_centre [P'], copied; either may be NULL.
 * Errors: CRIBO_INVALID_ARGUMENT (trainer is NULL, a value written is not finite).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_get_centres(
    const cribo_trainer *trainer, float *centre, float *object_centre);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_set_centres(
    cribo_trainer *trainer, const float *centre, const float *object_centre);

/*
 * cribo_trainer_get_centres with the sizes of the arrays: count is P, object_count is P'; that of a NULL
 * array is not read.
 * Errors: CRIBO_INVALID_ARGUMENT (trainer is NULL, another count); nothing is then written.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_read_centres(
    const cribo_trainer *trainer, float *centre, int64_t count, float *object_centre, int64_t object_count);

/*
 * The trainer's memory bank, to inspect, export or import. Push, import and load give CRIBO_WRONG_STATE while
 * a step is under way. See cribo/memory_bank.h. NULL trainer gives NULL.
 * Ownership: borrowed; it ends with the trainer; cribo_memory_bank_free does nothing to it.
 * Threads: a call on it counts as one on the trainer.
 */
struct cribo_memory_bank;
CRIBO_API struct cribo_memory_bank *cribo_trainer_memory_bank(cribo_trainer *trainer);

/*
 * Writes student and teacher ("student." and "teacher." + name), and the average of cribo_trainer_average
 * ("average." + name) where there is one, with the settings as metadata to one
 * safetensors file, atomically.
 *
 * _with adds the options' metadata, which cribo_checkpoint_metadata reads; the options' level is not used,
 * and NULL means no metadata.
 * Errors: CRIBO_IO_ERROR with the system's reason, CRIBO_OUT_OF_MEMORY, CRIBO_INVALID_ARGUMENT (NULL; the
 * options, as cribo_trainer_save); an old
 * file is then unchanged.
 * Cost: no copy of the weights.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_save_weights(
    const cribo_trainer *trainer, const char *path);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_save_weights_to(
    const cribo_trainer *trainer, const cribo_writer *writer);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_save_weights_with(
    const cribo_trainer *trainer, const char *path, const cribo_save_options *options);

/*
 * Writes a checkpoint: the complete state (student, teacher, moments, update counts, centres, memory bank,
 * steps) with its settings, in one gzip-compressed safetensors file (docs/checkpoints.md), through a
 * temporary file that is renamed: at any moment the old file or the new one exists. `options` NULL: level 1,
 * no metadata. The same state, level and metadata give the same bytes, for any number of threads.
 *
 * Not between teach and update: a checkpoint is taken between two steps.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_WRONG_STATE (a step is under way), CRIBO_IO_ERROR with the system's
 * reason, CRIBO_OUT_OF_MEMORY; an old file of that name is then as it was, the trainer unchanged in any case.
 * Cost: 2.5 MiB of memory per thread, no copy of the state.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_save(
    const cribo_trainer *trainer, const char *path, const cribo_save_options *options);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_save_to(
    const cribo_trainer *trainer, const cribo_writer *writer, const cribo_save_options *options);

/*
 * A copy of a trainer's state at one moment, to be saved while training continues; independent of the
 * trainer.
 */
typedef struct cribo_snapshot cribo_snapshot;

/*
 * Takes a snapshot between two steps: everything that cribo_trainer_save writes. Later steps do not change
 * it, so another thread can save it meanwhile.
 *
 * `runtime` gives the allocator and the number of compressing threads (`log` and `progress` are not used);
 * NULL: malloc and all CPUs, which the trainer also uses. threads = 1 disturbs training least.
 * Ownership: free with cribo_snapshot_free, before or after the trainer; runtime is copied.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_WRONG_STATE (a step is under way), CRIBO_OUT_OF_MEMORY,
 * CRIBO_SYSTEM_ERROR (no threads), the trainer unchanged in any case.
 * Threads: counts as a call on the trainer.
 * Cost: memory for a second copy of the state: student, teacher and two moments (16 bytes per parameter), 8 D
 * bytes per object in the bank; the time to copy them.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_snapshot_create(
    cribo_snapshot **out, const cribo_trainer *trainer, const cribo_runtime *runtime);

/* Frees a snapshot; NULL is fine. */
CRIBO_API void cribo_snapshot_free(cribo_snapshot *snapshot);

/*
 * As cribo_trainer_save and cribo_trainer_save_weights at the moment at which the snapshot was taken: the
 * same bytes, the same errors. A snapshot may be saved several times.
 * Errors: as cribo_trainer_save and cribo_trainer_save_weights.
 * Threads: one call at a time per snapshot, beside any calls on the trainer.
 * Cost: as cribo_trainer_save, without a further copy.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_snapshot_save(
    const cribo_snapshot *snapshot, const char *path, const cribo_save_options *options);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_snapshot_save_to(
    const cribo_snapshot *snapshot, const cribo_writer *writer, const cribo_save_options *options);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_snapshot_save_weights(
    const cribo_snapshot *snapshot, const char *path);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_snapshot_save_weights_to(
    const cribo_snapshot *snapshot, const cribo_writer *writer);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_snapshot_save_weights_with(
    const cribo_snapshot *snapshot, const char *path, const cribo_save_options *options);

/*
 * Restores the state of the trainer that wrote the checkpoint: the next steps are bit-identical to those of
 * an uninterrupted run, for any number of threads, on the same kind of CPU. A step in progress is discarded,
 * gradients are zero. `options` NULL: every setting must be the same.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL; a setting differs, with its value in the file and in the trainer; an
 * array has another shape; overrides names no setting), CRIBO_CORRUPT (the file is damaged or no checkpoint:
 * everything is verified first), CRIBO_IO_ERROR, CRIBO_OUT_OF_MEMORY; the trainer is then unchanged.
 * Cost: memory for a second copy of the state.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_load(
    cribo_trainer *trainer, const char *path, const cribo_load_options *options);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_trainer_load_from(
    cribo_trainer *trainer, const cribo_reader *reader, const cribo_load_options *options);

/*
 * The settings of the trainer that wrote a checkpoint, or a file of cribo_trainer_save_weights, to make one
 * like it. out->struct_size is set by the caller (cribo_trainer_config_init does).
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size), CRIBO_CORRUPT (the header is damaged or none of a
 * checkpoint), CRIBO_IO_ERROR, CRIBO_OUT_OF_MEMORY; *out is then unchanged.
 * Cost: reads the header only; memory comes from malloc.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_checkpoint_config(const char *path, cribo_trainer_config *out);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_checkpoint_config_from(
    const cribo_reader *reader, cribo_trainer_config *out);

/*
 * Copies one of the caller's strings out of a checkpoint or a file of cribo_trainer_save_weights_with, with
 * its terminating zero: at most `size` bytes.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such key, size is too small for the string, which the message
 * says), and as cribo_checkpoint_config; *buffer is then unchanged.
 * Cost: as cribo_checkpoint_config.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_checkpoint_metadata(
    const char *path, const char *key, char *buffer, size_t size);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_checkpoint_metadata_from(
    const cribo_reader *reader, const char *key, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif

#endif
