/* See kind.h. Signatures are those of the formats' specifications. */
#include "pictures/kind.h"

#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#ifdef CRIBO_WEBP
const char kind_formats[] = "JPEG, PNG or WebP";
#define WEBP_SORT KIND_PICTURE
#define WEBP_NAME "a WebP picture"
#else
const char kind_formats[] = "JPEG or PNG";
#define WEBP_SORT KIND_OTHER
#define WEBP_NAME "a WebP picture, which this program was built without"
#endif

/* Bytes at an offset; the first matching row is used. */
static const struct signature {
    size_t at, length;
    const char *bytes;
    struct kind kind;
} signatures[] = {
    {0, 3, "\xff\xd8\xff", {KIND_PICTURE, "a JPEG picture"}},
    {0, 8, "\x89PNG\r\n\x1a\n", {KIND_PICTURE, "a PNG picture"}},
    {8, 4, "WEBP", {WEBP_SORT, WEBP_NAME}},
    {257, 5, "ustar", {KIND_ARCHIVE, "a tar archive"}},
    {0, 2, "\x1f\x8b", {KIND_COMPRESSED, "a compressed archive or file (gzip)"}},
    {0, 4, "\x28\xb5\x2f\xfd", {KIND_COMPRESSED, "a compressed archive or file (zstd)"}},
    {0, 3, "BZh", {KIND_COMPRESSED, "a compressed archive or file (bzip2)"}},
    {0, 5,
        "\xfd"
        "7zXZ",
        {KIND_COMPRESSED, "a compressed archive or file (xz)"}},
    {0, 4, "PK\3\4", {KIND_COMPRESSED, "a compressed archive (zip)"}},
    {0, 6, "7z\xbc\xaf\x27\x1c", {KIND_COMPRESSED, "a compressed archive (7z)"}},
    {0, 4, "Rar!", {KIND_COMPRESSED, "a compressed archive (rar)"}},
    {0, 4, "GIF8", {KIND_OTHER, "a GIF picture"}},
    {0, 4, "II*\0", {KIND_OTHER, "a TIFF picture"}},
    {0, 4, "MM\0*", {KIND_OTHER, "a TIFF picture"}},
    {4, 8, "ftypavif", {KIND_OTHER, "an AVIF picture"}},
    {4, 7, "ftyphei", {KIND_OTHER, "a HEIC picture"}},
    {4, 8, "ftypmif1", {KIND_OTHER, "a HEIC picture"}},
    {4, 4, "ftyp", {KIND_OTHER, "a video or sound"}},
    {0, 2, "\xff\x0a", {KIND_OTHER, "a JPEG XL picture"}},
    {4, 4, "JXL ", {KIND_OTHER, "a JPEG XL picture"}},
    {4, 4, "jP  ", {KIND_OTHER, "a JPEG 2000 picture"}},
    {0, 4, "8BPS", {KIND_OTHER, "a Photoshop picture"}},
    {0, 2, "BM", {KIND_OTHER, "a BMP picture"}},
    {0, 4, "%PDF", {KIND_OTHER, "a PDF document"}},
    {0, 2, "\xff\xfe", {KIND_OTHER, "a text in UTF-16"}},
    {1, 5, "NUMPY", {KIND_OTHER, "a NumPy array"}},
    {0, 23, "version https://git-lfs", {KIND_OTHER, "a Git LFS pointer; `git lfs pull` fetches the file"}},
};

static bool begins_with(const char *text, size_t size, const char *word)
{
    return size >= strlen(word) && !strncasecmp(text, word, strlen(word));
}

/* A page that a server sent in place of a file. */
static bool is_web_page(const char *text, size_t size)
{
    while (size > 0 && strchr(" \t\r\n\xef\xbb\xbf", *text) && *text) text++, size--;
    return begins_with(text, size, "<!doctype html") || begins_with(text, size, "<html") ||
           begins_with(text, size, "<?xml");
}

static bool is_text(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] < ' ' && !strchr("\t\n\r\f\b\x1b", bytes[i])) return false;
    return !memchr(bytes, '\0', size);
}

struct kind kind_of(const uint8_t *bytes, size_t size)
{
    if (size > KIND_BYTES) size = KIND_BYTES;
    if (size == 0) return (struct kind){KIND_OTHER, "an empty file"};
    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++) {
        const struct signature *s = &signatures[i];
        if (size >= s->at + s->length && !memcmp(bytes + s->at, s->bytes, s->length)) return s->kind;
    }
    if (is_web_page((const char *)bytes, size)) return (struct kind){KIND_OTHER, "a web page or XML"};
    if (is_text(bytes, size)) return (struct kind){KIND_TEXT, "a text"};
    return (struct kind){KIND_OTHER, "a file of unknown content"};
}

struct kind kind_of_file(const char *path)
{
    uint8_t bytes[KIND_BYTES];
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = file < 0 ? -1 : pread(file, bytes, sizeof bytes, 0);
    struct kind kind = {KIND_OTHER, "a file that cannot be read"};
    if (got >= 0) kind = kind_of(bytes, (size_t)got);
    if (file >= 0) close(file);
    return kind;
}
