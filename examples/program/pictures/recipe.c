/* See recipe.h. */
#include "pictures/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const resamplings[] = {"bicubic", "bilinear", NULL};

#define AT(field) offsetof(struct recipe, field)
#define PROBABILITY(field, first, second, help) \
    {#field, AT(field), 2, {first, second}, 0, 1, NULL, help " (0 ... 1; P, or P1,P2 for view 1 and view 2)"}

const struct recipe_setting recipe_settings[RECIPE_SETTINGS] = {
    {"crop_area_min", AT(crop_area_min), 1, {0.25}, 0.001, 1, NULL,
        "Smallest area of a crop, as a share of the picture's"},
    {"crop_area_max", AT(crop_area_max), 1, {1}, 0.001, 1, NULL,
        "Largest area of a crop, as a share of the picture's"},
    {"crop_ratio_min", AT(crop_ratio_min), 1, {3.0 / 4.0}, 0.05, 20, NULL,
        "Smallest width / height of a crop"},
    {"crop_ratio_max", AT(crop_ratio_max), 1, {4.0 / 3.0}, 0.05, 20, NULL,
        "Largest width / height of a crop"},
    PROBABILITY(flip, 0.5, 0.5, "Probability that a view is mirrored"),
    PROBABILITY(
        jitter, 0.8, 0.8, "Probability that brightness, contrast, saturation and hue of a view change"),
    {"brightness", AT(brightness), 1, {0.4}, 0, 1, NULL,
        "Strength S of the change of brightness, by a factor of 1 - S to 1 + S"},
    {"contrast", AT(contrast), 1, {0.4}, 0, 1, NULL,
        "Strength S of the change of contrast, by a factor of 1 - S to 1 + S"},
    {"saturation", AT(saturation), 1, {0.2}, 0, 1, NULL,
        "Strength S of the change of saturation, by a factor of 1 - S to 1 + S"},
    {"hue", AT(hue), 1, {0.1}, 0, 0.5, NULL,
        "Strength S of the change of hue, by -S to S of the colour circle"},
    PROBABILITY(grey, 0.2, 0.2, "Probability that a view loses its colours"),
    PROBABILITY(blur, 1.0, 0.1, "Probability that a view is blurred"),
    {"blur_min", AT(blur_min), 1, {0.1}, 0.01, 10, NULL,
        "Smallest deviation of the blur, in pixels of the view"},
    {"blur_max", AT(blur_max), 1, {2.0}, 0.01, 10, NULL,
        "Largest deviation of the blur, in pixels of the view"},
    PROBABILITY(solarise, 0.0, 0.2, "Probability of solarisation, which inverts the light values of a view"),
    {"solarise_threshold", AT(solarise_threshold), 1, {128.0 / 255.0}, 0, 1, NULL,
        "Smallest value that solarisation inverts (0 ... 1)"},
    {"local_area_min", AT(local_area_min), 1, {0.05}, 0.001, 1, NULL,
        "Smallest area of a local crop (--local-crops), as a share of the picture's"},
    {"local_area_max", AT(local_area_max), 1, {0.4}, 0.001, 1, NULL,
        "Largest area of a local crop (--local-crops), as a share of the picture's"},
    {"local_blur", AT(local_blur), 1, {0.5}, 0, 1, NULL,
        "Probability that a local crop (--local-crops) is blurred"},
    {"resampling", AT(resampling), 1, {RECIPE_BICUBIC}, 0, 1, resamplings,
        "Interpolation of a crop to the view's size: bicubic or bilinear, both antialiased"},
    {"mean", AT(mean), 3, {IMAGENET_MEAN}, 0, 1, NULL,
        "Mean of red, green and blue (R,G,B; 0 ... 1) that is subtracted from the pixels; give that of the "
        "training of --weights"},
    {"deviation", AT(deviation), 3, {IMAGENET_DEVIATION}, 0.001, 10, NULL,
        "Deviation of red, green and blue (R,G,B; 0 ... 1) by which the pixels are divided"},
};

const struct recipe_setting *recipe_find(const char *name)
{
    for (size_t i = 0; i < RECIPE_SETTINGS; i++)
        if (!strcmp(recipe_settings[i].name, name)) return &recipe_settings[i];
    return NULL;
}

static void put_values(struct recipe *recipe, const struct recipe_setting *setting, const double *values)
{
    memcpy((char *)recipe + setting->offset, values, (size_t)setting->count * sizeof *values);
}

static void get_values(const struct recipe *recipe, const struct recipe_setting *setting, double *values)
{
    memcpy(values, (const char *)recipe + setting->offset, (size_t)setting->count * sizeof *values);
}

struct recipe recipe_published(void)
{
    struct recipe recipe = {0};
    for (size_t i = 0; i < RECIPE_SETTINGS; i++)
        put_values(&recipe, &recipe_settings[i], recipe_settings[i].initial);
    return recipe;
}

struct recipe recipe_of_local_crops(const struct recipe *recipe)
{
    struct recipe local = *recipe;
    local.crop_area_min = recipe->local_area_min;
    local.crop_area_max = recipe->local_area_max;
    local.blur[0] = recipe->local_blur;
    local.solarise[0] = 0;
    return local;
}

/* A number or a word, up to a comma or the end; *end behind it, NULL when it is neither. */
static double parse_value(const struct recipe_setting *setting, const char *text, char **end)
{
    for (int i = 0; setting->words && setting->words[i]; i++) {
        *end = (char *)text + strlen(setting->words[i]);
        if (!strcmp(setting->words[i], text)) return i;
    }
    double value = setting->words ? 0 : strtod(text, end);
    if (setting->words || *end == text || !isfinite(value)) *end = NULL;
    return value;
}

static bool refuse(const struct recipe_setting *setting, const char *value, struct problem *problem)
{
    if (setting->words)
        return problem_set(
            problem, "%s=%s: expected %s or %s", setting->name, value, setting->words[0], setting->words[1]);
    static const char *const counts[] = {"", "a number", "a number or two", "three numbers"};
    return problem_set(problem, "%s=%s: expected %s from %.15g to %.15g", setting->name, value,
        counts[setting->count], setting->least, setting->most);
}

bool recipe_set(struct recipe *recipe, const char *name, const char *value, struct problem *problem)
{
    const struct recipe_setting *setting = recipe_find(name);
    double values[RECIPE_VALUES];
    int count = 0;
    if (!setting) return problem_set(problem, "%s is no setting of the views", name);
    const char *text = value;
    while (text) {
        char *end;
        double number = parse_value(setting, text, &end);
        if (!end || (*end && *end != ',') || count == setting->count) return refuse(setting, value, problem);
        if (number < setting->least || number > setting->most) return refuse(setting, value, problem);
        values[count++] = number;
        text = *end ? end + 1 : NULL;
    }
    if (setting->count == 2 && count == 1) values[count++] = values[0];
    if (count != setting->count) return refuse(setting, value, problem);
    put_values(recipe, setting, values);
    return true;
}

bool recipe_check(const struct recipe *recipe, struct problem *problem)
{
    if (recipe->crop_area_min > recipe->crop_area_max)
        return problem_set(problem, "crop_area_min %g is more than crop_area_max %g", recipe->crop_area_min,
            recipe->crop_area_max);
    if (recipe->local_area_min > recipe->local_area_max)
        return problem_set(problem, "local_area_min %g is more than local_area_max %g",
            recipe->local_area_min, recipe->local_area_max);
    if (recipe->crop_ratio_min > recipe->crop_ratio_max)
        return problem_set(problem, "crop_ratio_min %g is more than crop_ratio_max %g",
            recipe->crop_ratio_min, recipe->crop_ratio_max);
    return recipe->blur_min <= recipe->blur_max ||
           problem_set(problem, "blur_min %g is more than blur_max %g", recipe->blur_min, recipe->blur_max);
}

void recipe_print(const struct recipe *recipe, const struct recipe_setting *setting, char text[RECIPE_TEXT])
{
    double values[RECIPE_VALUES];
    size_t length = 0;
    get_values(recipe, setting, values);
    if (setting->words) {
        snprintf(text, RECIPE_TEXT, "%s", setting->words[(int)values[0]]);
        return;
    }
    bool same = setting->count == 2 && values[0] == values[1];
    for (int i = 0; i < (same ? 1 : setting->count); i++) {
        char number[32];
        snprintf(number, sizeof number, "%.15g", values[i]);
        if (strtod(number, NULL) != values[i]) snprintf(number, sizeof number, "%.17g", values[i]);
        length += (size_t)snprintf(text + length, RECIPE_TEXT - length, i ? ",%s" : "%s", number);
    }
}

void recipe_write(const struct recipe *recipe, char text[RECIPE_WHOLE_TEXT])
{
    struct recipe published = recipe_published();
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < RECIPE_SETTINGS; i++) {
        char value[RECIPE_TEXT], usual[RECIPE_TEXT];
        recipe_print(recipe, &recipe_settings[i], value);
        recipe_print(&published, &recipe_settings[i], usual);
        if (!strcmp(value, usual)) continue;
        length += (size_t)snprintf(text + length, RECIPE_WHOLE_TEXT - length, "%s%s=%s", length ? ";" : "",
            recipe_settings[i].name, value);
    }
}

bool recipe_read(struct recipe *recipe, const char *text, struct problem *problem)
{
    *recipe = recipe_published();
    while (*text) {
        char name[32], value[RECIPE_TEXT];
        size_t key = strcspn(text, "=;"), rest = text[key] == '=' ? strcspn(text + key + 1, ";") : 0;
        if (text[key] != '=' || key >= sizeof name || rest >= sizeof value)
            return problem_set(problem, "no settings of views: %.80s", text);
        snprintf(name, sizeof name, "%.*s", (int)key, text);
        snprintf(value, sizeof value, "%.*s", (int)rest, text + key + 1);
        if (!recipe_set(recipe, name, value, problem)) return false;
        text += key + 1 + rest;
        text += *text == ';';
    }
    return recipe_check(recipe, problem);
}
