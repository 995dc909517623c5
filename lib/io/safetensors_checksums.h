/*
 * Where the checksums of a safetensors file stand. The header's comes first of all, so that its digits can be
 * found, and left out of its own sum, without parsing.
 */
#ifndef CB_IO_SAFETENSORS_CHECKSUMS_H
#define CB_IO_SAFETENSORS_CHECKSUMS_H

#define CB_CHECKSUM_BEGIN "{\"__metadata__\":{\"crc32\":\""
#define CB_CHECKSUM_NONE "00000000"
#define CB_CHECKSUM_DIGITS (sizeof CB_CHECKSUM_NONE - 1)
#define CB_CHECKSUM_PREFIX "crc32." /* + the tensor's name: its key */
#define CB_CHECKSUM_FORMAT "%08lx"

#endif
