/*
 * The settings of the augmentation, which makes views from pictures. One table has the name, range, default
 * and help of each; options, records of runs and comparisons use it. Defaults are those of the published
 * runs.
 */
#ifndef RECIPE_H
#define RECIPE_H

#include "base/problem.h"

#include <stdbool.h>
#include <stddef.h>

/* Of the channels of ImageNet's pixels, 0 ... 1. */
#define IMAGENET_MEAN 0.485, 0.456, 0.406
#define IMAGENET_DEVIATION 0.229, 0.224, 0.225

enum recipe_resampling { RECIPE_BICUBIC, RECIPE_BILINEAR };

struct recipe {
    double crop_area_min, crop_area_max;   /* shares of the picture's area */
    double crop_ratio_min, crop_ratio_max; /* width / height */
    double flip[2];                        /* probabilities of view 1 and 2, here and below */
    double jitter[2];
    double brightness, contrast, saturation,
        hue; /* strengths: 1 - s ... 1 + s; hue: -s ... s of the circle */
    double grey[2];
    double blur[2];
    double blur_min, blur_max; /* deviation in pixels of the view */
    double solarise[2];
    double solarise_threshold;                         /* 0 ... 1: lighter values are inverted */
    double local_area_min, local_area_max, local_blur; /* of local crops, in place of the views' */
    double resampling;                                 /* enum recipe_resampling */
    double mean[3], deviation[3];                      /* for the normalisation of pixels */
};

enum { RECIPE_VALUES = 3 };

/* A setting: one number, two (a view each) or three (a channel each). */
struct recipe_setting {
    const char *name;
    size_t offset; /* in struct recipe */
    int count;
    double initial[RECIPE_VALUES], least, most;
    const char *const *words; /* names of its values 0, 1, ... ; NULL: it is a number */
    const char *help;
};

enum { RECIPE_SETTINGS = 22 };
extern const struct recipe_setting recipe_settings[RECIPE_SETTINGS];

/* The setting of this name; NULL: none. */
const struct recipe_setting *recipe_find(const char *name);

/* The published recipe. */
struct recipe recipe_published(void);

/*
 * The recipe of local crops: as view 1 (pictures/augment.h), with their own areas and blur, never
 * solarised.
 */
struct recipe recipe_of_local_crops(const struct recipe *recipe);

/*
 * Gives a setting its values from a text: "0.4", a word, or numbers with commas between them. Of a setting of
 * two numbers, one holds for both views.
 */
bool recipe_set(struct recipe *recipe, const char *name, const char *value, struct problem *problem);

/* Whether the settings are consistent. */
bool recipe_check(const struct recipe *recipe, struct problem *problem);

/* A setting's exact values in the form for recipe_set. */
enum { RECIPE_TEXT = 80 };
void recipe_print(const struct recipe *recipe, const struct recipe_setting *setting, char text[RECIPE_TEXT]);

/* All settings that differ from the published ones, "name=value;name=value", and back. */
enum { RECIPE_WHOLE_TEXT = RECIPE_SETTINGS * (RECIPE_TEXT + 24) };
void recipe_write(const struct recipe *recipe, char text[RECIPE_WHOLE_TEXT]);
bool recipe_read(struct recipe *recipe, const char *text, struct problem *problem);

#endif
