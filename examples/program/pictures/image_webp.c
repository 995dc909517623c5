/* WebP through libwebp, which decodes into the picture's own memory and can shrink it on the way. */
#include "pictures/image.h"

#include <string.h>

#include <webp/decode.h>

static uint32_t read32(const uint8_t *bytes)
{
    return (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[1] << 8 | bytes[0];
}

/* Of the EXIF chunk, which some programs begin as JPEG's marker does. */
static int find_orientation(const uint8_t *webp, size_t size)
{
    enum { RIFF = 12, FRAME = 8 };
    for (size_t at = RIFF; at < size && size - at >= FRAME;) {
        const uint8_t *chunk = webp + at;
        size_t length = read32(chunk + 4);
        if (length > size - at - FRAME) return 1;
        if (!memcmp(chunk, "EXIF", 4)) {
            size_t marker = length >= 6 && !memcmp(chunk + FRAME, "Exif\0", 6) ? 6 : 0;
            return exif_orientation(chunk + FRAME + marker, length - marker);
        }
        at += FRAME + length + length % 2;
    }
    return 1;
}

static const char *status_text(VP8StatusCode status)
{
    switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY: return "no memory for a WebP picture";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "unsupported WebP: a feature that libwebp does not know";
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA: return "broken WebP: the data end early";
    default: return "broken WebP: damaged data";
    }
}

/* Whole pixels only, so that crops stay inside of the original. */
static void shrink(WebPDecoderOptions *options, const struct image *image, int reduction)
{
    options->use_cropping = options->use_scaling = reduction > 1;
    options->crop_width = image->width * reduction;
    options->crop_height = image->height * reduction;
    options->scaled_width = image->width;
    options->scaled_height = image->height;
}

bool image_decode_webp(struct image *image, const uint8_t *bytes, size_t size, int channels,
    double least_side, struct problem *problem)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) return problem_set(problem, "another version of libwebp");
    VP8StatusCode status = WebPGetFeatures(bytes, size, &config.input);
    if (status != VP8_STATUS_OK) return problem_set(problem, "%s", status_text(status));
    if (config.input.has_animation) return problem_set(problem, "unsupported WebP: an animation");
    int width = config.input.width, height = config.input.height;
    int reduction = (int)image_reduction(width, height, least_side);
    bool alpha = channels == 4 || config.input.has_alpha;
    if (!image_make(image, width / reduction, height / reduction, alpha ? 4 : 3, problem)) return false;
    image->reduction = reduction;
    shrink(&config.options, image, reduction);
    config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = image->pixels;
    config.output.u.RGBA.stride = image->width * image->channels;
    config.output.u.RGBA.size = (size_t)image->height * (size_t)config.output.u.RGBA.stride;
    status = WebPDecode(bytes, size, &config);
    WebPFreeDecBuffer(&config.output);
    bool decoded = status == VP8_STATUS_OK || problem_set(problem, "%s", status_text(status));
    if (decoded && channels < image->channels) image_flatten(image);
    decoded = decoded && image_orient(image, find_orientation(bytes, size), problem);
    if (!decoded) image_free(image);
    return decoded;
}
