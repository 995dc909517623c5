/*
 * The rooms' walls: a room includes only the rooms above it, a public header only public headers, and BLIS
 * is known to one file. Read off the #include lines of lib/ and include/.
 */
#define _POSIX_C_SOURCE 200809L
#include "support/suite.h"

#include <check.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From the top; "cribo" means the public headers, which every room may include. */
static const char *const rooms[] = {"cribo", "base", "tensor", "search", "communication", "autograd", "model",
    "clustering", "distillation", "objective", "training", "evaluation", "io", "files", "api", "mpi"};
enum { ROOMS = sizeof rooms / sizeof rooms[0], NOWHERE = ROOMS };

/* Rooms that see less than all above them. */
static const struct {
    const char *room, *sees;
} narrow[] = {{"cribo", "cribo"}, {"clustering", "cribo base tensor clustering"}, {"io", "cribo base io"},
    {"communication", "cribo base tensor communication"}, {"mpi", "cribo mpi"}};

static size_t room_of(const char *name, size_t length)
{
    size_t room = 0;
    while (room < ROOMS && (strlen(rooms[room]) != length || strncmp(rooms[room], name, length) != 0)) room++;
    return room;
}

/* The room of a path such as "model/vit.h"; NOWHERE if it is in none. */
static size_t room_of_path(const char *path)
{
    const char *slash = strchr(path, '/');
    return slash ? room_of(path, (size_t)(slash - path)) : NOWHERE;
}

static bool sees(size_t room, size_t other)
{
    if (room == NOWHERE || other > room) return false;
    for (size_t i = 0; i < sizeof narrow / sizeof narrow[0]; i++)
        if (strcmp(narrow[i].room, rooms[room]) == 0) return strstr(narrow[i].sees, rooms[other]) != NULL;
    return true;
}

/* Whether `file` ("model/vit.c", "cribo/base.h") may have this line. */
static bool allowed(const char *file, const char *line)
{
    char name[256];
    if (strstr(line, "#include") == NULL) return true;
    if (strstr(line, "BLIS") || strstr(line, "blis")) return strcmp(file, "tensor/gemm.c") == 0;
    if (sscanf(line, " #include \"%255[^\"]\"", name) != 1) return true; /* a system's header */
    return sees(room_of_path(file), room_of_path(name));
}

/* Checks all lines of a source file, and counts its #include lines. */
static size_t check_file(const char *path, const char *file)
{
    char line[1024];
    size_t number = 0, includes = 0;
    FILE *stream = fopen(path, "r");
    ck_assert_msg(stream != NULL, "cannot read %s", path);
    while (fgets(line, sizeof line, stream)) {
        number++;
        includes += strncmp(line, "#include", 8) == 0;
        ck_assert_msg(allowed(file, line), "%s:%zu must not have %s", file, number, line);
    }
    fclose(stream);
    return includes;
}

/* Checks the sources of a room, and counts their #include lines. */
static size_t check_room(const char *folder, const char *room)
{
    char path[1024], file[512];
    size_t includes = 0;
    snprintf(path, sizeof path, "%s/%s/%s", CRIBO_SOURCE, folder, room);
    DIR *directory = opendir(path);
    ck_assert_msg(directory != NULL, "there is no room %s", path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name);
        if (length < 3 || entry->d_name[length - 2] != '.' || !strchr("ch", entry->d_name[length - 1]))
            continue;
        snprintf(file, sizeof file, "%s/%s", room, entry->d_name);
        snprintf(path, sizeof path, "%s/%s/%s", CRIBO_SOURCE, folder, file);
        includes += check_file(path, file);
    }
    closedir(directory);
    return includes;
}

START_TEST(test_rooms_of_the_library_include_only_what_they_may)
{
    ck_assert_uint_gt(check_room("include", rooms[0]), 5);
    ck_assert_uint_gt(check_room("lib", "base"), 10);
    for (size_t room = 2; room < ROOMS; room++) ck_assert_uint_gt(check_room("lib", rooms[room]), 0);
}
END_TEST

START_TEST(test_rooms_every_folder_of_the_library_is_one)
{
    DIR *directory = opendir(CRIBO_SOURCE "/lib");
    ck_assert_ptr_nonnull(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        ck_assert_msg(strchr(entry->d_name, '.') || room_of(entry->d_name, strlen(entry->d_name)) != NOWHERE,
            "lib/%s is no room that this test knows", entry->d_name);
    closedir(directory);
}
END_TEST

/* --- inside a room --- */

/*
 * The files of a room as units: NAME.c and NAME.h are one. A unit points at another when one of its files
 * includes the other's header.
 */
enum { UNITS = 64 };
typedef struct unit_graph {
    char name[UNITS][64];
    bool arrow[UNITS][UNITS];
    size_t count;
} unit_graph;

static size_t unit_of(unit_graph *g, const char *name, size_t length)
{
    size_t i = 0;
    while (i < g->count && (strlen(g->name[i]) != length || strncmp(g->name[i], name, length) != 0)) i++;
    if (i < g->count) return i;
    ck_assert_uint_lt(g->count, UNITS);
    snprintf(g->name[g->count], sizeof g->name[0], "%.*s", (int)length, name);
    return g->count++;
}

/* The arrow of one line of `unit`, a file of `room`. */
static void add_line(unit_graph *g, const char *room, size_t unit, const char *line)
{
    char name[256];
    size_t length = strlen(room);
    if (sscanf(line, " #include \"%255[^\"]\"", name) != 1) return;
    if (strncmp(name, room, length) != 0 || name[length] != '/' || !strchr(name, '.')) return;
    size_t other = unit_of(g, name + length + 1, strcspn(name + length + 1, "."));
    if (other != unit) g->arrow[unit][other] = true;
}

static unit_graph read_room(const char *room)
{
    unit_graph g = {.count = 0};
    char path[1024], line[1024];
    snprintf(path, sizeof path, "%s/lib/%s", CRIBO_SOURCE, room);
    DIR *directory = opendir(path);
    ck_assert_msg(directory != NULL, "cannot read %s", path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name);
        if (length < 3 || entry->d_name[length - 2] != '.' || !strchr("ch", entry->d_name[length - 1]))
            continue;
        snprintf(path, sizeof path, "%s/lib/%s/%s", CRIBO_SOURCE, room, entry->d_name);
        FILE *stream = fopen(path, "r");
        ck_assert_ptr_nonnull(stream);
        size_t unit = unit_of(&g, entry->d_name, length - 2);
        while (fgets(line, sizeof line, stream)) add_line(&g, room, unit, line);
        fclose(stream);
    }
    closedir(directory);
    return g;
}

/* Follows all includes to their ends; a unit that reaches itself is on a circle. NULL: there is none. */
static const char *circle_of(unit_graph *g)
{
    for (size_t via = 0; via < g->count; via++)
        for (size_t from = 0; from < g->count; from++)
            for (size_t to = 0; to < g->count; to++)
                if (g->arrow[from][via] && g->arrow[via][to]) g->arrow[from][to] = true;
    for (size_t i = 0; i < g->count; i++)
        if (g->arrow[i][i]) return g->name[i];
    return NULL;
}

START_TEST(test_rooms_have_no_circles_inside)
{
    for (size_t room = 1; room < ROOMS; room++) {
        unit_graph g = read_room(rooms[room]);
        const char *unit = circle_of(&g);
        ck_assert_msg(unit == NULL, "lib/%s: %s includes, through others, itself", rooms[room], unit);
        ck_assert_uint_gt(g.count, 0);
    }
}
END_TEST

START_TEST(test_rooms_circles_are_found)
{
    unit_graph g = {.count = 0};
    static const char *const units[] = {"step", "learner", "report"};
    for (size_t i = 0; i < 3; i++) unit_of(&g, units[i], strlen(units[i]));
    add_line(&g, "training", 0, "#include \"training/step.h\"\n");
    add_line(&g, "training", 0, "#include \"training/learner.h\"\n");
    add_line(&g, "training", 1, "#include \"training/report.h\"\n");
    add_line(&g, "training", 2, "#include \"objective/step.h\"\n");
    unit_graph open = g;
    ck_assert_ptr_null(circle_of(&open));
    add_line(&g, "training", 2, "#include \"training/step.h\"\n");
    ck_assert_ptr_nonnull(circle_of(&g));
}
END_TEST

START_TEST(test_rooms_arrows_are_told_apart)
{
    static const struct {
        bool right;
        const char *file, *line;
    } cases[] = {
        {true, "model/vit.c", "#include \"model/vit.h\"\n"},
        {true, "model/vit.c", "#include \"tensor/gemm.h\"\n"},
        {true, "model/vit.c", "#include \"cribo/model.h\"\n"},
        {true, "model/vit.c", "#include <math.h>\n"},
        {true, "tensor/gemm.c", "#include CB_BLIS_HEADER\n"},
        {true, "api/trainer.c", "#include \"io/safetensors.h\"\n"},
        {true, "clustering/sinkhorn.c", "#include \"tensor/rows.h\"\n"},
        {true, "cribo/loss.h", "#include \"cribo/base.h\"\n"},
        {false, "model/vit.c", "#include \"clustering/sinkhorn.h\"\n"},
        {false, "base/pool.c", "#include \"tensor/rows.h\"\n"},
        {false, "training/step.c", "#include \"io/safetensors.h\"\n"},
        {false, "io/safetensors.h", "  #include \"tensor/rows.h\"\n"},
        {false, "clustering/sinkhorn.c", "#include \"autograd/tape.h\"\n"},
        {false, "distillation/bank.c", "#include \"api/bank.h\"\n"},
        {false, "cribo/loss.h", "#include \"base/status.h\"\n"},
        {false, "model/vit.c", "#include \"vit.h\"\n"},
        {false, "model/vit.c", "#include \"../tensor/rows.h\"\n"},
        {false, "model/vit.c", "#include \"support/golden.h\"\n"},
        {false, "tensor/rows.c", "#include CB_BLIS_HEADER\n"},
        {false, "cribo/base.h", "#include <blis/blis.h>\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(
            allowed(cases[i].file, cases[i].line) == cases[i].right, "%s: %s", cases[i].file, cases[i].line);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rooms");
    TCase *tests = tcase_create("rooms");
    tcase_add_test(tests, test_rooms_of_the_library_include_only_what_they_may);
    tcase_add_test(tests, test_rooms_every_folder_of_the_library_is_one);
    tcase_add_test(tests, test_rooms_have_no_circles_inside);
    tcase_add_test(tests, test_rooms_circles_are_found);
    tcase_add_test(tests, test_rooms_arrows_are_told_apart);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
