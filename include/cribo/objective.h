/*
 * cribo/objective.h: the method without the network. Dense tokens and global vectors of a student and a
 * teacher go in; the three losses and the gradients of the student's tokens come out.
 *
 *   your teacher -> tokens -> teach -> learn -> gradients of the tokens -> your student's backward pass
 *                                        |
 *                                      update: heads, centres, memory bank
 *
 * The networks are the caller's: any library, any architecture that gives N dense tokens and one global
 * vector of D numbers for a view. The objective holds the rest: clusterer, memory bank, cycle test,
 * projection heads of student and teacher with their AdamW state, centres, losses and schedules.
 * cribo_trainer (cribo/trainer.h) joins an objective with vision transformers of this library.
 */
#ifndef CRIBO_OBJECTIVE_H
#define CRIBO_OBJECTIVE_H

#include "cribo/communicator.h"
#include "cribo/memory_bank.h"
#include "cribo/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Heads, moments, centres, memory bank, step count, and the memory of a step. */
typedef struct cribo_objective cribo_objective;

/*
 * Settings; cribo_objective_config_init sets the published defaults. Fields are only ever appended. Each
 * setting has the name, the meaning and the default that it has in cribo_trainer_config; width and tokens
 * describe the caller's network. The optimiser's settings are those of the heads.
 */
typedef struct cribo_objective_config {
    size_t struct_size; /* sizeof(cribo_objective_config), set by _init */

    /* What the caller's network gives. */
    int64_t width;  /* D, numbers in a token and in a global vector; 384 */
    int64_t tokens; /* N, dense tokens of a view; 196 */

    /* The projection heads. */
    int64_t head_hidden;       /* hidden width of the heads' MLP; 2048 */
    int64_t head_bottleneck;   /* output width of the heads' MLP; 256 */
    int64_t prototypes;        /* P of the global head; 65 536 */
    int64_t object_prototypes; /* P' of the object head; 65 536 */
    int64_t normed_last_layer; /* 1: the last layers' gains stay 1; 0 */

    /* Clustering. */
    int64_t clusters;             /* K; 32 */
    double position_weight;       /* lambda_pos in the first epoch; 1.0 */
    double position_weight_final; /* lambda_pos in the last epoch; 1.0 */
    double sinkhorn_lambda;       /* sharpness of the transport; 20 */
    int64_t sinkhorn_iterations;  /* row and column scalings of a transport; 5 */
    int64_t cluster_iterations;   /* assignments with updated means; 5 */
    int64_t update_marginal;      /* 1: masses of clusters follow their sizes; 1 */
    int64_t hard_assignment;      /* 1: a token belongs to one cluster; 1 */
    int64_t batch_cost;           /* 1: cost normalised over a group of images; 0: over each image. 0 */

    /* The memory bank, and when the cross-image loss begins. */
    int64_t bank_images;         /* images in the memory bank; 25 000 */
    double cross_image_epochs;   /* epochs without the cross-image loss; 1 */
    int64_t cross_image_steps;   /* steps without the cross-image loss; 0: by epochs */
    int64_t cross_image_objects; /* objects in the bank before the cross-image loss begins; 1 */

    /* Losses. */
    double student_temperature;              /* tau_s of the global loss; 0.1 */
    double object_student_temperature;       /* tau_s of objects; 0.1 */
    double teacher_temperature_start;        /* tau_t of the global loss in the first epoch; 0.04 */
    double teacher_temperature;              /* tau_t of the global loss after the warm-up; 0.07 */
    double object_teacher_temperature_start; /* tau_t of objects in the first epoch; 0.04 */
    double object_teacher_temperature;       /* tau_t of objects after the warm-up; 0.07 */
    double teacher_temperature_epochs;       /* length of the temperatures' warm-up; 30 */
    int64_t teacher_temperature_steps;       /* length of the warm-up in steps; 0: by epochs */
    double centre_momentum;                  /* of both centres; 0.9 */
    int64_t authors_normalisation;           /* 1: the authors' scale of the losses; 0: the paper's. 0 */

    /* The heads' optimiser. */
    int64_t batch_size;         /* most images in a batch; scales the learning rate; 256 */
    int64_t micro_batch;        /* images that pass the heads together; 4 */
    double learning_rate;       /* at its peak, per 256 images of a batch; 5e-4 */
    double learning_rate_final; /* in the last step; 1e-5 */
    double warmup_epochs;       /* of the learning rate, from 0; 10 */
    int64_t warmup_steps;       /* of the learning rate in steps; 0: by epochs */
    double weight_decay;        /* in the first step; 0.04 */
    double weight_decay_final;  /* in the last step; 0.4 */
    double ema_momentum;        /* of the teacher's heads in the first step; 0.996 */
    double ema_momentum_final;  /* in the last step; 1 */
    double clip_norm;           /* largest norm of a gradient; 0: not clipped. 0 */
    int64_t clip_per_tensor;    /* 1: each tensor is clipped by its own norm; 0: all by the global norm. 0 */
    double freeze_last_layer_epochs; /* epochs with frozen last layers; 1 */
    int64_t freeze_last_layer_steps; /* steps with frozen last layers; 0: by epochs */
    double epochs;                   /* length of the training; 300 */
    int64_t steps_per_epoch;         /* batches in an epoch, as in cribo_trainer_config; 0 */
    int64_t total_steps;             /* length of the training in steps; 0: epochs * steps_per_epoch */
    int64_t seed;                    /* of every random choice; 0 */

    /* Weights of the losses in their sum; a loss of weight 0 is not computed. */
    double global_weight;      /* L_cv^g; 1 */
    double cross_view_weight;  /* L_cv^o; 1 */
    double cross_image_weight; /* L_ci^o; 1 */

    int64_t precision;    /* of the heads' products: CRIBO_FLOAT32 or CRIBO_BF16 */
    int64_t group_images; /* images of a group (docs/algorithm.md, "Groups"); 0: the whole batch. 0 */
    int64_t shards; /* parts of a batch summed by a fixed tree (docs/distributed.md); a power of two. 1 */
    int64_t sinkhorn_centring;   /* iterations of Sinkhorn-Knopp centring; 0: the moving mean. 0 */
    int64_t learning_rate_batch; /* batch size that learning_rate is given for; 0: absolute; 256 */

    /* The KoLeo regulariser; weight 0: not computed. With it, learn takes a batch as one chunk. */
    double koleo_weight;        /* of the student's global vectors; 0 */
    double object_koleo_weight; /* of the student's objects; 0 */

    /* Gradients are rounded to it before ranks or shards add them (docs/distributed.md); CRIBO_FLOAT32 */
    int64_t exchange_precision;
} cribo_objective_config;

/*
 * _init sets the defaults; `struct_size` is sizeof(cribo_objective_config) as the caller knows it. _set
 * assigns a setting by its name from text, with a decimal point in every locale. _setting describes setting
 * `index`, starting at 0; its strings are static. _preset applies the settings of a preset of
 * cribo_trainer_config_preset that an objective has.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, a size this library never had, no such setting or preset, text that
 * is no number, a value out of range, an index past the last).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_config_init(
    cribo_objective_config *config, size_t struct_size);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_config_set(
    cribo_objective_config *config, const char *name, const char *value);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_config_setting(size_t index, cribo_setting *setting);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_config_preset(
    cribo_objective_config *config, const char *name);

/*
 * Makes an objective: fresh heads of the student, the teacher's heads a copy of them, an empty memory bank,
 * zero centres, step 0. All memory of all later steps is allocated here.
 * Ownership: free with cribo_objective_free.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: memory for the heads, their gradients, two moments and the teacher's heads (4 bytes a parameter
 * each), for a micro-batch's activations, the targets of a batch, and the address space of the bank.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_create(
    cribo_objective **out, const cribo_objective_config *config, const cribo_runtime *runtime);

/*
 * Makes an objective that is one of several ranks (docs/distributed.md), each with a network of the
 * caller; `communicator` NULL or of one rank: as cribo_objective_create. All ranks call it with the same
 * settings; config.batch_size is that of the whole batch, and config.shards a multiple of the number of
 * ranks. Rank r gives teach and learn its share of the batch: images r B / size ... (r + 1) B / size - 1,
 * whose chunks count from 0. Losses, objects, neighbours, centres, heads and the memory bank are those of
 * the whole batch, with the same bits for every number of ranks.
 *
 * The gradients of tokens that learn returns are those of the whole batch's losses, for the share's
 * tokens. The caller adds the gradients of the network's parameters over the ranks: their sum, not their
 * mean. Where it is taken over shards in the order of the library's tree, ((0 + 1) + (2 + 3)) + ..., a
 * network whose backward pass has equal bits has equal weights, too.
 *
 * Teach, the last learn of a step, update, set_setting, load and save are collective: all ranks call them
 * in the same order. An earlier chunk of learn that fails ends the step's learn on all ranks, at their
 * last chunk; with KoLeo each learn is collective. All else holds as for cribo_trainer_create_distributed:
 * a failure of one rank is one of all, calls, settings and states are compared, rank 0 writes files;
 * gradients and moments of the heads cannot be read or written, nor the bank queried or saved
 * (CRIBO_WRONG_STATE). Losses before the last chunk are those of the rank's shards so far; the report is
 * of the whole batch.
 * Ownership: as cribo_objective_create; the communicator's struct is copied; everything it refers to must
 * outlive the objective.
 * Errors: as cribo_objective_create, CRIBO_TIMED_OUT.
 * Cost: as cribo_objective_create, but of moments and memory bank each rank holds one part of `size` equal
 * parts.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_create_distributed(cribo_objective **out,
    const cribo_objective_config *config, const cribo_runtime *runtime,
    const cribo_communicator *communicator);

/*
 * The most bytes at once that cribo_objective_create and all steps take from the allocator. See
 * cribo_trainer_memory.
 * Errors: as cribo_objective_create; CRIBO_OUT_OF_MEMORY only where the address space is too small.
 * Cost: as cribo_trainer_memory.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_memory(
    const cribo_objective_config *config, const cribo_runtime *runtime, int64_t *bytes);

/* Frees an objective and the handles borrowed from it. */
CRIBO_API void cribo_objective_free(cribo_objective *objective);

/*
 * The settings with which the objective works now. _get_config: all of them, into a config whose
 * struct_size is set (_config_init does). _get_setting: one by its name; of a choice its number.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, a size this library never had).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_get_config(
    const cribo_objective *objective, cribo_objective_config *config);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_get_setting(
    const cribo_objective *objective, const char *name, double *value);

/*
 * The sizes of the objective (cribo_sizes): all but attention_heads.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_sizes(
    const cribo_objective *objective, cribo_sizes *sizes);

/*
 * Changes a setting between two steps; those of cribo_trainer_set_setting that an objective has can change.
 * Its comment has the rules.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, one that cannot change, with the reason, a value
 * that is out of range or contradicts other settings, ranks that differ), CRIBO_WRONG_STATE (a step is under
 * way), CRIBO_TIMED_OUT.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_set_setting(
    cribo_objective *objective, const char *name, double value);

/* --- patch positions --- */

/*
 * The crop of an original image from which a view was made, in its pixels, edges included half a pixel
 * outside of the centres.
 */
typedef struct cribo_crop {
    double x;        /* left edge */
    double y;        /* top edge */
    double width;    /* from the left edge to the right */
    double height;   /* from the top edge to the bottom */
    int64_t flipped; /* 1: mirrored left-right after the crop */
} cribo_crop;

/*
 * The centres of the cells of a dense map over a view, in pixels of the original image:
 *   x = left + (column + 1/2) width / columns - 1/2, y = top + (row + 1/2) height / rows - 1/2,
 * row by row; columns from the right when the crop is flipped. positions [rows * columns, 2] (x, y).
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, a crop without area, rows or columns not in 1 ... 4096); nothing is
 * then written.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_crop_positions(
    const cribo_crop *crop, int64_t rows, int64_t columns, float *positions);

/* --- a step --- */

/*
 * The values of the schedules in one step. Steps and epochs count from 0.
 */
typedef struct cribo_step_values {
    size_t struct_size;                /* sizeof(cribo_step_values) */
    double learning_rate;              /* of AdamW */
    double weight_decay;               /* of AdamW */
    double ema_momentum;               /* of the teacher */
    double teacher_temperature;        /* tau_t of the global loss */
    double object_teacher_temperature; /* tau_t of objects */
    double position_weight;            /* lambda_pos of the clustering */
    int64_t last_layer_frozen;         /* 1: the last layers are not trained in this step */
    int64_t cross_image;               /* 1: the cross-image loss may be computed */
    int64_t epoch;                     /* step / steps_per_epoch */
} cribo_step_values;

/*
 * The values of the objective's schedules in step `step`; -1: in the step that is next or under way. For the
 * caller's own optimiser and teacher.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set, step below -1).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_schedule(
    const cribo_objective *objective, int64_t step, cribo_step_values *values);

/*
 * The teacher's view of a batch, for teach.
 *
 * images       B, 1 ... batch_size
 * dense        [B, 2, N, D] dense tokens of view 1 and view 2; the D numbers of a token are adjacent, and so
 *              are the N tokens of a view
 * global       [B, 2, D] global vectors
 * dense_image_stride, dense_view_stride  numbers from an image's first token to the next image's, and from
 *              view 1's to view 2's; 0 both: 2 N D and N D
 * global_image_stride, global_view_stride  the same for global vectors; 0 both: 2 D and D
 * positions    [B, 2, N, 2] (x, y) of the tokens in pixels of the original image (cribo_crop_positions)
 * seed_tokens  [B, K] tokens that start the clusters; NULL: drawn from the objective's seed, step and image
 * ids          [B] an id per image: the bank never matches an image with itself; also the key of the image's
 *              random draws. -1: none. NULL: no image has one
 * values       used in place of the schedules' values in this step; NULL: the schedules'
 */
typedef struct cribo_objective_batch {
    size_t struct_size; /* sizeof(cribo_objective_batch) */
    int64_t images;
    const float *dense;
    const float *global;
    int64_t dense_image_stride;
    int64_t dense_view_stride;
    int64_t global_image_stride;
    int64_t global_view_stride;
    const float *positions;
    const int64_t *seed_tokens;
    const int64_t *ids;
    const cribo_step_values *values;
} cribo_objective_batch;

/*
 * The student's view of a part of the batch, for learn.
 *
 * first, images  images first ... first + images - 1 of the batch
 * dense, global  the student's tokens [images, 2, N, D] and global vectors [images, 2, D] of these images
 * ..._stride     as in cribo_objective_batch
 * dense_gradient, global_gradient  out: the gradients of the sum of all losses with respect to `dense`
 *                and `global`, at the same strides; NULL: not computed
 */
typedef struct cribo_objective_chunk {
    size_t struct_size; /* sizeof(cribo_objective_chunk) */
    int64_t first;
    int64_t images;
    const float *dense;
    const float *global;
    int64_t dense_image_stride;  /* 0 with dense_view_stride: contiguous */
    int64_t dense_view_stride;   /* from view 1 to view 2 */
    int64_t global_image_stride; /* 0 with global_view_stride: contiguous */
    int64_t global_view_stride;  /* from view 1 to view 2 */
    float *dense_gradient;
    float *global_gradient;
} cribo_objective_chunk;

/*
 * What a step did, and the signs of collapse:
 *   uniform_loss          a global loss that stays there or above (at twice it with the paper's sums) means
 *                         collapse to uniform distributions
 *   teacher_entropy       near 0 and near ln P are bad
 *   mean_teacher_entropy  near 0 means that all images have the same prototype
 *   matched_share         falls as batches or groups grow: more objects compete in the cycle test
 *   prototypes_used       of as many as the step's rows could use; near 0 is bad
 *   feature_deviation     1 where features point everywhere, 0 where all are equal
 */
typedef struct cribo_report {
    size_t struct_size;      /* sizeof(cribo_report), set by the caller */
    int64_t step;            /* the step reported, from 0 */
    int64_t epoch;           /* from 0 */
    int64_t images;          /* of the batch */
    double loss;             /* the sum of all losses */
    double global_loss;      /* L_cv^g, times its weight, as the next two */
    double cross_view_loss;  /* L_cv^o */
    double cross_image_loss; /* L_ci^o */
    double gradient_norm;    /* global L2 norm before clipping, without frozen last layers */

    /* As scheduled for this step. */
    double learning_rate;              /* of AdamW */
    double weight_decay;               /* of AdamW */
    double ema_momentum;               /* of the teacher */
    double teacher_temperature;        /* tau_t of [CLS] */
    double object_teacher_temperature; /* tau_t of objects */
    double position_weight;            /* lambda_pos of the clustering */

    double objects_per_image; /* mean number of valid objects */
    double matched_share;     /* of the objects of both views, the share with a cycle-consistent neighbour */
    double cross_image_on;    /* 1: the cross-image loss was computed */
    double bank_fill;         /* images in the bank over its capacity, after the step */
    double uniform_loss;      /* ln P of the [CLS] head */
    double teacher_entropy;   /* mean entropy of the teacher's [CLS] distributions, in nats */
    double mean_teacher_entropy; /* entropy of the mean of these distributions */
    double prototypes_used;      /* share of object prototypes that are some teacher row's largest */
    double feature_deviation;    /* standard deviation of the L2-normalised [CLS] features, times sqrt(D) */
    double teach_ms;             /* time of the phase */
    double cluster_ms;           /* of it, for clustering */
    double match_ms;             /* of it, for the neighbours */
    double learn_ms;             /* time of the phase */
    double update_ms;            /* time of the phase */
    double koleo_loss;           /* KoLeo of [CLS] and of objects, times their weights */
    double gram_loss;            /* Gram anchoring, times its weight; a trainer's */
    double masked_loss;          /* L_m of a trainer that masks patches, times its weight; else 0 */
    double masked_share;         /* share of the patches of both views that were masked */
    double local_loss;           /* [CLS] loss of local crops, times its weight; a trainer's */
} cribo_report;

/*
 * The three phases of a step, in this order.
 *
 * teach   the teacher's tokens of the whole batch: clusters, objects, neighbours, and the targets of every
 *         student row. May be repeated, which restarts the step
 * learn   the student's tokens, chunk after chunk: losses, gradients of the tokens and of the heads. The
 *         first chunk begins at image 0 (which restarts learn), each further one where the last one ended.
 *         A chunk is a whole number of micro-batches (of micro_batch images; the last one of a group or of
 *         the batch may be smaller); with KoLeo it is the whole batch. Losses are normalised over the whole
 *         batch: gradients do not depend on the chunks
 * update  after the last chunk: clips the heads' gradients, AdamW on the student's heads, moves the teacher's
 *         heads, the centres and the memory bank, and counts the step
 *
 * The caller's backward pass, optimiser and teacher follow learn in any order. `report` may be NULL; its
 * gradient_norm is that of the heads.
 * Errors: CRIBO_INVALID_ARGUMENT names what is NULL, out of range or not finite, CRIBO_NOT_FINITE names the
 * loss or gradient, CRIBO_CANCELLED; out of turn: CRIBO_WRONG_STATE. All that outlives a step (heads,
 * moments, centres, bank, step count) is then as it was: it changes in update alone, after everything that
 * can fail.
 * Cost: allocates nothing.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_teach(
    cribo_objective *objective, const cribo_objective_batch *batch);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_learn(
    cribo_objective *objective, const cribo_objective_chunk *chunk);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_update(
    cribo_objective *objective, cribo_report *report);

/*
 * losses  the losses of the chunks learned so far in this step, as update reports them; any pointer may be
 *         NULL
 * forget  gives the step up: all that outlives a step is as before teach
 *
 * Errors: CRIBO_INVALID_ARGUMENT (NULL objective); losses: CRIBO_WRONG_STATE (before the first learn of a
 * step).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_losses(
    const cribo_objective *objective, double *loss, double *global, double *cross_view, double *cross_image);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_forget(cribo_objective *objective);

/*
 * What teach found; any pointer may be NULL.
 *
 * labels, valid      [B, 2, N] and [B, K] as in cribo_cluster_output
 * objects_per_image  [B] how many clusters are valid; their sum is R
 * index1, index2     [R] as in cribo_match
 * match1, match2     [R] as in cribo_match, in steps without the cross-image loss, too
 * mask               [B, 2, N] 1: the student does not see the patch (masked_weight of a trainer); else 0
 *
 * image_capacity, object_capacity  images and objects that the arrays have room for, which must be at least B
 *                    and R; 0: not checked
 */
typedef struct cribo_targets {
    size_t struct_size; /* sizeof(cribo_targets) */
    int64_t *labels;
    uint8_t *valid;
    int64_t *objects_per_image;
    int64_t *index1;
    int64_t *index2;
    uint8_t *match1;
    uint8_t *match2;
    uint8_t *mask;
    int64_t image_capacity;
    int64_t object_capacity;
} cribo_targets;

/*
 * The targets of the latest teach.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set), CRIBO_WRONG_STATE (before the first teach, or
 * after one that failed).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_targets(
    const cribo_objective *objective, const cribo_targets *targets);

/* --- heads, centres, bank --- */

/* Which copy of the heads a call reads or writes. */
enum { CRIBO_STUDENT = 0, CRIBO_TEACHER = 1 };

/*
 * The heads' parameters: how many, number `index`, or by name ("head.mlp.0.weight", ...; as in the authors'
 * code). The same for student and teacher. parameter->struct_size is set by the caller.
 * Ownership: the parameter's name belongs to the objective.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, an index past the last, no such name).
 * Cost: none, or looks at every name.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_parameter_count(
    const cribo_objective *objective, int64_t *count);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_parameter(
    const cribo_objective *objective, int64_t index, cribo_parameter *parameter);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_find_parameter(
    const cribo_objective *objective, const char *name, cribo_parameter *parameter);

/*
 * Copies a parameter's `count` numbers out, or in. `network` is CRIBO_STUDENT or CRIBO_TEACHER.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such network or name, another count, a number that is not finite);
 * write: CRIBO_WRONG_STATE while a step is under way.
 * Cost: looks at every name; that of the copy.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_read_parameter(
    const cribo_objective *objective, int64_t network, const char *name, float *values, int64_t count);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_write_parameter(
    cribo_objective *objective, int64_t network, const char *name, const float *values, int64_t count);

/*
 * The gradient of a parameter of the student's heads, as learn left it: read it, replace it before update, by
 * its mean over several processes for example, or add to it, such as the gradient of another loss.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such name, another count, a number that is not finite); set and
 * add: CRIBO_WRONG_STATE unless all chunks have been learned and the step is not updated yet.
 * Cost: looks at every name; that of the copy.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_gradient(
    const cribo_objective *objective, const char *name, float *values, int64_t count);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_set_gradient(
    cribo_objective *objective, const char *name, const float *values, int64_t count);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_add_gradient(
    cribo_objective *objective, const char *name, const float *values, int64_t count);

/*
 * The moments of AdamW of a parameter of the student's heads (first, second: [count]), and how many updates
 * it has had; any pointer may be NULL.
 * Errors: CRIBO_INVALID_ARGUMENT (no such name, another count).
 * Cost: looks at every name; that of the copy.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_moments(const cribo_objective *objective,
    const char *name, float *first, float *second, int64_t count, int64_t *updates);

/*
 * Reads or writes the centres: centre [P], object_centre [P'], copied; either may be NULL.
 * Errors: CRIBO_INVALID_ARGUMENT (objective is NULL, a value written is not finite); set: CRIBO_WRONG_STATE
 * while a step is under way. The centres are then unchanged.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_get_centres(
    const cribo_objective *objective, float *centre, float *object_centre);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_set_centres(
    cribo_objective *objective, const float *centre, const float *object_centre);

/*
 * cribo_objective_get_centres with the sizes of the arrays: count is P, object_count is P'; that of a NULL
 * array is not read.
 * Errors: CRIBO_INVALID_ARGUMENT (objective is NULL, another count); nothing is then written.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_read_centres(const cribo_objective *objective,
    float *centre, int64_t count, float *object_centre, int64_t object_count);

/*
 * The objective's memory bank (cribo/memory_bank.h). Its content cannot be replaced while a step is under
 * way. NULL objective gives NULL.
 * Ownership: borrowed: it lives and ends with the objective; cribo_memory_bank_free does nothing to it.
 * Threads: a call on it counts as one on the objective.
 */
CRIBO_API cribo_memory_bank *cribo_objective_memory_bank(cribo_objective *objective);

/*
 * Steps updated so far.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_step_count(
    const cribo_objective *objective, int64_t *steps);

/* --- files --- */

/*
 * How a checkpoint is written.
 *
 * level            of gzip, 0 (stored) ... 9 (slowest); weights do not get smaller beyond 1
 * metadata_count   strings of the caller's own that go with it, read again by cribo_checkpoint_metadata; at
 *                  most 10 000
 * metadata_keys, metadata_values  [metadata_count] UTF-8; keys are not empty and differ from each other
 */
typedef struct cribo_save_options {
    size_t struct_size; /* sizeof(cribo_save_options) */
    int64_t level;
    int64_t metadata_count;
    const char *const *metadata_keys;
    const char *const *metadata_values;
} cribo_save_options;

/*
 * What a checkpoint may differ in.
 *
 * overrides  names of settings, separated by commas ("learning_rate,epochs"), whose values in the file do
 *            not matter: the trainer's hold. NULL or empty: none
 */
typedef struct cribo_load_options {
    size_t struct_size; /* sizeof(cribo_load_options) */
    const char *overrides;
} cribo_load_options;

/*
 * save  writes all that the objective remembers (heads of student and teacher, moments, update counts,
 *       centres, memory bank, step count) with its settings, in one gzip-compressed safetensors file
 *       (docs/checkpoints.md), atomically. `options` NULL: level 1, no metadata
 * load  restores the state of the objective that wrote the file: the next steps on the same tokens are
 *       bit-identical to those of an uninterrupted run. `options` NULL: every setting must be the same
 *
 * Errors: as cribo_trainer_save and cribo_trainer_load. After a failed save an old file of that name is as it
 * was; after a failed load the objective is unchanged.
 * Cost: save: 2.5 MiB of memory per thread; load: memory for a second copy of the state.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_save(
    const cribo_objective *objective, const char *path, const cribo_save_options *options);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_save_to(
    const cribo_objective *objective, const cribo_writer *writer, const cribo_save_options *options);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_load(
    cribo_objective *objective, const char *path, const cribo_load_options *options);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_objective_load_from(
    cribo_objective *objective, const cribo_reader *reader, const cribo_load_options *options);

#ifdef __cplusplus
}
#endif

#endif
