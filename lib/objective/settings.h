/*
 * The settings of the objective. A trainer has them, too, under the same names: CB_METHOD_SETTINGS lists them
 * for both tables, in the order of both structs.
 */
#ifndef CB_OBJECTIVE_SETTINGS_H
#define CB_OBJECTIVE_SETTINGS_H

#include "base/config.h"
#include "cribo/objective.h"
#include "model/model.h"

extern const cb_config_table cb_objective_settings;

#define CB_METHOD_SETTINGS(T) \
    CB_INTEGER(T, head_hidden, 1, 65536, 2048, "hidden width of the projection heads' MLPs"), \
        CB_INTEGER(T, head_bottleneck, 1, 65536, 256, \
            "output width of the projection heads' MLPs, before the prototypes"), \
        CB_INTEGER(T, prototypes, 1, 16777216, 65536, "prototypes of the [CLS] head"), \
        CB_INTEGER(T, object_prototypes, 1, 16777216, 65536, "prototypes of the object head"), \
        CB_INTEGER( \
            T, normed_last_layer, 0, 1, 0, "1: keep the gains of the prototype layers at 1; 0: train them"), \
\
        CB_INTEGER(T, clusters, 1, 4096, 32, \
            "clusters per image; only the clusters that both views contain become objects"), \
        CB_REAL(T, position_weight, 0, 1e6, 1, \
            "weight of the distance between positions in the clustering cost, first epoch"), \
        CB_REAL(T, position_weight_final, 0, 1e6, 1, \
            "weight of the distance between positions in the clustering cost, last epoch"), \
        CB_REAL(T, sinkhorn_lambda, 0.001, 1e4, 20, \
            "inverse temperature of the clustering's transport plan; larger is sharper"), \
        CB_INTEGER(T, sinkhorn_iterations, 1, 1000, 5, \
            "Sinkhorn iterations (row and column scalings) per cluster assignment"), \
        CB_INTEGER(T, cluster_iterations, 1, 1000, 5, \
            "cluster iterations: assignments, each followed by an update of the means"), \
        CB_INTEGER(T, update_marginal, 0, 1, 1, \
            "1: set the clusters' masses to their sizes after each iteration; 0: keep them equal"), \
        CB_INTEGER(T, hard_assignment, 0, 1, 1, \
            "1: each token belongs to one cluster; 0: tokens are shared among the clusters"), \
        CB_INTEGER(T, batch_cost, 0, 1, 0, \
            "1: normalise the clustering cost over a group of images, as the authors' code; 0: per image"), \
\
        CB_INTEGER(T, bank_images, 1, 2147483648, 25000, \
            "capacity of the memory bank in images; the oldest are replaced first"), \
        CB_REAL(T, cross_image_epochs, 0, 1e9, 1, "epochs before the cross-image loss starts"), \
        CB_INTEGER(T, cross_image_steps, 0, 1e15, 0, \
            "steps before the cross-image loss starts; 0: cross_image_epochs counts"), \
        CB_INTEGER(T, cross_image_objects, 1, 1e15, 1, \
            "minimum number of objects in the bank before the cross-image loss starts"), \
\
        CB_REAL(T, student_temperature, 1e-4, 1e4, 0.1, "student's softmax temperature for the [CLS] loss"), \
        CB_REAL(T, object_student_temperature, 1e-4, 1e4, 0.1, \
            "student's softmax temperature for the object losses"), \
        CB_REAL(T, teacher_temperature_start, 1e-4, 1e4, 0.04, \
            "teacher's softmax temperature for the [CLS] loss in the first epoch"), \
        CB_REAL(T, teacher_temperature, 1e-4, 1e4, 0.07, \
            "teacher's softmax temperature for the [CLS] loss after its warm-up"), \
        CB_REAL(T, object_teacher_temperature_start, 1e-4, 1e4, 0.04, \
            "teacher's softmax temperature for the object losses in the first epoch"), \
        CB_REAL(T, object_teacher_temperature, 1e-4, 1e4, 0.07, \
            "teacher's softmax temperature for the object losses after its warm-up"), \
        CB_REAL(T, teacher_temperature_epochs, 0, 1e9, 30, \
            "epochs in which the teacher's temperatures go linearly to their final values"), \
        CB_INTEGER(T, teacher_temperature_steps, 0, 1e15, 0, \
            "steps in which the teacher's temperatures go linearly to their final values; 0: " \
            "teacher_temperature_epochs counts"), \
        CB_REAL(T, centre_momentum, 0, 1, 0.9, \
            "momentum of the moving averages that centre the teacher's outputs; 1: constant centres"), \
        CB_INTEGER(T, authors_normalisation, 0, 1, 0, \
            "1: scale the losses as the authors' code does; 0: as the paper does"), \
\
        CB_INTEGER( \
            T, batch_size, 1, 1048576, 256, "maximum images per batch; the learning rate scales with it"), \
        CB_INTEGER(T, micro_batch, 1, 1048576, 4, \
            "images per forward and backward pass: affects memory and speed, results only by rounding"), \
        CB_REAL(T, learning_rate, 0, 1e6, 5e-4, "peak learning rate per 256 images of batch_size"), \
        CB_REAL(T, learning_rate_final, 0, 1e6, 1e-5, \
            "learning rate at the end of the cosine schedule, for any batch_size"), \
        CB_REAL(T, warmup_epochs, 0, 1e9, 10, "epochs of the learning rate's linear warm-up from 0"), \
        CB_INTEGER(T, warmup_steps, 0, 1e15, 0, \
            "steps of the learning rate's linear warm-up from 0; 0: warmup_epochs counts"), \
        CB_REAL(T, weight_decay, 0, 1e6, 0.04, "weight decay at the start; biases and norms have none"), \
        CB_REAL(T, weight_decay_final, 0, 1e6, 0.4, "weight decay at the end of the cosine schedule"), \
        CB_REAL(T, ema_momentum, 0, 1, 0.996, \
            "momentum of the teacher's weights (exponential moving average) at the start"), \
        CB_REAL(T, ema_momentum_final, 0, 1, 1, \
            "momentum of the teacher's weights at the end of the cosine schedule"), \
        CB_REAL(T, clip_norm, 0, 1e30, 0, "maximum norm of the gradient; 0: no clipping"), \
        CB_INTEGER(T, clip_per_tensor, 0, 1, 0, \
            "1: clip_norm bounds each tensor's gradient, as in the authors' code; 0: the global norm"), \
        CB_REAL(T, freeze_last_layer_epochs, 0, 1e9, 1, \
            "epochs with frozen prototype layers (the heads' last layers)"), \
        CB_INTEGER(T, freeze_last_layer_steps, 0, 1e15, 0, \
            "steps with frozen prototype layers; 0: freeze_last_layer_epochs counts"), \
        CB_REAL(T, epochs, 0, 1e9, 300, "length of the training and of its schedules in epochs"), \
        CB_INTEGER(T, steps_per_epoch, 0, 1e12, 0, \
            "steps per epoch: converts the settings in epochs to steps; 0: no setting is in epochs"), \
        CB_INTEGER(T, total_steps, 0, 1e15, 0, \
            "length of the training and of its schedules in steps; 0: epochs counts"), \
        CB_INTEGER(T, seed, 0, 9007199254740992, 0, "seed of every random choice"), \
\
        CB_REAL(T, global_weight, 0, 1e6, 1, "weight of the [CLS] loss in the total; 0: not computed"), \
        CB_REAL(T, cross_view_weight, 0, 1e6, 1, \
            "weight of the cross-view object loss in the total; 0: not computed"), \
        CB_REAL(T, cross_image_weight, 0, 1e6, 1, \
            "weight of the cross-image object loss in the total; 0: not computed"), \
\
        CB_CHOICE(T, precision, cb_precisions, CRIBO_FLOAT32, CB_PRECISION_HELP)

#define CB_RATE_SETTING(T) \
    CB_INTEGER(T, learning_rate_batch, 0, 1048576, 256, \
        "batch size that learning_rate is given for; it is scaled to batch_size. 0: it is not scaled")

#define CB_GROUP_SETTING(T) \
    CB_INTEGER(T, group_images, 0, 1048576, 0, \
        "images per group, over which cost, cycle test and losses are normalised; 0: the whole batch")

#define CB_SHARDS_SETTING(T) \
    CB_INTEGER(T, shards, 1, 65536, 1, \
        "parts of a batch whose gradients are added by a fixed binary tree, a power of two; results are " \
        "bit-identical for every number of processes that divides it")

#define CB_EXCHANGE_SETTING(T) \
    CB_CHOICE(T, exchange_precision, cb_precisions, CRIBO_FLOAT32, \
        "precision to which the gradients of shards are rounded before they are added: float32, or bf16, " \
        "which halves the gradients' bytes that processes exchange")

#define CB_CENTRING_SETTING(T) \
    CB_INTEGER(T, sinkhorn_centring, 0, 100, 0, \
        "iterations of Sinkhorn-Knopp centring of the teacher's distributions (DINOv2: 3); 0: moving mean")

#define CB_KOLEO_SETTINGS(T) \
    CB_REAL(T, koleo_weight, 0, 1e6, 0, \
        "weight of the KoLeo regulariser of the student's [CLS] vectors (DINOv2: 0.1); 0: not computed"), \
        CB_REAL(T, object_koleo_weight, 0, 1e6, 0, \
            "weight of the KoLeo regulariser of the student's objects; 0: not computed")

/*
 * A loss of weight 0 is not computed: objects are searched only for their losses, and stored only as
 * neighbours.
 */
static inline bool cb_uses_neighbours(const cribo_objective_config *config)
{
    return config->cross_image_weight > 0;
}

static inline bool cb_uses_objects(const cribo_objective_config *config)
{
    return config->cross_view_weight > 0 || config->object_koleo_weight > 0 || cb_uses_neighbours(config);
}

static inline bool cb_uses_koleo(const cribo_objective_config *config)
{
    return config->koleo_weight > 0 || config->object_koleo_weight > 0;
}

#endif
