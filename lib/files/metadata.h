/* The keys of our files' metadata, for writing and reading. See docs/checkpoints.md. */
#ifndef CB_FILES_METADATA_H
#define CB_FILES_METADATA_H

/* Hugging Face's loaders require this pair. */
#define CB_FORMAT_KEY "format"
#define CB_FORMAT "pt"

/* The kind of our file, and the version of its format. */
#define CB_KIND_KEY "cribo"
#define CB_KIND_CHECKPOINT "checkpoint 1" /* of a trainer */
#define CB_KIND_OBJECTIVE "objective 1"
#define CB_KIND_WEIGHTS "weights 1" /* student and teacher of a training run */
#define CB_KIND_MODEL "model 1"     /* one model */
#define CB_KIND_BANK "bank 1"

/* Early files have a checkpoint's kind as their format: "cribo checkpoint 1". */
#define CB_OLD_FORMAT_BEGIN "cribo "

#define CB_CHECKPOINT_STEP_KEY "step"
#define CB_CHECKPOINT_CALLER "caller." /* + the caller's key */

#endif
