/*
 * Reading safetensors files: every claim of a header is checked before anybody relies on it. See
 * safetensors.h.
 */
#include "io/gzip.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/safetensors_checksums.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

/* An array that grows by doubling. */
typedef struct list {
    void *items;
    size_t count, capacity;
} list;

struct cb_safetensors {
    cb_allocator allocator;
    cb_file_reader reader;
    cb_gzip_reader *gzip; /* over `reader`; NULL: the file is not compressed */
    char *path;
    char *header; /* the decoded names live in it */
    size_t header_length;
    uint64_t data_bytes; /* after the header; of a compressed file, as far as the tensors go */
    bool has_checksum;   /* the header's was there, and fitted */
    list tensors;        /* of cb_tensor_info, by offset */
    list pairs;          /* of cb_metadata_pair, as they came */
    size_t *by_name;     /* indices into tensors, sorted by name */
    size_t *by_key;      /* indices into pairs, sorted by key */
};

/* The types of the format, and the bits of an element. */
static const struct {
    const char *name;
    unsigned bits;
} dtypes[] = {{"F32", 32}, {"F16", 16}, {"BF16", 16}, {"F64", 64}, {"I64", 64}, {"I32", 32}, {"I16", 16},
    {"I8", 8}, {"U64", 64}, {"U32", 32}, {"U16", 16}, {"U8", 8}, {"BOOL", 8}, {"C64", 64}, {"F8_E4M3", 8},
    {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6},
    {"F4", 4}};

static cb_tensor_info *tensor_at(const cb_safetensors *file, size_t index)
{
    return (cb_tensor_info *)file->tensors.items + index;
}

static cb_metadata_pair *pair_at(const cb_safetensors *file, size_t index)
{
    return (cb_metadata_pair *)file->pairs.items + index;
}

/* A place for one more item of `size` bytes. */
static cribo_status append(const cb_allocator *allocator, list *array, size_t size, const char *what)
{
    if (array->count == array->capacity) {
        void *items;
        size_t capacity = array->capacity ? 2 * array->capacity : 16;
        CB_TRY(cb_allocate(allocator, &items, capacity, size, what));
        if (array->count > 0) memcpy(items, array->items, array->count * size);
        cb_release(allocator, array->items);
        array->items = items;
        array->capacity = capacity;
    }
    array->count++;
    return CRIBO_OK;
}

/* Heapsort of indices: no memory, and no input makes it slow. `less` compares two of them. */
typedef bool ordering(const cb_safetensors *file, size_t a, size_t b);

static void sift_down(const cb_safetensors *file, size_t *indices, size_t root, size_t count, ordering *less)
{
    for (size_t child = 2 * root + 1; child < count; root = child, child = 2 * root + 1) {
        if (child + 1 < count && less(file, indices[child], indices[child + 1])) child++;
        if (!less(file, indices[root], indices[child])) return;
        size_t swapped = indices[root];
        indices[root] = indices[child];
        indices[child] = swapped;
    }
}

static cribo_status sorted_indices(const cb_safetensors *file, size_t **out, size_t count, ordering *less)
{
    size_t *indices;
    CB_TRY(CB_ALLOCATE(&file->allocator, &indices, count, "safetensors index"));
    for (size_t i = 0; i < count; i++) indices[i] = i;
    for (size_t i = count / 2; i-- > 0;) sift_down(file, indices, i, count, less);
    for (size_t i = count; i-- > 1;) {
        size_t last = indices[i];
        indices[i] = indices[0];
        indices[0] = last;
        sift_down(file, indices, 0, i, less);
    }
    *out = indices;
    return CRIBO_OK;
}

static bool name_less(const cb_safetensors *file, size_t a, size_t b)
{
    return strcmp(tensor_at(file, a)->name, tensor_at(file, b)->name) < 0;
}

static bool key_less(const cb_safetensors *file, size_t a, size_t b)
{
    return strcmp(pair_at(file, a)->key, pair_at(file, b)->key) < 0;
}

/* By offset; an empty tensor stands before the one that begins at the same byte. */
static bool offset_less(const cb_safetensors *file, size_t a, size_t b)
{
    const cb_tensor_info *x = tensor_at(file, a), *y = tensor_at(file, b);
    return x->begin != y->begin ? x->begin < y->begin : x->end < y->end;
}

static cribo_status read_metadata(cb_safetensors *file, cb_json *json)
{
    const char *key, *value;
    if (cb_json_null(json)) return CRIBO_OK;
    cb_json_object(json);
    while (cb_json_member(json, &key) && cb_json_string(json, &value)) {
        CB_TRY(append(&file->allocator, &file->pairs, sizeof(cb_metadata_pair), "safetensors metadata"));
        *pair_at(file, file->pairs.count - 1) = (cb_metadata_pair){key, value};
    }
    return CRIBO_OK;
}

static bool read_shape(cb_json *json, cb_tensor_info *tensor)
{
    uint64_t length;
    if (!cb_json_array(json)) return false;
    tensor->elements = 1;
    for (tensor->axes = 0; cb_json_element(json); tensor->axes++) {
        if (!cb_json_integer(json, &length)) return false;
        if (__builtin_mul_overflow(tensor->elements, length, &tensor->elements))
            return cb_json_refuse(json, "too large a shape");
        if (tensor->axes < CB_MOST_AXES) tensor->shape[tensor->axes] = length;
    }
    return !json->problem;
}

static bool read_offsets(cb_json *json, cb_tensor_info *tensor)
{
    uint64_t *offsets[2] = {&tensor->begin, &tensor->end};
    if (!cb_json_array(json)) return false;
    for (int i = 0; i < 2; i++) {
        if (!cb_json_element(json)) return cb_json_refuse(json, "data_offsets needs two numbers");
        if (!cb_json_integer(json, offsets[i])) return false;
    }
    return !cb_json_element(json) || cb_json_refuse(json, "data_offsets has more than two numbers");
}

/* {"dtype": ..., "shape": [...], "data_offsets": [...]}, each once, in any order, and nothing else. */
static bool read_tensor(cb_json *json, cb_tensor_info *tensor)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
    const char *key;
    unsigned seen = 0;
    cb_json_object(json);
    while (cb_json_member(json, &key)) {
        unsigned field = !strcmp(key, "dtype")          ? DTYPE
                         : !strcmp(key, "shape")        ? SHAPE
                         : !strcmp(key, "data_offsets") ? OFFSETS
                                                        : 0;
        if (field == 0) return cb_json_refuse(json, "a field that tensors do not have");
        if (seen & field) return cb_json_refuse(json, "a field of a tensor stands twice");
        seen |= field;
        bool read = field == DTYPE   ? cb_json_string(json, &tensor->dtype)
                    : field == SHAPE ? read_shape(json, tensor)
                                     : read_offsets(json, tensor);
        if (!read) return false;
    }
    if (seen != (DTYPE | SHAPE | OFFSETS))
        return cb_json_refuse(json, "a tensor needs dtype, shape and data_offsets");
    return !json->problem;
}

static cribo_status syntax_error(const cb_safetensors *file, const cb_json *json, const char *name)
{
    return cb_fail(CRIBO_CORRUPT, "%.200s: header, at byte %zu%s%.100s%s: %s", file->path, 8 + json->position,
        name ? ", in \"" : "", name ? name : "", name ? "\"" : "", json->problem);
}

static cribo_status read_header(cb_safetensors *file, cb_json *json)
{
    const char *name = NULL;
    bool has_metadata = false;
    cb_json_object(json);
    while (cb_json_member(json, &name)) {
        if (strcmp(name, "__metadata__") == 0) {
            if (has_metadata) cb_json_refuse(json, "it stands twice");
            has_metadata = true;
            CB_TRY(read_metadata(file, json));
        } else {
            CB_TRY(append(&file->allocator, &file->tensors, sizeof(cb_tensor_info), "safetensors tensors"));
            cb_tensor_info *tensor = tensor_at(file, file->tensors.count - 1);
            tensor->name = name;
            read_tensor(json, tensor);
        }
        if (json->problem) return syntax_error(file, json, name);
    }
    cb_json_end(json);
    return json->problem ? syntax_error(file, json, NULL) : CRIBO_OK;
}

static cribo_status tensor_error(
    const cb_safetensors *file, const cb_tensor_info *tensor, const char *problem)
{
    return cb_fail(CRIBO_CORRUPT, "%.200s: tensor \"%.100s\", bytes %llu ... %llu of %llu: %s", file->path,
        tensor->name, (unsigned long long)tensor->begin, (unsigned long long)tensor->end,
        (unsigned long long)file->data_bytes, problem);
}

/* Bytes that a tensor of this shape has; false when there is no such type or number. */
static bool bytes_of_shape(const cb_tensor_info *tensor, uint64_t *bytes)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(tensor->dtype, dtypes[i].name) == 0) bits = dtypes[i].bits;
    if (bits == 0 || __builtin_mul_overflow(bits, tensor->elements, &bits)) return false;
    *bytes = bits / 8;
    return bits % 8 == 0;
}

/* Puts the tensors in the order of their bytes. */
static cribo_status sort_tensors(cb_safetensors *file)
{
    cb_tensor_info *sorted;
    size_t *indices, count = file->tensors.count;
    CB_TRY(sorted_indices(file, &indices, count, offset_less));
    cribo_status status = CB_ALLOCATE(&file->allocator, &sorted, count, "safetensors tensors");
    if (status == CRIBO_OK) {
        for (size_t i = 0; i < count; i++) ((cb_tensor_info *)sorted)[i] = *tensor_at(file, indices[i]);
        cb_release(&file->allocator, file->tensors.items);
        file->tensors.items = sorted;
    }
    cb_release(&file->allocator, indices);
    return status;
}

/* From 0 to the end of the file, without holes or overlaps. */
static cribo_status check_offsets(cb_safetensors *file)
{
    uint64_t end = 0, bytes;
    CB_TRY(sort_tensors(file));
    if (file->gzip) {
        uint64_t last = file->tensors.count ? tensor_at(file, file->tensors.count - 1)->end : 0;
        if (last < file->data_bytes) file->data_bytes = last;
    }
    for (size_t i = 0; i < file->tensors.count; i++) {
        const cb_tensor_info *tensor = tensor_at(file, i);
        if (tensor->begin > tensor->end) return tensor_error(file, tensor, "it ends before it begins");
        if (tensor->end > file->data_bytes) return tensor_error(file, tensor, "it ends after the file");
        if (tensor->begin != end)
            return tensor_error(
                file, tensor, tensor->begin < end ? "it overlaps the tensor before it" : "a hole before it");
        if (!bytes_of_shape(tensor, &bytes))
            return tensor_error(file, tensor, "an unknown dtype, or too large a shape");
        if (bytes != tensor->end - tensor->begin)
            return tensor_error(file, tensor, "shape and offsets disagree");
        end = tensor->end;
    }
    if (end != file->data_bytes)
        return cb_fail(CRIBO_CORRUPT, "%.200s: the tensors end at byte %llu of %llu", file->path,
            (unsigned long long)end, (unsigned long long)file->data_bytes);
    return CRIBO_OK;
}

static cribo_status check_names(cb_safetensors *file)
{
    CB_TRY(sorted_indices(file, &file->by_name, file->tensors.count, name_less));
    for (size_t i = 1; i < file->tensors.count; i++)
        if (!name_less(file, file->by_name[i - 1], file->by_name[i]))
            return tensor_error(file, tensor_at(file, file->by_name[i]), "there are two of that name");
    return CRIBO_OK;
}

static cribo_status check_keys(cb_safetensors *file)
{
    CB_TRY(sorted_indices(file, &file->by_key, file->pairs.count, key_less));
    for (size_t i = 1; i < file->pairs.count; i++)
        if (!key_less(file, file->by_key[i - 1], file->by_key[i]))
            return cb_fail(CRIBO_CORRUPT, "%.200s: the metadata key \"%.100s\" stands twice", file->path,
                pair_at(file, file->by_key[i])->key);
    return CRIBO_OK;
}

/* The bytes offset ... offset + count - 1 of the file's content. */
static cribo_status read_bytes(const cb_safetensors *file, uint64_t offset, void *bytes, size_t count)
{
    return file->gzip ? cb_gzip_reader_read(file->gzip, offset, bytes, count)
                      : cb_file_reader_read(&file->reader, offset, bytes, count);
}

/* The most bytes that the file can hold. */
static uint64_t most_bytes(const cb_safetensors *file)
{
    uint64_t most = file->reader.size;
    if (file->gzip && __builtin_mul_overflow(most, CB_GZIP_MOST_EXPANSION, &most)) most = UINT64_MAX;
    return most;
}

/* The first bytes of files that are mistaken for safetensors files, and their kinds. */
static const struct {
    const char *begin;
    size_t length;
    const char *is;
} impostors[] = {
#define IMPOSTOR(begin, is) {begin, sizeof begin - 1, is}
    IMPOSTOR("PK\x03\x04",
        "a PyTorch file (.pth, .pt, .bin); examples/python/convert_weights.py turns it into "
        "safetensors"),
    IMPOSTOR("\x80\x02", "a PyTorch file of an old version (.pth, .pt, .bin), or another pickle; "
                         "examples/python/convert_weights.py turns it into safetensors"),
    IMPOSTOR(
        "version https://git-lfs", "a Git LFS pointer, not the file itself; fetch that with git lfs pull"),
    IMPOSTOR("<!DOCTYPE", "a web page, not a file of weights; the download went to the wrong address"),
    IMPOSTOR("<!doctype", "a web page, not a file of weights; the download went to the wrong address"),
    IMPOSTOR("<html", "a web page, not a file of weights; the download went to the wrong address"),
    IMPOSTOR("\x89PNG", "a picture, not a file of weights"),
    IMPOSTOR("\xff\xd8\xff", "a picture, not a file of weights"),
    IMPOSTOR("GGUF", "a GGUF file, which cannot be read; get the weights as safetensors"),
    IMPOSTOR("\x89HDF", "an HDF5 file (Keras), which cannot be read; get the weights as safetensors"),
    IMPOSTOR("\x08\x03\x12\x07pytorch", "an ONNX file; examples/python/convert_weights.py turns it into "
                                        "safetensors"),
#undef IMPOSTOR
};

/* CRIBO_CORRUPT with the kind of the file, if it starts like another kind of file. */
static cribo_status check_kind(const cb_safetensors *file)
{
    char begin[32] = {0};
    uint64_t size = file->reader.size;
    CB_TRY(cb_file_reader_read(&file->reader, 0, begin, size < sizeof begin ? (size_t)size : sizeof begin));
    for (size_t i = 0; i < sizeof impostors / sizeof impostors[0]; i++)
        if (memcmp(begin, impostors[i].begin, impostors[i].length) == 0)
            return cb_fail(CRIBO_CORRUPT, "%.200s: this is %s", file->path, impostors[i].is);
    return CRIBO_OK;
}

/* Whether the header is an object; the format allows no other. */
static bool begins_object(const cb_safetensors *file)
{
    size_t i = 0;
    while (i < file->header_length && strchr(" \t\r\n", file->header[i]) && file->header[i]) i++;
    return i < file->header_length && file->header[i] == '{';
}

/* Reads the header's bytes, once its length is known to be possible. */
static cribo_status load_header(cb_safetensors *file)
{
    uint64_t length, most = most_bytes(file);
    char *header;
    CB_TRY(read_bytes(file, 0, &length, sizeof length));
    if (length > CB_MOST_HEADER_BYTES || length > most - sizeof length)
        return cb_fail(CRIBO_CORRUPT,
            "%.200s: at byte 0: a header of %llu bytes in a file of %llu (at most %d)", file->path,
            (unsigned long long)length, (unsigned long long)file->reader.size, CB_MOST_HEADER_BYTES);
    CB_TRY(CB_ALLOCATE(&file->allocator, &header, (size_t)length, "safetensors header"));
    file->header = header;
    file->header_length = (size_t)length;
    file->data_bytes = most - sizeof length - length;
    CB_TRY(read_bytes(file, sizeof length, header, (size_t)length));
    if (!begins_object(file))
        return cb_fail(CRIBO_CORRUPT, "%.200s: at byte 8: the header does not begin with '{'", file->path);
    return CRIBO_OK;
}

static cribo_status check_digits(const cb_safetensors *file, const char *what, uLong sum, const char *digits)
{
    char expected[CB_CHECKSUM_DIGITS + 1];
    snprintf(expected, sizeof expected, CB_CHECKSUM_FORMAT, (unsigned long)(uint32_t)sum);
    if (strncmp(expected, digits, CB_CHECKSUM_DIGITS) == 0) return CRIBO_OK;
    return cb_fail(CRIBO_CORRUPT, "%.200s: %.100s: the checksum is %s, not %.8s as the file says", file->path,
        what, expected, digits);
}

/* Before parsing, which overwrites the header. */
static cribo_status check_header_sum(cb_safetensors *file)
{
    const size_t begin = sizeof CB_CHECKSUM_BEGIN - 1;
    char *digits = file->header + begin, kept[CB_CHECKSUM_DIGITS + 1] = {0};
    if (file->header_length < begin + CB_CHECKSUM_DIGITS ||
        memcmp(file->header, CB_CHECKSUM_BEGIN, begin) != 0)
        return CRIBO_OK;
    memcpy(kept, digits, CB_CHECKSUM_DIGITS);
    memcpy(digits, CB_CHECKSUM_NONE, CB_CHECKSUM_DIGITS);
    uLong sum = crc32_z(crc32_z(0, NULL, 0), (const unsigned char *)file->header, file->header_length);
    memcpy(digits, kept, CB_CHECKSUM_DIGITS);
    file->has_checksum = true;
    return check_digits(file, "header", sum, kept);
}

static cribo_status open_file(cb_safetensors *file, cb_place place)
{
    char *copy;
    size_t size = strlen(place.path) + 1;
    CB_TRY(CB_ALLOCATE(&file->allocator, &copy, size, "path"));
    file->path = memcpy(copy, place.path, size);
    place.path = file->path;
    CB_TRY(cb_file_reader_open(&file->reader, place));
    CB_TRY(check_kind(file));
    bool is_gzip;
    CB_TRY(cb_gzip_detect(&file->reader, &is_gzip));
    if (is_gzip) CB_TRY(cb_gzip_reader_create(&file->allocator, &file->gzip, &file->reader));
    CB_TRY(load_header(file));
    CB_TRY(check_header_sum(file));
    cb_json json = cb_json_begin(file->header, file->header_length);
    CB_TRY(read_header(file, &json));
    CB_TRY(check_offsets(file));
    CB_TRY(check_names(file));
    return check_keys(file);
}

cribo_status cb_safetensors_open(const cb_allocator *allocator, cb_safetensors **out, cb_place place)
{
    cb_safetensors *file;
    *out = NULL;
    CB_TRY(CB_ALLOCATE(allocator, &file, 1, "safetensors file"));
    file->allocator = *allocator;
    file->reader.descriptor = -1;
    cribo_status status = open_file(file, place);
    if (status == CRIBO_OK)
        *out = file;
    else
        cb_safetensors_close(file);
    return status;
}

void cb_safetensors_close(cb_safetensors *file)
{
    if (!file) return;
    cb_allocator allocator = file->allocator;
    cb_gzip_reader_free(file->gzip);
    cb_file_reader_close(&file->reader);
    cb_release(&allocator, file->by_key);
    cb_release(&allocator, file->by_name);
    cb_release(&allocator, file->pairs.items);
    cb_release(&allocator, file->tensors.items);
    cb_release(&allocator, file->header);
    cb_release(&allocator, file->path);
    cb_release(&allocator, file);
}

size_t cb_safetensors_count(const cb_safetensors *file)
{
    return file->tensors.count;
}

const cb_tensor_info *cb_safetensors_tensor(const cb_safetensors *file, size_t index)
{
    return tensor_at(file, index);
}

size_t cb_safetensors_pair_count(const cb_safetensors *file)
{
    return file->pairs.count;
}

const cb_metadata_pair *cb_safetensors_pair(const cb_safetensors *file, size_t index)
{
    return pair_at(file, index);
}

/* strcmp(whole, prefix + name). */
static int compare_joined(const char *whole, const char *prefix, const char *name)
{
    size_t length = strlen(prefix);
    int order = strncmp(whole, prefix, length);
    return order != 0 ? order : strcmp(whole + length, name);
}

static const char *name_at(const cb_safetensors *file, size_t index)
{
    return tensor_at(file, index)->name;
}

static const char *key_at(const cb_safetensors *file, size_t index)
{
    return pair_at(file, index)->key;
}

/* Which of `count` indices, sorted by their texts, has the text prefix + name; `count` when none has. */
static size_t find_joined(const cb_safetensors *file, const size_t *sorted, size_t count,
    const char *(*text_at)(const cb_safetensors *, size_t), const char *prefix, const char *name)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_joined(text_at(file, sorted[middle]), prefix, name);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return count;
}

const cb_tensor_info *cb_safetensors_find(const cb_safetensors *file, const char *prefix, const char *name)
{
    size_t place = find_joined(file, file->by_name, file->tensors.count, name_at, prefix ? prefix : "", name);
    return place < file->tensors.count ? tensor_at(file, file->by_name[place]) : NULL;
}

/* The value of the metadata key prefix + name, or NULL. */
static const char *find_value(const cb_safetensors *file, const char *prefix, const char *name)
{
    size_t place = find_joined(file, file->by_key, file->pairs.count, key_at, prefix, name);
    return place < file->pairs.count ? pair_at(file, file->by_key[place])->value : NULL;
}

const char *cb_safetensors_metadata(const cb_safetensors *file, const char *key)
{
    return find_value(file, "", key);
}

/* The digits of the tensor's checksum, or NULL. */
static const char *digits_of(const cb_safetensors *file, const cb_tensor_info *tensor)
{
    return find_value(file, CB_CHECKSUM_PREFIX, tensor->name);
}

bool cb_safetensors_has_checksums(const cb_safetensors *file)
{
    for (size_t i = 0; i < file->tensors.count; i++)
        if (!digits_of(file, tensor_at(file, i))) return false;
    return file->has_checksum;
}

bool cb_tensor_is(const cb_tensor_info *tensor, cb_dtype dtype)
{
    return strcmp(tensor->dtype, cb_dtypes[dtype].name) == 0;
}

static cribo_status check_count(const cb_safetensors *file, const cb_tensor_info *tensor, size_t count)
{
    CB_REQUIRE(count == tensor->elements, "%.200s: tensor \"%.100s\" has %llu elements, not %zu", file->path,
        tensor->name, (unsigned long long)tensor->elements, count);
    return CRIBO_OK;
}

/* Reads all bytes of a tensor and compares their checksum, if there is one. */
static cribo_status read_whole(const cb_safetensors *file, const cb_tensor_info *tensor, void *bytes)
{
    size_t count = (size_t)(tensor->end - tensor->begin);
    CB_TRY(read_bytes(file, sizeof(uint64_t) + file->header_length + tensor->begin, bytes, count));
    const char *digits = digits_of(file, tensor);
    if (!digits) return CRIBO_OK;
    uLong sum = crc32_z(0, NULL, 0);
    if (count > 0) sum = crc32_z(sum, bytes, count);
    return check_digits(file, tensor->name, sum, digits);
}

cribo_status cb_safetensors_read_as(
    const cb_safetensors *file, const cb_tensor_info *tensor, cb_dtype dtype, void *values, size_t count)
{
    CB_REQUIRE(cb_tensor_is(tensor, dtype), "%.200s: tensor \"%.100s\" has dtype %s, but only %s can be read",
        file->path, tensor->name, tensor->dtype, cb_dtypes[dtype].name);
    CB_TRY(check_count(file, tensor, count));
    return read_whole(file, tensor, values);
}

cribo_status cb_safetensors_read_pieces(const cb_safetensors *file, const cb_tensor_info *tensor,
    float *piece, size_t most, cb_take_piece *take, void *context)
{
    uint64_t begin = sizeof(uint64_t) + file->header_length + tensor->begin;
    uLong sum = crc32_z(0, NULL, 0);
    CB_REQUIRE(cb_tensor_is(tensor, CB_F32),
        "%.200s: tensor \"%.100s\" has dtype %s, but only F32 can be read", file->path, tensor->name,
        tensor->dtype);
    for (uint64_t first = 0; first < tensor->elements; first += most) {
        size_t count = (size_t)cb_min(most, (size_t)(tensor->elements - first)),
               bytes = count * sizeof *piece;
        CB_TRY(read_bytes(file, begin + first * sizeof *piece, piece, bytes));
        sum = crc32_z(sum, (const unsigned char *)piece, bytes);
        take(context, (size_t)first, piece, count);
    }
    const char *digits = digits_of(file, tensor);
    return digits ? check_digits(file, tensor->name, sum, digits) : CRIBO_OK;
}

/* --- numbers of other types --- */

static float number_of_bits(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* float16: 1 bit of sign, 5 of exponent, 10 of mantissa. */
static float from_f16(const unsigned char *bytes)
{
    uint32_t half = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8, sign = (half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 31, mantissa = half & 1023;
    if (exponent == 0) {
        float small = (float)mantissa * 0x1p-24f;
        return sign ? -small : small;
    }
    return number_of_bits(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | mantissa << 13);
}

static float from_bf16(const unsigned char *bytes)
{
    return number_of_bits((uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 24);
}

static float from_f64(const unsigned char *bytes)
{
    double number;
    memcpy(&number, bytes, sizeof number);
    return (float)number;
}

static const struct conversion {
    const char *dtype;
    size_t bytes;
    float (*number)(const unsigned char *bytes);
} conversions[] = {{"F16", 2, from_f16}, {"BF16", 2, from_bf16}, {"F64", 8, from_f64}};

static const struct conversion *conversion_of(const cb_tensor_info *tensor)
{
    for (size_t i = 0; i < sizeof conversions / sizeof conversions[0]; i++)
        if (strcmp(tensor->dtype, conversions[i].dtype) == 0) return &conversions[i];
    return NULL;
}

bool cb_tensor_is_real(const cb_tensor_info *tensor)
{
    return cb_tensor_is(tensor, CB_F32) || conversion_of(tensor);
}

cribo_status cb_safetensors_read(
    const cb_safetensors *file, const cb_tensor_info *tensor, float *values, size_t count)
{
    const struct conversion *from = conversion_of(tensor);
    unsigned char *bytes;
    CB_REQUIRE(cb_tensor_is_real(tensor),
        "%.200s: tensor \"%.100s\" has dtype %s, but only F32, F16, BF16 and F64 can be read", file->path,
        tensor->name, tensor->dtype);
    if (!from) return cb_safetensors_read_as(file, tensor, CB_F32, values, count);
    CB_TRY(check_count(file, tensor, count));
    CB_TRY(cb_allocate(&file->allocator, &bytes, count, from->bytes, "numbers to be converted"));
    cribo_status status = read_whole(file, tensor, bytes);
    for (size_t i = 0; status == CRIBO_OK && i < count; i++)
        values[i] = from->number(bytes + i * from->bytes);
    cb_release(&file->allocator, bytes);
    return status;
}

cribo_status cb_safetensors_finish(const cb_safetensors *file)
{
    if (!file->gzip) return CRIBO_OK;
    return cb_gzip_reader_end(file->gzip, sizeof(uint64_t) + file->header_length + file->data_bytes);
}
