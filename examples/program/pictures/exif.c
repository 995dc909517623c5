/*
 * Reads one tag of EXIF: 0x0112, the orientation of the camera. EXIF is a TIFF structure: byte order, offset
 * of the first directory, then entries of 12 bytes (tag, type, count, value). Everything is checked against
 * the size; an invalid structure counts as upright.
 */
#include "pictures/image.h"

static unsigned read16(const uint8_t *bytes, bool big)
{
    return big ? (unsigned)bytes[0] << 8 | bytes[1] : (unsigned)bytes[1] << 8 | bytes[0];
}

static size_t read32(const uint8_t *bytes, bool big)
{
    size_t first = read16(bytes, big), second = read16(bytes + 2, big);
    return big ? first << 16 | second : second << 16 | first;
}

int exif_orientation(const uint8_t *tiff, size_t size)
{
    enum { ENTRY = 12, ORIENTATION = 0x0112, SHORT = 3 };
    if (size < 8) return 1;
    bool big = tiff[0] == 'M' && tiff[1] == 'M';
    if (!big && !(tiff[0] == 'I' && tiff[1] == 'I')) return 1;
    size_t directory = read32(tiff + 4, big);
    if (read16(tiff + 2, big) != 42 || directory > size - 2) return 1;
    size_t entries = read16(tiff + directory, big), fitting = (size - directory - 2) / ENTRY;
    for (size_t i = 0; i < entries && i < fitting; i++) {
        const uint8_t *entry = tiff + directory + 2 + i * ENTRY;
        if (read16(entry, big) != ORIENTATION || read16(entry + 2, big) != SHORT) continue;
        unsigned value = read16(entry + 8, big);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
