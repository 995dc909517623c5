/*
 * JPEG through libjpeg-turbo. The library reports errors by a callback that must not return: ours jumps back
 * to image_decode_jpeg. Where the library would only warn and fill in grey (data that end early), we call it
 * an error as well.
 */
#include "pictures/image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

/* A progressive file may have any number of scans over the whole picture; real ones have about ten. */
enum { MOST_SCANS = 200 };

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    struct problem *problem;
    struct image *image;
    uint8_t *row; /* [4 * width] of a CMYK picture */
};

static struct decoder *decoder_of(j_common_ptr jpeg)
{
    return jpeg->client_data;
}

static void give_up(j_common_ptr jpeg)
{
    char text[JMSG_LENGTH_MAX];
    struct decoder *decoder = decoder_of(jpeg);
    jpeg->err->format_message(jpeg, text);
    problem_set(decoder->problem, "broken JPEG: %s", text);
    longjmp(decoder->escape, 1);
}

static void hear_message(j_common_ptr jpeg, int level)
{
    if (level >= 0) return; /* traces */
    int code = jpeg->err->msg_code;
    if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER) give_up(jpeg);
}

static void hear_progress(j_common_ptr jpeg)
{
    struct decoder *decoder = decoder_of(jpeg);
    if (decoder->jpeg.input_scan_number <= MOST_SCANS) return;
    problem_set(decoder->problem, "broken JPEG: more than %d scans", MOST_SCANS);
    longjmp(decoder->escape, 1);
}

static void print_nothing(j_common_ptr jpeg)
{
    (void)jpeg;
}

static int orientation_of(const struct jpeg_decompress_struct *jpeg)
{
    for (jpeg_saved_marker_ptr marker = jpeg->marker_list; marker; marker = marker->next) {
        if (marker->marker == JPEG_APP0 + 1 && marker->data_length > 6 && !memcmp(marker->data, "Exif\0", 6))
            return exif_orientation(marker->data + 6, marker->data_length - 6);
    }
    return 1;
}

/*
 * The largest of 1, 2, 4, 8 by which the picture may shrink and keep the root of its area at least
 * least_side.
 */
static unsigned choose_reduction(double width, double height, double least_side)
{
    unsigned reduction = 1;
    if (least_side <= 0) return 1;
    while (reduction < 8 && width * height >= least_side * least_side * (4.0 * reduction * reduction))
        reduction *= 2;
    return reduction;
}

/* Adobe's programs, which write nearly all CMYK files, store the inks inverted. */
static void inks_to_rgb(const uint8_t *inks, int width, bool inverted, uint8_t *out)
{
    for (int x = 0; x < width; x++, inks += 4, out += 3) {
        for (int c = 0; c < 3; c++) {
            int light = inverted ? inks[c] : 255 - inks[c], key = inverted ? inks[3] : 255 - inks[3];
            out[c] = (uint8_t)((light * key + 127) / 255);
        }
    }
}

static void add_opaque_alpha(uint8_t *row, int width)
{
    for (int x = width - 1; x >= 0; x--) {
        uint8_t red = row[3 * x], green = row[3 * x + 1], blue = row[3 * x + 2];
        row[4 * x] = red;
        row[4 * x + 1] = green;
        row[4 * x + 2] = blue;
        row[4 * x + 3] = 255;
    }
}

static void read_rows(struct decoder *decoder)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    struct image *image = decoder->image;
    bool cmyk = jpeg->out_color_space == JCS_CMYK;
    while (jpeg->output_scanline < jpeg->output_height) {
        int y = (int)jpeg->output_scanline;
        bool beyond = y >= image->height;
        uint8_t *out =
            image->pixels + (size_t)(beyond ? 0 : y) * (size_t)image->width * (size_t)image->channels;
        JSAMPROW row = decoder->row;
        jpeg_read_scanlines(jpeg, &row, 1);
        if (beyond) continue;
        if (cmyk)
            inks_to_rgb(row, image->width, jpeg->saw_Adobe_marker, out);
        else
            memcpy(out, row, 3 * (size_t)image->width);
        if (image->channels == 4) add_opaque_alpha(out, image->width);
    }
}

/* Runs between setjmp and the end: any call into libjpeg may jump away. */
static bool decode(struct decoder *decoder, int channels, double least_side)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    jpeg_read_header(jpeg, TRUE);
    int width = (int)jpeg->image_width, height = (int)jpeg->image_height;
    if ((int64_t)width * height > IMAGE_MOST_PIXELS)
        return problem_set(decoder->problem, "%d x %d pixels are more than the limit of %lld", width, height,
            (long long)IMAGE_MOST_PIXELS);
    bool cmyk = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    unsigned reduction = choose_reduction(width, height, least_side);
    jpeg->scale_num = 1;
    jpeg->scale_denom = reduction;
    jpeg_start_decompress(jpeg);
    /* libjpeg rounds the reduced size up; whole pixels only, so that crops stay inside of the original. */
    int whole_width = width / (int)reduction, whole_height = height / (int)reduction;
    if (!image_make(decoder->image, whole_width, whole_height, channels, decoder->problem)) return false;
    decoder->image->reduction = reduction;
    decoder->row = malloc(4 * (size_t)jpeg->output_width);
    if (!decoder->row) return problem_set(decoder->problem, "no memory for a row of %d pixels", width);
    read_rows(decoder);
    int orientation = orientation_of(jpeg); /* the next call forgets the markers */
    jpeg_finish_decompress(jpeg);
    return image_orient(decoder->image, orientation, decoder->problem);
}

bool image_decode_jpeg(struct image *image, const uint8_t *bytes, size_t size, int channels,
    double least_side, struct problem *problem)
{
    struct decoder decoder = {.problem = problem, .image = image};
    volatile bool decoded = false;
    decoder.jpeg.err = jpeg_std_error(&decoder.errors);
    decoder.errors.error_exit = give_up;
    decoder.errors.emit_message = hear_message;
    decoder.errors.output_message = print_nothing;
    decoder.progress.progress_monitor = hear_progress;
    decoder.jpeg.client_data = &decoder;
    if (!setjmp(decoder.escape)) {
        jpeg_create_decompress(&decoder.jpeg); /* keeps err and client_data */
        decoder.jpeg.progress = &decoder.progress;
        jpeg_save_markers(&decoder.jpeg, JPEG_APP0 + 1, 0xFFFF);
        jpeg_mem_src(&decoder.jpeg, bytes, size);
        decoded = decode(&decoder, channels, least_side);
    }
    jpeg_destroy_decompress(&decoder.jpeg);
    free(decoder.row);
    if (!decoded) image_free(image);
    return decoded;
}
