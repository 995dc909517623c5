/* See segmentation_view.h. */
#include "pictures/segmentation_view.h"

#include "pictures/augment.h"

#include <math.h>

static const double least_area = 0.5, most_area = 2.0, jitter_strength = 0.1, jitter_chance = 0.5;

struct segmentation_view segmentation_view_of(const double *draws, int width, int height)
{
    struct recipe recipe = recipe_published();
    recipe.crop_area_min = least_area;
    recipe.crop_area_max = most_area;
    struct segmentation_view view = {.box = choose_crop(&recipe, draws, width, height)};
    for (int i = 0; i < JITTERS; i++) {
        double draw = (2 * draws[CROP_DRAWS + 2 * i + 1] - 1) * jitter_strength;
        view.jittered[i] = draws[CROP_DRAWS + 2 * i] < jitter_chance;
        view.jitter[i] = i < JITTERS - 1 ? 1 + draw : draw;
    }
    return view;
}

/* away + factor (value - away), cut off to a byte. */
static uint8_t blend(uint8_t away, uint8_t value, float factor)
{
    float mixed = (float)away + factor * (float)(value - away);
    return mixed <= 0 ? 0 : mixed >= 255 ? 255 : (uint8_t)mixed;
}

/* Luma by ITU-R 601 in 16 bits. */
static uint8_t grey_of(const uint8_t *pixel)
{
    return (uint8_t)((pixel[0] * 19595 + pixel[1] * 38470 + pixel[2] * 7471 + 0x8000) >> 16);
}

static size_t pixels_of(const struct image *image)
{
    return (size_t)image->width * (size_t)image->height;
}

static void brighten(struct image *image, double factor)
{
    for (size_t i = 0; i < 3 * pixels_of(image); i++)
        image->pixels[i] = blend(0, image->pixels[i], (float)factor);
}

static void contrast(struct image *image, double factor)
{
    double sum = 0;
    for (size_t i = 0; i < pixels_of(image); i++) sum += grey_of(image->pixels + 3 * i);
    uint8_t mean = (uint8_t)(sum / (double)pixels_of(image) + 0.5);
    for (size_t i = 0; i < 3 * pixels_of(image); i++)
        image->pixels[i] = blend(mean, image->pixels[i], (float)factor);
}

static void saturate(struct image *image, double factor)
{
    uint8_t *pixel = image->pixels;
    for (size_t i = 0; i < pixels_of(image); i++, pixel += 3) {
        uint8_t grey = grey_of(pixel);
        for (int c = 0; c < 3; c++) pixel[c] = blend(grey, pixel[c], (float)factor);
    }
}

static uint8_t byte_of(double value)
{
    return value <= 0 ? 0 : value >= 255 ? 255 : (uint8_t)value;
}

/* Hue and saturation of a pixel in bytes, value is its greatest colour. */
static void to_hsv(const uint8_t *pixel, uint8_t hsv[3])
{
    uint8_t r = pixel[0], g = pixel[1], b = pixel[2];
    uint8_t most = r > g ? (r > b ? r : b) : (g > b ? g : b),
            least = r < g ? (r < b ? r : b) : (g < b ? g : b);
    hsv[0] = hsv[1] = 0;
    hsv[2] = most;
    if (most == least) return;
    float range = (float)(most - least);
    float red = (float)(most - r) / range, green = (float)(most - g) / range,
          blue = (float)(most - b) / range;
    float sector = (float)(r == most   ? (double)(blue - green)
                           : g == most ? 2.0 + (double)red - (double)blue
                                       : 4.0 + (double)green - (double)red);
    float hue = (float)fmod((double)sector / 6.0 + 1.0, 1.0);
    hsv[0] = byte_of(hue * 255.0);
    hsv[1] = byte_of(range / (float)most * 255.0);
}

static void from_hsv(const uint8_t hsv[3], uint8_t *pixel)
{
    if (hsv[1] == 0) {
        pixel[0] = pixel[1] = pixel[2] = hsv[2];
        return;
    }
    double place = hsv[0] * 6.0 / 255.0, part = place - floor(place), strength = hsv[1] / 255.0;
    uint8_t value = hsv[2];
    uint8_t low = byte_of(round(value * (1.0 - strength)));
    uint8_t falling = byte_of(round(value * (1.0 - strength * part)));
    uint8_t rising = byte_of(round(value * (1.0 - strength * (1.0 - part))));
    const uint8_t colours[6][3] = {{value, rising, low}, {falling, value, low}, {low, value, rising},
        {low, falling, value}, {rising, low, value}, {value, low, falling}};
    for (int c = 0; c < 3; c++) pixel[c] = colours[(int)place % 6][c];
}

static void turn_hue(struct image *image, double turn)
{
    uint8_t hsv[3], *pixel = image->pixels;
    uint8_t step = (uint8_t)(int)(turn * 255); /* toward 0; a turn backwards wraps round */
    for (size_t i = 0; i < pixels_of(image); i++, pixel += 3) {
        to_hsv(pixel, hsv);
        hsv[0] = (uint8_t)(hsv[0] + step);
        from_hsv(hsv, pixel);
    }
}

bool segmentation_view_pixels(
    const struct segmentation_view *view, struct image *image, int size, float *out, struct problem *problem)
{
    static void (*const change[JITTERS])(struct image *, double) = {brighten, contrast, saturate, turn_hue};
    for (int i = 0; i < JITTERS; i++)
        if (view->jittered[i]) change[i](image, view->jitter[i]);
    return resample_bilinear(image, view->box, size, size, out, problem);
}
