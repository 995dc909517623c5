/* The keys of our files' metadata, for writing and reading. See docs/checkpoints.md. */
#ifndef CB_FILES_METADATA_H
#define CB_FILES_METADATA_H

#define CB_CHECKPOINT_FORMAT_KEY "format"
#define CB_CHECKPOINT_STEP_KEY "step"
#define CB_CHECKPOINT_CALLER "caller." /* + the caller's key */

#endif
