/* Indexes of pictures: what is mapped can be walked from end to end. */
#include "fuzz/fuzz.h"
#include "pictures/picture_index.h"

#include <string.h>
#include <zlib.h>

/* The sum of what follows the header. */
size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)room;
    const size_t header = sizeof(struct picture_header);
    if (size < header) return size;
    uint64_t sum = crc32(crc32(0, NULL, 0), data + header, (uInt)(size - header));
    memcpy(data + offsetof(struct picture_header, crc), &sum, sizeof sum);
    return size;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct pictures pictures;
    bool mapped = index_read(&pictures, fuzz_file(data, size));
    fuzz_answer(mapped, "no index"); /* it is made anew without a message */
    for (size_t i = 0; mapped && i < pictures.count; i++) {
        char name[300];
        pictures_name(&pictures, i, name, sizeof name);
        FUZZ_EXPECT(memchr(name, '\0', sizeof name), "a name does not end");
    }
    if (mapped) pictures_close(&pictures);
    FUZZ_EXPECT(!pictures.content, "a map is left");
}
