/* See pools.h. */
#include "scenes/pools.h"

#include "pictures/kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Tux Paint's folders whose stamps are photographs. Folders of drawings, toys and artificial flowers in them
 * are left out.
 */
static const struct {
    const char *name;
    const char *folders[2];
} stamp_classes[] = {
    {"mammal", {"animals/mammals/", "animals/marsupials/"}},
    {"bird", {"animals/birds/", NULL}},
    {"fish", {"animals/fish/", NULL}},
    {"insect", {"animals/insects/", NULL}},
    {"fruit", {"food/fruit/", NULL}},
    {"vegetable", {"food/vegetables/", NULL}},
    {"flower", {"plants/flowers/", NULL}},
    {"vehicle", {"vehicles/", NULL}},
    {"instrument", {"hobbies/music/", NULL}},
    {"household", {"household/", NULL}},
};
enum { STAMP_CLASSES = sizeof stamp_classes / sizeof *stamp_classes };

/* Parts of a path that mark a drawing or a duplicate: the red apple is the green one, mirrored. */
static const char *const drawn[] = {"/cartoon/", "/toys/", "/plastic/", "mirror", "/mammals/hedgehog.",
    "/insects/bee.", "/tools/toolbox.", "/fruit/apple_red."};

/*
 * Photographs among Debian's wallpapers without anything of the classes in them; most others of these
 * packages are drawn.
 */
static const char wallpaper_root[] = "/usr/share/";
static const char *const wallpapers[] = {
    "backgrounds/Bridge_by_Sander_Klootwijk.jpg",
    "backgrounds/Picture_1A_by_freespace.jpg",
    "backgrounds/Wine_by_Jakkub_Mede.jpg",
    "backgrounds/aitzgorri_by_Aitzol_Berasategi.jpg",
    "backgrounds/greentock_by_Peter_Nerlich.jpg",
    "backgrounds/life_by_Aitzol_Berasategi.jpg",
    "backgrounds/picosdeeuropa_by_Aitzol_Berasategi.jpg",
    "backgrounds/seeding_by_Clements_Engelhardt.jpg",
    "backgrounds/sunset_by_Aitzol_Berasategi.jpg",
    "backgrounds/mate/nature/Blinds.jpg",
    "backgrounds/mate/nature/Dune.jpg",
    "backgrounds/mate/nature/GreenMeadow.jpg",
    "backgrounds/mate/nature/RainDrops.jpg",
    "backgrounds/mate/nature/Storm.jpg",
    "backgrounds/mate/nature/Wood.jpg",
    "lxqt/wallpapers/after-the-rain.jpg",
    "lxqt/wallpapers/cloud.png",
    "lxqt/wallpapers/drop.png",
    "lxqt/wallpapers/fog.jpg",
    "lxqt/wallpapers/this-is-not-windows.jpg",
    "wallpapers/Autumn/contents/images/2560x1600.jpg",
    "wallpapers/BytheWater/contents/images/2560x1600.jpg",
    "wallpapers/ColdRipple/contents/images/2560x1600.jpg",
    "wallpapers/EveningGlow/contents/images/2560x1600.jpg",
    "wallpapers/FallenLeaf/contents/images/2560x1600.jpg",
    "wallpapers/Kite/contents/images/2560x1600.jpg",
    "wallpapers/OneStandsOut/contents/images/2560x1600.jpg",
    "wallpapers/Path/contents/images/2560x1600.jpg",
    "wallpapers/SafeLanding/contents/images/5120x2880.jpg",
    "wallpapers/summer_1am/contents/images/2560x1600.jpg",
};
enum { WALLPAPERS = sizeof wallpapers / sizeof *wallpapers };

static bool is_drawn(const char *path)
{
    for (size_t i = 0; i < sizeof drawn / sizeof *drawn; i++)
        if (strstr(path, drawn[i])) return true;
    return false;
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Whether file `i` of a sorted list of `count` is in this half. */
static bool in_split(size_t i, size_t count, enum split split)
{
    bool validation = i % 5 == 1 || i % 5 == 3;
    return split == SPLIT_ALL || count < 2 || validation == (split == SPLIT_VALIDATION);
}

static void keep_split(struct object_class *own, enum split split)
{
    size_t kept = 0;
    for (size_t i = 0; i < own->count; i++)
        if (in_split(i, own->count, split)) own->paths[kept++] = own->paths[i];
    own->count = kept;
}

/* The class of a stamp, by its path inside the folder: 0 ..., or -1. */
static int stamp_class(const char *inside)
{
    for (int k = 0; k < STAMP_CLASSES; k++)
        for (int f = 0; f < 2 && stamp_classes[k].folders[f]; f++)
            if (begins_with(inside, stamp_classes[k].folders[f])) return k;
    return -1;
}

/* Adds a class with room for `most` paths. */
static struct object_class *add_class(struct pools *pools, const char *name, size_t length, size_t most)
{
    if (pools->class_count == MOST_CLASSES) return NULL;
    struct object_class *added = &pools->classes[pools->class_count++];
    added->name = strndup(name, length);
    added->paths = calloc(most ? most : 1, sizeof *added->paths);
    return added->name && added->paths ? added : NULL;
}

static bool sort_stamps(struct pools *pools, size_t prefix)
{
    for (int k = 0; k < STAMP_CLASSES; k++)
        if (!add_class(pools, stamp_classes[k].name, strlen(stamp_classes[k].name), pools->stamps.count))
            return false;
    for (size_t i = 0; i < pools->stamps.count; i++) {
        char *path = pools->stamps.paths[i];
        int k = stamp_class(path + prefix);
        if (k < 0 || is_drawn(path + prefix - 1)) continue;
        struct object_class *own = &pools->classes[k];
        own->paths[own->count++] = path;
    }
    return true;
}

/* Each immediate folder is a class; the paths are sorted, so those of a folder are adjacent. */
static bool sort_folders(struct pools *pools, size_t prefix)
{
    struct object_class *current = NULL;
    for (size_t i = 0; i < pools->stamps.count; i++) {
        char *path = pools->stamps.paths[i];
        const char *inside = path + prefix, *slash = strchr(inside, '/');
        if (!slash || strstr(inside, "mirror")) continue;
        size_t length = (size_t)(slash - inside);
        bool same = current && strlen(current->name) == length && begins_with(inside, current->name);
        if (!same) current = add_class(pools, inside, length, pools->stamps.count - i);
        if (!current) return false;
        current->paths[current->count++] = path;
    }
    return true;
}

static bool gather_fashion(struct pools *pools, const char *root, enum split split, struct problem *problem)
{
    if (!fashion_load(&pools->fashion, root, split == SPLIT_VALIDATION, problem)) return false;
    for (size_t k = 0; k < FASHION_CLASSES; k++) {
        struct object_class *own = &pools->classes[pools->class_count++];
        own->name = strdup(fashion_class_names[k]);
        if (!own->name) return problem_no_memory(problem);
        own->count = pools->fashion.first[k + 1] - pools->fashion.first[k];
    }
    return true;
}

static bool gather_stamps(struct pools *pools, const char *root, enum split split, struct problem *problem)
{
    if (fashion_is_in(root)) return gather_fashion(pools, root, split, problem);
    if (!folder_list(&pools->stamps, root, problem)) {
        size_t used = strlen(problem->text);
        if (!strcmp(root, POOLS_STAMPS))
            snprintf(problem->text + used, sizeof problem->text - used,
                " (the package tuxpaint-stamps-default has it)");
        return false;
    }
    size_t length = strlen(root), prefix = length + (length > 0 && root[length - 1] != '/'), objects = 0;
    bool tux_paint = false;
    for (size_t i = 0; i < pools->stamps.count; i++)
        tux_paint |= stamp_class(pools->stamps.paths[i] + prefix) >= 0;
    if (!(tux_paint ? sort_stamps(pools, prefix) : sort_folders(pools, prefix)))
        return problem_set(problem, "%s: more than %d folders, or no memory for them", root, MOST_CLASSES);
    for (size_t k = 0; k < pools->class_count; k++) {
        keep_split(&pools->classes[k], split);
        objects += pools->classes[k].count;
    }
    return objects > 0 ||
           problem_set(problem, "%s: no stamps in it; expected folders with PNG files, one per class", root);
}

static bool add_wallpapers(struct folder *folder, struct problem *problem)
{
    folder->paths = calloc(WALLPAPERS, sizeof *folder->paths);
    for (size_t i = 0; i < WALLPAPERS && folder->paths; i++) {
        char *path = path_join(wallpaper_root, wallpapers[i]);
        if (!path) return problem_no_memory(problem);
        if (access(path, R_OK) == 0)
            folder->paths[folder->count++] = path;
        else
            free(path);
    }
    return folder->count > 0 || problem_set(problem,
                                    "none of the known photographs is in %s{backgrounds,lxqt,wallpapers}; "
                                    "install mate-backgrounds, "
                                    "lomiri-wallpapers-16.04, lxqt-themes or plasma-workspace-wallpapers, or "
                                    "name a folder with --backgrounds",
                                    wallpaper_root);
}

static bool gather_backgrounds(
    struct pools *pools, const char *root, enum split split, struct problem *problem)
{
    struct folder all = {0}, *kept = &pools->backgrounds;
    bool listed = root ? folder_list(&all, root, problem) : add_wallpapers(&all, problem);
    if (listed && all.count == 0) listed = problem_set(problem, "%s: no %s files in it", root, kind_formats);
    if (!listed) {
        folder_free(&all);
        return false;
    }
    for (size_t i = 0; i < all.count; i++) {
        if (in_split(i, all.count, split))
            all.paths[kept->count++] = all.paths[i];
        else
            free(all.paths[i]);
    }
    kept->paths = all.paths;
    return true;
}

bool pools_gather(struct pools *pools, const char *stamps, const char *backgrounds, enum split split,
    struct problem *problem)
{
    *pools = (struct pools){0};
    if (gather_stamps(pools, stamps, split, problem) &&
        gather_backgrounds(pools, backgrounds, split, problem))
        return true;
    pools_free(pools);
    return false;
}

void pools_free(struct pools *pools)
{
    for (size_t k = 0; k < pools->class_count; k++) {
        free(pools->classes[k].name);
        free(pools->classes[k].paths);
    }
    folder_free(&pools->stamps);
    folder_free(&pools->backgrounds);
    fashion_free(&pools->fashion);
    *pools = (struct pools){0};
}

bool pools_object(const struct pools *pools, size_t k, size_t which, const double *draws,
    struct image *object, struct problem *problem)
{
    struct problem reason;
    const struct object_class *own = &pools->classes[k];
    if (!own->paths) return fashion_item(object, &pools->fashion, k, which, draws, problem);
    return image_load(object, own->paths[which], 4, 0, &reason) ||
           problem_set(problem, "%s: %s", own->paths[which], reason.text);
}
