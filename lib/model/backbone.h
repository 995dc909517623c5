/*
 * A backbone: a network that turns images into tokens, behind one table of functions. The rest of the library
 * uses only the layout of the tokens: the beginning and shape of the dense map, and the tokens of the global
 * vector. To add a backbone, write its table and name it in model.c.
 */
#ifndef CB_MODEL_BACKBONE_H
#define CB_MODEL_BACKBONE_H

#include "autograd/operations.h"
#include "base/config.h"
#include "cribo/model.h"
#include "model/parameters.h"

/* The prefix of the names of a backbone's parameters. */
#define CB_BACKBONE_NAMES "backbone."

/*
 * The tokens of one image of a given size: rows b T ... b T + T - 1 of the tokens [B T, D] of a batch.
 *
 * tokens         T, of all kinds
 * rows, columns  of the dense map; N = rows columns
 * dense          index of the first dense token; the others follow, row by row
 * global         the global vector is the mean of the tokens global ... global + global_count - 1: of one
 * global_count   token such as [CLS], or of the dense map
 */
typedef struct cb_token_layout {
    size_t tokens, rows, columns, dense, global, global_count;
} cb_token_layout;

/* N, the tokens of the dense map. */
static inline size_t cb_layout_patches(const cb_token_layout *layout)
{
    return layout->rows * layout->columns;
}

/* Copies the global vectors [B, D] of tokens [B T, D]. */
void cb_layout_copy_global(
    const cb_token_layout *layout, const cb_real *tokens, size_t images, size_t width, cb_real *global);

/* Appends the global vector of the image whose first token is `first` as a row of a pooling. */
void cb_layout_pool_global(const cb_token_layout *layout, size_t first, cb_pooling *pooling);

/*
 * How a backbone is trained. Its embedding and first blocks may be frozen: they are never trained, so student
 * and teacher share the computed tokens (cb_backbone_trunk).
 */
typedef struct cb_training {
    size_t frozen_blocks; /* 0: nothing is frozen, not even the embedding */
    double layer_decay;   /* factor of the learning rate from a block to the one before it */
} cb_training;

/* All of it, at one learning rate. */
extern const cb_training cb_train_all;

/* Optional arguments of a forward pass. */
typedef struct cb_forward_options {
    const cb_real *keep;    /* stochastic depth: [depth, 2, B] factors of a block's two branches
                            (cb_op_residual); NULL: all 1 */
    cb_real *attention;     /* [B, heads, T] shares of the last block's global query; NULL: not computed */
    const cb_tensor *trunk; /* outputs of the frozen blocks; NULL: they are computed */
    const uint8_t *mask;    /* [B, N] 1: the patch is masked; NULL: none is. Needs the mask token, and no
                            frozen blocks */
} cb_forward_options;

/*
 * The functions of one kind of backbone.
 *
 * create     allocates the network that the settings describe, without parameters; the settings are in range
 *            and no more blocks are frozen than there are
 * free       frees it; NULL is fine
 * describe   adds the parameters under CB_BACKBONE_NAMES, in a fixed order, and binds the network's views
 * layout     of the tokens of an image, whose sides are multiples of the patch size
 * forward    tokens [B T, D]; their gradient shares their memory. On a tape that measures it plans a pass
 * trunk      the outputs [B T, D] of the frozen blocks, on a tape that does not train
 * pack       packs the weights of its linear maps for inference, in memory of the arena, which may measure;
 *            arena NULL: each use packs them again
 * resamples  whether a tensor can be resampled to a parameter with another number of rows: positions of
 *            another image size
 * resample   resamples values [length, D] to the parameter's shape. Fails only for lack of memory
 */
typedef struct cb_backbone_table {
    const char *name;
    cribo_status (*create)(const cb_allocator *allocator, void **network, const cribo_model_config *config,
        const cb_training *training);
    void (*free)(const cb_allocator *allocator, void *network);
    void (*describe)(void *network, cb_parameters *parameters);
    cb_token_layout (*layout)(const void *network, size_t height, size_t width);
    cb_tensor (*forward)(
        const void *network, cb_tape *tape, const cb_images *images, const cb_forward_options *options);
    cb_tensor (*trunk)(const void *network, cb_tape *tape, const cb_images *images);
    void (*pack)(void *network, bool bf16, cb_pool *pool, cb_arena *arena);
    bool (*resamples)(const void *network, const cb_parameter *parameter, size_t length);
    cribo_status (*resample)(const cb_runtime *runtime, const void *network, const cb_parameter *parameter,
        cb_real *values, size_t length, cb_real *to);
} cb_backbone_table;

/* A network with its table. Zeroed: none. */
typedef struct cb_backbone {
    const cb_backbone_table *table;
    void *network;
    size_t width, depth, heads; /* D of a token; blocks; attention maps that a forward pass can give */
} cb_backbone;

cribo_status cb_backbone_create(const cb_allocator *allocator, cb_backbone *backbone,
    const cb_backbone_table *table, const cribo_model_config *config, const cb_training *training);
void cb_backbone_free(const cb_allocator *allocator, cb_backbone *backbone);

/* The table's functions of a backbone. */
void cb_backbone_describe(cb_backbone *backbone, cb_parameters *parameters);
cb_token_layout cb_backbone_layout(const cb_backbone *backbone, size_t height, size_t width);
cb_tensor cb_backbone_forward(
    const cb_backbone *backbone, cb_tape *tape, const cb_images *images, const cb_forward_options *options);
cb_tensor cb_backbone_trunk(const cb_backbone *backbone, cb_tape *tape, const cb_images *images);
void cb_backbone_pack(cb_backbone *backbone, bool bf16, cb_pool *pool, cb_arena *arena);
bool cb_backbone_resamples(const cb_backbone *backbone, const cb_parameter *parameter, size_t length);
cribo_status cb_backbone_resample(const cb_runtime *runtime, const cb_backbone *backbone,
    const cb_parameter *parameter, cb_real *values, size_t length, cb_real *to);

#endif
