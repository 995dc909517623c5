/* Reading a file whole, telling its format, standing pictures upright. See image.h. */
#include "pictures/image.h"

#include "pictures/kind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <png.h>

void image_free(struct image *image)
{
    free(image->pixels);
    *image = (struct image){0};
}

bool image_make(struct image *image, int width, int height, int channels, struct problem *problem)
{
    *image = (struct image){0};
    if (width < 1 || height < 1) return problem_set(problem, "it has no pixels");
    if ((int64_t)width * height > IMAGE_MOST_PIXELS)
        return problem_set(problem, "%d x %d pixels are more than the limit of %lld", width, height,
            (long long)IMAGE_MOST_PIXELS);
    size_t bytes = (size_t)width * (size_t)height * (size_t)channels;
    uint8_t *pixels = malloc(bytes);
    if (!pixels) return problem_set(problem, "no memory for %d x %d pixels", width, height);
    *image = (struct image){width, height, channels, 1, pixels, 0};
    return true;
}

unsigned image_reduction(double width, double height, double least_side)
{
    unsigned reduction = 1;
    double least = width < height ? width : height;
    if (least_side <= 0) return 1;
    while (reduction < 8 && least >= 2.0 * reduction &&
           width * height >= least_side * least_side * (4.0 * reduction * reduction))
        reduction *= 2;
    return reduction;
}

static bool is_transposed(int orientation)
{
    return orientation >= 5;
}

bool image_make_upright(
    struct image *image, int width, int height, int channels, int orientation, struct problem *problem)
{
    bool transposed = is_transposed(orientation);
    if (!image_make(image, transposed ? height : width, transposed ? width : height, channels, problem))
        return false;
    image->orientation = orientation > 1 ? orientation : 0;
    return true;
}

/* The place of a row of the file's picture in the upright one: first pixel and step, in bytes. */
struct line {
    size_t pixels;
    ptrdiff_t first, step;
};

static struct line find_row(const struct image *image, int orientation, int y)
{
    bool transposed = is_transposed(orientation);
    bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    int width = transposed ? image->height : image->width, height = transposed ? image->width : image->height;
    ptrdiff_t pixel = image->channels, row = pixel * image->width;
    ptrdiff_t along = transposed ? row : pixel, across = transposed ? pixel : row;
    struct line line = {.pixels = (size_t)width, .step = mirror_x ? -along : along};
    line.first = (mirror_y ? height - 1 - y : y) * across + (mirror_x ? (width - 1) * along : 0);
    return line;
}

void image_put_row(struct image *image, int orientation, int y, const uint8_t *row)
{
    struct line line = find_row(image, orientation, y);
    size_t channels = (size_t)image->channels;
    uint8_t *out = image->pixels + line.first;
    if (orientation <= 1) memcpy(out, row, line.pixels * channels);
    for (size_t x = 0; x < line.pixels && orientation > 1; x++, row += channels)
        memcpy(out + (ptrdiff_t)x * line.step, row, channels);
}

void image_get_row(const struct image *image, int orientation, int y, uint8_t *row)
{
    struct line line = find_row(image, orientation, y);
    size_t channels = (size_t)image->channels;
    const uint8_t *in = image->pixels + line.first;
    for (size_t x = 0; x < line.pixels; x++, row += channels)
        memcpy(row, in + (ptrdiff_t)x * line.step, channels);
}

bool image_orient(struct image *image, int orientation, struct problem *problem)
{
    struct image upright;
    size_t row = (size_t)image->width * (size_t)image->channels;
    if (orientation < 2 || orientation > 8) return true;
    if (!image_make_upright(&upright, image->width, image->height, image->channels, orientation, problem))
        return false;
    for (int y = 0; y < image->height; y++)
        image_put_row(&upright, orientation, y, image->pixels + (size_t)y * row);
    upright.reduction = image->reduction;
    image_free(image);
    *image = upright;
    return true;
}

bool image_unorient(struct image *image, struct problem *problem)
{
    static const int inverse[] = {0, 0, 2, 3, 4, 5, 8, 7, 6};
    if (!image_orient(image, inverse[image->orientation], problem)) return false;
    image->orientation = 0;
    return true;
}

void image_flatten_row(uint8_t *pixels, size_t count)
{
    const uint8_t *in = pixels;
    for (size_t i = 0; i < count; i++, in += 4, pixels += 3) {
        unsigned alpha = in[3];
        for (int c = 0; c < 3; c++) pixels[c] = (uint8_t)((in[c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
}

void image_flatten(struct image *image)
{
    image_flatten_row(image->pixels, (size_t)image->width * (size_t)image->height);
    image->channels = 3;
}

bool image_decode(struct image *image, const uint8_t *bytes, size_t size, int channels, double least_side,
    struct problem *problem)
{
    *image = (struct image){0};
    if (size == 0) return problem_set(problem, "the file is empty");
    if (channels == 1 && (size < 8 || memcmp(bytes, "\x89PNG\r\n\x1a\n", 8)))
        return problem_set(problem, "no PNG file: labels are kept in nothing else");
    if (size >= 3 && !memcmp(bytes, "\xff\xd8\xff", 3))
        return image_decode_jpeg(image, bytes, size, channels, least_side, problem);
    if (size >= 8 && !memcmp(bytes, "\x89PNG\r\n\x1a\n", 8))
        return image_decode_png(image, bytes, size, channels, least_side, problem);
#ifdef CRIBO_WEBP
    if (size >= 12 && !memcmp(bytes, "RIFF", 4) && !memcmp(bytes + 8, "WEBP", 4))
        return image_decode_webp(image, bytes, size, channels, least_side, problem);
#endif
    return problem_set(problem, "%s, not a %s picture", kind_of(bytes, size).name, kind_formats);
}

bool image_load_labels(struct image *image, const char *path, struct problem *problem)
{
    return image_load(image, path, 1, 0, problem);
}

static bool read_all(int file, uint64_t offset, uint8_t *bytes, size_t size, struct problem *problem)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(file, bytes + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return problem_set(problem, "%s", strerror(errno));
        if (got == 0) return problem_set(problem, "the file became shorter while it was read");
        done += (size_t)got;
    }
    return true;
}

/* A part of an open file. */
struct part {
    int file;
    uint64_t offset, size;
};

static bool load_part(
    struct image *image, struct part part, int channels, double least_side, struct problem *problem)
{
    if (part.size > IMAGE_MOST_BYTES)
        return problem_set(problem, "%llu bytes are more than the limit of %lld",
            (unsigned long long)part.size, (long long)IMAGE_MOST_BYTES);
    size_t size = (size_t)part.size;
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes) return problem_set(problem, "no memory for a file of %zu bytes", size);
    bool loaded = read_all(part.file, part.offset, bytes, size, problem) &&
                  image_decode(image, bytes, size, channels, least_side, problem);
    free(bytes);
    return loaded;
}

/* Opens the file; with size UINT64_MAX the part is all of it. */
static bool load(struct image *image, const char *path, struct part part, int channels, double least_side,
    struct problem *problem)
{
    struct stat status;
    *image = (struct image){0};
    part.file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* opening a FIFO must not block */
    if (part.file < 0) return problem_set(problem, "%s", strerror(errno));
    bool fine = fstat(part.file, &status) == 0 || problem_set(problem, "%s", strerror(errno));
    if (fine && !S_ISREG(status.st_mode)) fine = problem_set(problem, "not a regular file");
    if (fine && part.size == UINT64_MAX) part.size = (uint64_t)status.st_size;
    if (fine) fine = load_part(image, part, channels, least_side, problem);
    close(part.file);
    return fine;
}

bool image_load(
    struct image *image, const char *path, int channels, double least_side, struct problem *problem)
{
    return load(image, path, (struct part){.size = UINT64_MAX}, channels, least_side, problem);
}

bool image_load_part(struct image *image, const char *path, uint64_t offset, uint64_t size, int channels,
    double least_side, struct problem *problem)
{
    return load(image, path, (struct part){.offset = offset, .size = size}, channels, least_side, problem);
}

static png_image png_of(const struct image *image)
{
    return (png_image){.version = PNG_IMAGE_VERSION,
        .width = (png_uint_32)image->width,
        .height = (png_uint_32)image->height,
        .format = image->channels == 1   ? PNG_FORMAT_GRAY
                  : image->channels == 3 ? PNG_FORMAT_RGB
                                         : PNG_FORMAT_RGBA};
}

bool image_write_png(const struct image *image, const char *path, struct problem *problem)
{
    png_image png = png_of(image);
    errno = 0;
    if (png_image_write_to_file(&png, path, 0, image->pixels, 0, NULL)) return true;
    const char *reason = errno ? strerror(errno) : png.message;
    return problem_set(problem, "cannot write %s: %s", path, reason);
}

bool image_encode_png(const struct image *image, uint8_t **bytes, size_t *size, struct problem *problem)
{
    png_image png = png_of(image);
    png_alloc_size_t most = 0, used;
    *bytes = NULL;
    if (png_image_write_to_memory(&png, NULL, &most, 0, image->pixels, 0, NULL)) *bytes = malloc(most);
    used = most;
    if (*bytes && png_image_write_to_memory(&png, *bytes, &used, 0, image->pixels, 0, NULL)) {
        *size = used;
        return true;
    }
    free(*bytes);
    *bytes = NULL;
    return problem_set(problem, "cannot encode a PNG: %s", png.message[0] ? png.message : "no memory");
}
