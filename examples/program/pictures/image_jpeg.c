/*
 * JPEG through libjpeg-turbo. The library reports errors by a callback that must not return: ours jumps back
 * to image_decode_jpeg. Damage for which the library only warns, and continues with grey or with pixels in
 * wrong places, is refused as well; see is_harmless for the accepted warnings.
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

/* Some programs fill up with zeros before a marker. */
enum { MOST_PADDING = 16 };

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    struct problem *problem;
    struct image *image;
    uint8_t *row, *inks; /* [4 * width] each: of the picture, and of a CMYK file */
    const uint8_t *end;  /* of the file's bytes */
    bool ended_early;    /* they end before the end marker */
};

static struct decoder *decoder_of(j_common_ptr jpeg)
{
    return jpeg->client_data;
}

/* Whether the error means that libjpeg does not support this kind of file, which may be intact. */
static bool is_unsupported(int code)
{
    static const int codes[] = {JERR_ARITH_NOTIMPL, JERR_BAD_PRECISION, JERR_CCIR601_NOTIMPL,
        JERR_CONVERSION_NOTIMPL, JERR_FRACT_SAMPLE_NOTIMPL, JERR_NOTIMPL, JERR_NOT_COMPILED,
        JERR_SOF_UNSUPPORTED};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (code == codes[i]) return true;
    return false;
}

static void give_up(j_common_ptr jpeg)
{
    char text[JMSG_LENGTH_MAX];
    struct decoder *decoder = decoder_of(jpeg);
    jpeg->err->format_message(jpeg, text);
    problem_set(decoder->problem, "%s JPEG: %s",
        is_unsupported(jpeg->err->msg_code) ? "unsupported" : "broken", text);
    longjmp(decoder->escape, 1);
}

/* Whether the warning is about a few skipped zeros before a marker, outside of a scan's data. */
static bool is_padding(const struct jpeg_decompress_struct *jpeg)
{
    unsigned count = (unsigned)jpeg->err->msg_parm.i[0], marker = (unsigned)jpeg->err->msg_parm.i[1];
    bool outside = marker == JPEG_EOI || jpeg->input_scan_number == 0;
    if (!outside || count > MOST_PADDING) return false;
    const struct decoder *decoder = jpeg->client_data;
    const uint8_t *end = decoder->ended_early ? decoder->end : jpeg->src->next_input_byte;
    for (unsigned i = 1; i <= count; i++)
        if (end[-(ptrdiff_t)i] != 0) return false;
    return true;
}

/*
 * Warnings that affect no pixel: about numbers in headers that libjpeg does not need, and a few zeros before
 * a marker. A missing end marker is checked at the end, by is_whole.
 */
static bool is_harmless(const struct decoder *decoder, int code)
{
    switch (code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_ICC:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL: return true;
    case JWRN_EXTRANEOUS_DATA: return is_padding(&decoder->jpeg);
    case JWRN_JPEG_EOF: return !decoder->jpeg.arith_code; /* arithmetic codes have no recognisable end */
    default: return false;
    }
}

static void hear_message(j_common_ptr jpeg, int level)
{
    struct decoder *decoder = decoder_of(jpeg);
    if (level >= 0) return; /* traces */
    if (!is_harmless(decoder, jpeg->err->msg_code)) give_up(jpeg);
    decoder->ended_early |= jpeg->err->msg_code == JWRN_JPEG_EOF;
}

/*
 * Whether each component is complete, to its last bit if the end marker is missing. Data that end within a
 * scan have been refused before, so only later scans can be missing.
 */
static bool is_whole(const struct decoder *decoder)
{
    const struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    for (int c = 0; c < jpeg->num_components; c++) {
        if (!jpeg->comp_info[c].quant_table) return false; /* set at the component's first scan */
        for (int i = 0; i < DCTSIZE2 && jpeg->coef_bits && decoder->ended_early; i++)
            if (jpeg->coef_bits[c][i] != 0) return false;
    }
    return true;
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

/* Rows and columns beyond the picture's whole pixels are read and dropped. */
static void read_rows(struct decoder *decoder, int rows, int width, int orientation)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    bool cmyk = jpeg->out_color_space == JCS_CMYK;
    while (jpeg->output_scanline < jpeg->output_height) {
        int y = (int)jpeg->output_scanline;
        JSAMPROW row = cmyk ? decoder->inks : decoder->row;
        jpeg_read_scanlines(jpeg, &row, 1);
        if (y >= rows) continue;
        if (cmyk) inks_to_rgb(row, width, jpeg->saw_Adobe_marker, decoder->row);
        if (decoder->image->channels == 4) add_opaque_alpha(decoder->row, width);
        image_put_row(decoder->image, orientation, y, decoder->row);
    }
}

/*
 * The reduction of the picture while it is decoded. libjpeg keeps a file in several scans in memory at full
 * size, so for such files the limit holds for the full size.
 */
static bool choose_size(struct decoder *decoder, double least_side, unsigned *reduction)
{
    const struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    int64_t width = jpeg->image_width, height = jpeg->image_height;
    *reduction = image_reduction((double)width, (double)height, least_side);
    int64_t divisor = jpeg_has_multiple_scans(&decoder->jpeg) ? 1 : *reduction;
    if ((width / divisor) * (height / divisor) <= IMAGE_MOST_PIXELS) return true;
    return problem_set(decoder->problem, "%lld x %lld pixels are more than the limit of %lld",
        (long long)width, (long long)height, (long long)IMAGE_MOST_PIXELS);
}

/* Runs between setjmp and the end: any call into libjpeg may jump away. */
static bool decode(struct decoder *decoder, int channels, double least_side)
{
    struct jpeg_decompress_struct *jpeg = &decoder->jpeg;
    unsigned reduction;
    jpeg_read_header(jpeg, TRUE);
    if (!choose_size(decoder, least_side, &reduction)) return false;
    bool cmyk = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg->scale_num = 1;
    jpeg->scale_denom = reduction;
    jpeg_start_decompress(jpeg);
    if (jpeg->output_width == jpeg->image_width) reduction = 1; /* lossless files are not reduced */
    /* libjpeg rounds the reduced size up; whole pixels only, so that crops stay inside of the original. */
    int width = (int)(jpeg->image_width / reduction), height = (int)(jpeg->image_height / reduction);
    int orientation = orientation_of(jpeg);
    if (!image_make_upright(decoder->image, width, height, channels, orientation, decoder->problem))
        return false;
    decoder->image->reduction = reduction;
    decoder->row = malloc(4 * (size_t)jpeg->output_width);
    decoder->inks = cmyk ? malloc(4 * (size_t)jpeg->output_width) : NULL;
    if (!decoder->row || (cmyk && !decoder->inks))
        return problem_set(decoder->problem, "no memory for a row of %d pixels", width);
    read_rows(decoder, height, width, orientation);
    if (!is_whole(decoder)) return problem_set(decoder->problem, "broken JPEG: scans are missing");
    jpeg_finish_decompress(jpeg); /* reads to the end marker, and warns of bytes before it */
    return true;
}

bool image_decode_jpeg(struct image *image, const uint8_t *bytes, size_t size, int channels,
    double least_side, struct problem *problem)
{
    struct decoder decoder = {.problem = problem, .image = image, .end = bytes + size};
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
    free(decoder.inks);
    if (!decoded) image_free(image);
    return decoded;
}
