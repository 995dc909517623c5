/* Checksums of a changed safetensors file, made right again. */
#ifndef TESTS_MEND_H
#define TESTS_MEND_H

#include <stddef.h>
#include <stdint.h>

/*
 * Sets the header's length to the end of its text, each tensor's sum to that of the bytes at its offsets, and
 * the header's sum. Parts that it cannot parse are unchanged.
 */
void mend_checksums(uint8_t *data, size_t size);

#endif
