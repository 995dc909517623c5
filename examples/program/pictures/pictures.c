/* See pictures.h. */
#include "pictures/pictures.h"

#include "pictures/listing.h"
#include "pictures/picture_index.h"

#include <stdlib.h>
#include <string.h>

void pictures_close(struct pictures *pictures)
{
    free(pictures->content);
    free(pictures->source_begins);
    *pictures = (struct pictures){0};
}

static bool is_unchanged(const struct picture_container *container, const char *name)
{
    struct stat status;
    if (container->seconds < 0 || stat(name, &status)) return false;
    return status.st_mtim.tv_sec == container->seconds && status.st_mtim.tv_nsec == container->nanoseconds &&
           (container->kind == CONTAINER_FOLDER || (uint64_t)status.st_size == container->bytes);
}

/* Whether container `i` is source number `source` of those given, by its name and its real path. */
static bool is_source(
    const struct pictures *pictures, const struct picture_container *container, const char *source)
{
    char *real = realpath(source, NULL);
    bool same = real && !strcmp(pictures->names + container->name, source) &&
                !strcmp(pictures->names + container->bytes, real);
    free(real);
    return same;
}

static bool still_holds(const struct pictures *pictures, char *const *sources, size_t count, const char *keys)
{
    size_t source = 0;
    bool keyed = false;
    for (size_t i = 0; i < pictures->container_count; i++) {
        const struct picture_container *c = &pictures->containers[i];
        const char *name = pictures->names + c->name;
        bool holds;
        switch (c->kind) {
        case CONTAINER_SOURCE:
            holds = source < count && is_source(pictures, c, sources[source]);
            source++;
            break;
        case CONTAINER_KEYS: holds = keyed = keys && !strcmp(name, keys); break;
        default: holds = is_unchanged(c, name); break;
        }
        if (!holds) return false;
    }
    return source == count && keyed == (keys != NULL);
}

bool pictures_read(struct pictures *pictures, const char *index, char *const *sources, size_t count,
    const struct pictures_options *options)
{
    if (!index_read(pictures, index)) return false;
    pictures->kept = still_holds(pictures, sources, count, options ? options->keys : NULL);
    if (!pictures->kept) pictures_close(pictures);
    return pictures->kept;
}

bool pictures_open(struct pictures *pictures, const char *index, char *const *sources, size_t count,
    const struct pictures_options *options, struct problem *problem)
{
    static const struct pictures_options none;
    if (!options) options = &none;
    if (pictures_read(pictures, index, sources, count, options)) return true;
    if (!listing_make(index, sources, count, options, problem)) return false;
    return index_read(pictures, index) || problem_set(problem, "cannot read %s again", index);
}

static const struct picture_container *container_of(
    const struct pictures *pictures, const struct picture_entry *entry)
{
    return &pictures->containers[entry->container];
}

size_t pictures_source(const struct pictures *pictures, size_t i)
{
    size_t source = pictures->sources;
    while (source > 1 && pictures->source_begins[source - 1] > pictures->entries[i].container) source--;
    return source ? source - 1 : 0;
}

const char *pictures_source_name(const struct pictures *pictures, size_t source)
{
    return pictures->names + pictures->containers[pictures->source_begins[source]].name;
}

void pictures_name(const struct pictures *pictures, size_t i, char *name, size_t size)
{
    const struct picture_entry *entry = &pictures->entries[i];
    const struct picture_container *container = container_of(pictures, entry);
    const char *own = pictures->names + entry->name, *outer = pictures->names + container->name;
    bool slash = outer[0] && outer[strlen(outer) - 1] == '/';
    if (container->kind == CONTAINER_FOLDER)
        snprintf(name, size, "%s%s%s", outer, slash ? "" : "/", own);
    else if (container->kind == CONTAINER_ARCHIVE)
        snprintf(name, size, "%s: %s", outer, own);
    else
        snprintf(name, size, "%s", own);
}

bool pictures_load(const struct pictures *pictures, size_t i, struct image *image, int channels,
    double least_side, struct problem *problem)
{
    const struct picture_entry *entry = &pictures->entries[i];
    const struct picture_container *container = container_of(pictures, entry);
    char path[2 * 4096];
    if (container->kind == CONTAINER_ARCHIVE)
        return image_load_part(image, pictures->names + container->name, entry->offset, entry->size, channels,
            least_side, problem);
    pictures_name(pictures, i, path, sizeof path);
    return image_load(image, path, channels, least_side, problem);
}
