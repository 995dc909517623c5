/*
 * A digest of bytes: tells apart what is not the same by accident. Not for adversaries, and not for files:
 * its values may change from version to version.
 */
#ifndef CB_BASE_DIGEST_H
#define CB_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* The digest of `count` bytes after those that `digest` stands for; 0 to begin. NULL: `digest` itself. */
uint64_t cb_digest(uint64_t digest, const void *bytes, size_t count);

#endif
