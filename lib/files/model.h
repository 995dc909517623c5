/*
 * The parameters of a model, or parts of them, as files: safetensors with the parameters' names after a
 * prefix.
 */
#ifndef CB_FILES_MODEL_H
#define CB_FILES_MODEL_H

#include "base/file.h"
#include "model/model.h"

/* Replaces the file at `place` atomically by the parts that are chosen. */
cribo_status cb_model_write(const cb_allocator *allocator, const cb_model *model, cb_place place,
    const char *prefix, const cribo_save_parts *parts);

/* Replaces the parts that are chosen; on failure the model is unchanged. */
cribo_status cb_model_read(const cb_runtime *runtime, cb_model *model, cb_place place, const char *prefix,
    const cribo_load_parts *parts);

#endif
