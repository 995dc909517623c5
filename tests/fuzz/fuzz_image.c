/* Pictures: what is decoded is whole and of a size that is allowed; the EXIF reader by itself, too. */
#include "fuzz/fuzz.h"
#include "pictures/image.h"

#include <stdlib.h>

size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)data;
    (void)room;
    return size;
}

static volatile unsigned sum; /* of all pixels: each is there to be read */

static void read_pixels(const struct image *image)
{
    for (size_t i = 0; i < (size_t)image->width * (size_t)image->height * (size_t)image->channels; i++)
        sum += image->pixels[i];
}

static void decode(const uint8_t *data, size_t size, int channels, double least_side)
{
    struct problem problem = {""};
    struct image image;
    bool decoded = image_decode(&image, data, size, channels, least_side, &problem);
    fuzz_answer(decoded, problem.text);
    FUZZ_EXPECT(decoded == (image.pixels != NULL), "a picture and its pixels disagree");
    if (!decoded) return;
    FUZZ_EXPECT(
        image.width > 0 && image.height > 0 && (int64_t)image.width * image.height <= IMAGE_MOST_PIXELS,
        "%d x %d", image.width, image.height);
    FUZZ_EXPECT(image.channels == channels, "%d channels", image.channels);
    read_pixels(&image);
    image_free(&image);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    decode(data, size, 3, 0);
    decode(data, size, 4, 16);
    decode(data, size, 1, 0); /* labels */
    int orientation = exif_orientation(data, size);
    FUZZ_EXPECT(orientation >= 1 && orientation <= 8, "orientation %d", orientation);
}
