/* See sheet.h. */
#include "drawing/sheet.h"

#include "base/output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cairo-svg.h>

const struct colour sheet_white = {255, 255, 255}, sheet_ink = {34, 39, 46}, sheet_soft = {96, 106, 118},
                    sheet_faint = {226, 230, 235};

/* After Okabe and Ito. */
const struct colour sheet_colours[SHEET_COLOURS] = {{0, 114, 178}, {213, 94, 0}, {0, 140, 105},
    {160, 80, 170}, {230, 159, 0}, {86, 180, 233}, {120, 120, 120}};

static cairo_status_t append(void *stream, const unsigned char *bytes, unsigned int count)
{
    return fwrite(bytes, 1, count, stream) == count ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

static bool cannot_draw(cairo_status_t status, struct problem *problem)
{
    return problem_set(problem, "cannot draw: %s", cairo_status_to_string(status));
}

bool sheet_make(struct sheet *sheet, enum sheet_format format, int width, int height, struct problem *problem)
{
    *sheet = (struct sheet){.format = format, .width = width, .height = height};
    if (format == SHEET_SVG && !(sheet->stream = open_memstream(&sheet->bytes, &sheet->size)))
        return problem_no_memory(problem);
    sheet->surface = format == SHEET_SVG
                         ? cairo_svg_surface_create_for_stream(append, sheet->stream, width, height)
                         : cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    sheet->cairo = cairo_create(sheet->surface);
    cairo_status_t status = cairo_status(sheet->cairo);
    if (status) sheet_free(sheet);
    if (status) return cannot_draw(status, problem);
    cairo_set_line_join(sheet->cairo, CAIRO_LINE_JOIN_ROUND);
    cairo_set_line_cap(sheet->cairo, CAIRO_LINE_CAP_ROUND);
    sheet_box(sheet, 0, 0, width, height, sheet_white, 1);
    return true;
}

void sheet_free(struct sheet *sheet)
{
    if (sheet->cairo) cairo_destroy(sheet->cairo);
    if (sheet->surface) cairo_surface_destroy(sheet->surface); /* an SVG surface writes its end */
    if (sheet->stream) fclose(sheet->stream);
    free(sheet->bytes);
    *sheet = (struct sheet){0};
}

static void set_colour(struct sheet *sheet, struct colour colour, double opacity)
{
    cairo_set_source_rgba(
        sheet->cairo, colour.red / 255.0, colour.green / 255.0, colour.blue / 255.0, opacity);
}

void sheet_box(struct sheet *sheet, double x, double y, double width, double height, struct colour colour,
    double opacity)
{
    set_colour(sheet, colour, opacity);
    cairo_rectangle(sheet->cairo, x, y, width, height);
    cairo_fill(sheet->cairo);
}

void sheet_lines(struct sheet *sheet, size_t count, const double *x, const double *y, double thickness,
    struct colour colour, double opacity)
{
    set_colour(sheet, colour, opacity);
    cairo_set_line_width(sheet->cairo, thickness);
    for (size_t i = 0; i < count; i++) cairo_line_to(sheet->cairo, x[i], y[i]);
    cairo_stroke(sheet->cairo);
}

/* --- text --- */

/* The number of bytes of the character at `text` if it is UTF-8 that cairo accepts; otherwise 0. */
static int character_bytes(const char *text)
{
    static const uint32_t least[] = {0, ' ', 0x80, 0x800, 0x10000};
    const uint8_t *byte = (const uint8_t *)text;
    int bytes = *byte < 0x80 ? 1 : *byte >> 5 == 6 ? 2 : *byte >> 4 == 14 ? 3 : *byte >> 3 == 30 ? 4 : 0;
    uint32_t code = bytes == 1 ? *byte : bytes ? *byte & (0x7F >> bytes) : 0;
    for (int i = 1; i < bytes; i++) {
        if (byte[i] >> 6 != 2) return 0;
        code = code << 6 | (byte[i] & 0x3F);
    }
    bool surrogate = code >= 0xD800 && code < 0xE000;
    return bytes && code >= least[bytes] && code < 0x110000 && code != 0x7F && !surrogate ? bytes : 0;
}

enum { MAX_TEXT = 512 };

static void make_valid(char valid[MAX_TEXT], const char *text)
{
    size_t length = 0;
    while (*text && length + 5 < MAX_TEXT) {
        int bytes = character_bytes(text);
        if (bytes)
            memcpy(valid + length, text, (size_t)bytes);
        else
            valid[length] = '?';
        length += bytes ? (size_t)bytes : 1;
        text += bytes ? bytes : 1;
    }
    valid[length] = '\0';
}

static void set_font(struct sheet *sheet, double size, cairo_font_weight_t weight)
{
    cairo_select_font_face(sheet->cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL, weight);
    cairo_set_font_size(sheet->cairo, size);
}

static double width_of(struct sheet *sheet, const char *valid)
{
    cairo_text_extents_t extents;
    cairo_text_extents(sheet->cairo, valid, &extents);
    return extents.x_advance;
}

double sheet_text_width(struct sheet *sheet, double size, const char *text)
{
    char valid[MAX_TEXT];
    make_valid(valid, text);
    set_font(sheet, size, CAIRO_FONT_WEIGHT_NORMAL);
    return width_of(sheet, valid);
}

static void show(
    struct sheet *sheet, double x, double y, enum sheet_align align, struct colour colour, const char *text)
{
    static const double shares[] = {0, 0.5, 1};
    char valid[MAX_TEXT];
    make_valid(valid, text);
    set_colour(sheet, colour, 1);
    cairo_move_to(sheet->cairo, x - shares[align] * width_of(sheet, valid), y);
    cairo_show_text(sheet->cairo, valid);
    cairo_new_path(sheet->cairo);
}

void sheet_text(struct sheet *sheet, double x, double y, double size, enum sheet_align align,
    struct colour colour, const char *text)
{
    set_font(sheet, size, CAIRO_FONT_WEIGHT_NORMAL);
    show(sheet, x, y, align, colour, text);
}

void sheet_title(struct sheet *sheet, double x, double y, const char *text)
{
    set_font(sheet, SHEET_TITLE, CAIRO_FONT_WEIGHT_BOLD);
    show(sheet, x, y, SHEET_LEFT, sheet_ink, text);
}

/* `kept` bytes of the text with three dots in place of the others; a third of them is the beginning. */
static void shorten(char shorter[MAX_TEXT + 4], const char *text, size_t length, size_t kept)
{
    size_t head = kept / 3, tail = length - (kept - head);
    while (head > 0 && ((uint8_t)text[head] & 0xC0) == 0x80) head--; /* not within a character */
    while (tail < length && ((uint8_t)text[tail] & 0xC0) == 0x80) tail++;
    snprintf(shorter, MAX_TEXT + 4, "%.*s\xE2\x80\xA6%s", (int)head, text, text + tail);
}

void sheet_text_within(struct sheet *sheet, double x, double y, double width, double size,
    struct colour colour, const char *text)
{
    char valid[MAX_TEXT], shorter[MAX_TEXT + 4];
    make_valid(valid, text);
    size_t length = strlen(valid), kept = length;
    memcpy(shorter, valid, length + 1);
    while (kept > 1 && sheet_text_width(sheet, size, shorter) > width)
        shorten(shorter, valid, length, --kept);
    sheet_text(sheet, x, y, size, SHEET_LEFT, colour, shorter);
}

/* --- pictures --- */

/* Paints an image of columns x rows pixels into side x side; takes over `image`. */
static void paint(struct sheet *sheet, double x, double y, double side, cairo_surface_t *image, int columns,
    int rows, cairo_filter_t filter)
{
    cairo_surface_mark_dirty(image);
    cairo_save(sheet->cairo);
    cairo_rectangle(sheet->cairo, x, y, side, side);
    cairo_clip(sheet->cairo);
    cairo_translate(sheet->cairo, x, y);
    cairo_scale(sheet->cairo, side / columns, side / rows);
    cairo_set_source_surface(sheet->cairo, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(sheet->cairo), filter);
    cairo_pattern_set_extend(cairo_get_source(sheet->cairo), CAIRO_EXTEND_PAD);
    cairo_paint(sheet->cairo);
    cairo_restore(sheet->cairo);
    cairo_surface_destroy(image);
}

/* A row of the image, 32 bits a pixel; NULL when the image could not be made. */
static uint32_t *row_of(cairo_surface_t *image, int row)
{
    uint8_t *data = cairo_image_surface_get_data(image);
    return data ? (uint32_t *)(void *)(data + (size_t)row * (size_t)cairo_image_surface_get_stride(image))
                : NULL;
}

void sheet_picture(struct sheet *sheet, double x, double y, double side, const uint8_t *picture, int size)
{
    cairo_surface_t *image = cairo_image_surface_create(CAIRO_FORMAT_RGB24, size, size);
    size_t plane = (size_t)size * (size_t)size;
    for (int j = 0; j < size; j++) {
        uint32_t *row = row_of(image, j);
        for (int i = 0; row && i < size; i++) {
            const uint8_t *at = picture + (size_t)j * (size_t)size + (size_t)i;
            row[i] = (uint32_t)at[0] << 16 | (uint32_t)at[plane] << 8 | at[2 * plane];
        }
    }
    paint(sheet, x, y, side, image, size, size, CAIRO_FILTER_GOOD);
}

void sheet_pixels(struct sheet *sheet, double x, double y, double side, const struct sheet_pixel *pixels,
    int columns, int rows)
{
    cairo_surface_t *image = cairo_image_surface_create(CAIRO_FORMAT_ARGB32, columns, rows);
    for (int j = 0; j < rows; j++) {
        uint32_t *row = row_of(image, j);
        for (int i = 0; row && i < columns; i++, pixels++) {
            uint32_t a = pixels->opacity; /* cairo's colours are multiplied by the opacity */
            row[i] = a << 24 | pixels->colour.red * a / 255 << 16 | pixels->colour.green * a / 255 << 8 |
                     pixels->colour.blue * a / 255;
        }
    }
    paint(sheet, x, y, side, image, columns, rows, CAIRO_FILTER_NEAREST);
}

/* --- files --- */

bool sheet_format_of(const char *path, enum sheet_format *format)
{
    static const char *const endings[] = {".png", ".svg"};
    size_t length = strlen(path);
    *format = SHEET_PNG;
    if (!strcmp(path, "-")) return true;
    for (int i = 0; i < 2; i++) {
        if (length <= 4 || strcasecmp(path + length - 4, endings[i])) continue;
        *format = (enum sheet_format)i;
        return true;
    }
    return false;
}

/* Takes over the bytes of the stream, which is closed. */
static bool take_bytes(
    FILE *stream, cairo_status_t status, char **memory, uint8_t **bytes, struct problem *problem)
{
    bool written = fclose(stream) == 0 && *memory;
    *bytes = written && !status ? (uint8_t *)*memory : NULL;
    if (!*bytes) free(*memory);
    *memory = NULL;
    return *bytes || (status ? cannot_draw(status, problem) : problem_no_memory(problem));
}

bool sheet_encode(struct sheet *sheet, uint8_t **bytes, size_t *size, struct problem *problem)
{
    *bytes = NULL;
    cairo_status_t status = cairo_status(sheet->cairo);
    if (sheet->format == SHEET_SVG) {
        cairo_surface_finish(sheet->surface);
        if (!status) status = cairo_surface_status(sheet->surface);
        bool taken = take_bytes(sheet->stream, status, &sheet->bytes, bytes, problem);
        sheet->stream = NULL;
        *size = sheet->size;
        return taken;
    }
    char *memory = NULL;
    FILE *stream = open_memstream(&memory, size);
    if (!stream) return problem_no_memory(problem);
    if (!status) status = cairo_surface_write_to_png_stream(sheet->surface, append, stream);
    return take_bytes(stream, status, &memory, bytes, problem);
}

bool sheet_write(struct sheet *sheet, const char *path, struct problem *problem)
{
    uint8_t *bytes;
    size_t size;
    if (!sheet_encode(sheet, &bytes, &size, problem)) return false;
    bool written = output_write(path, bytes, size, problem);
    free(bytes);
    return written;
}
