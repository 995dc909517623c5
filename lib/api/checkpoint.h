/* What a checkpoint's metadata are called, on both sides. See docs/checkpoints.md. */
#ifndef CB_API_CHECKPOINT_H
#define CB_API_CHECKPOINT_H

#define CB_CHECKPOINT_FORMAT_KEY "format"
#define CB_CHECKPOINT_FORMAT "cribo checkpoint 1"
#define CB_CHECKPOINT_STEP_KEY "step"
#define CB_CHECKPOINT_CALLER "caller." /* + the caller's key */

#endif
