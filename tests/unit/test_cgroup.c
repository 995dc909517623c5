/* CPU quotas and memory limits of nested control groups, in trees of files that stand for /proc and /sys. */
#define _XOPEN_SOURCE 700
#include "base/cgroup.h"
#include "support/suite.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = CRIBO_SCRATCH "/cgroup-XXXXXX";

static void begin(void)
{
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

static void end(void)
{
    ck_assert_int_eq(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* Writes a file below the root, and the folders above it. */
static void put(const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

#define V2 "sys/fs/cgroup/"
#define V1_MEMORY "sys/fs/cgroup/memory/"
#define V1 "sys/fs/cgroup/cpu,cpuacct/"

START_TEST(test_cgroup_v2_smallest_quota_upwards_counts)
{
    put("proc/self/cgroup", "0::/user.slice/job/step\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 0);
    put(V2 "user.slice/job/step/cpu.max", "max 100000\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 0);
    put(V2 "user.slice/job/cpu.max", "350000 100000\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 3);
    put(V2 "user.slice/cpu.max", "800000 100000\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 3);
    put(V2 "user.slice/job/step/cpu.max", "50000 100000\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 1);
}
END_TEST

START_TEST(test_cgroup_v2_of_a_container_is_read_at_its_root)
{
    put("proc/self/cgroup", "0::/\n");
    put(V2 "cpu.max", "200000 100000\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 2);
    put("proc/self/cgroup", "0::/../../docker/0123\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 2);
}
END_TEST

START_TEST(test_cgroup_v1_smallest_quota_upwards_counts)
{
    put("proc/self/cgroup", "5:memory:/a\n4:cpu,cpuacct:/batch/job\n3:cpuset:/b\n");
    put(V1 "cpu.cfs_quota_us", "-1\n");
    put(V1 "cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 0);
    put(V1 "batch/cpu.cfs_quota_us", "400000\n");
    put(V1 "batch/cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 4);
    put(V1 "batch/job/cpu.cfs_quota_us", "100000\n");
    put(V1 "batch/job/cpu.cfs_period_us", "50000\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 2);
}
END_TEST

START_TEST(test_cgroup_nonsense_is_no_quota)
{
    ck_assert_uint_eq(cb_cgroup_cpus(root), 0);
    put("proc/self/cgroup", "nonsense\n0:\n:::\n0::\n");
    put(V2 "cpu.max", "-5 0\n");
    ck_assert_uint_eq(cb_cgroup_cpus(root), 0);
}
END_TEST

START_TEST(test_memory_of_the_system_without_groups)
{
    ck_assert_uint_eq(cb_available_memory(root), 0);
    put("proc/meminfo", "MemTotal: 8000000 kB\nMemFree: 1000 kB\nMemAvailable:    5000000 kB\n");
    ck_assert_uint_eq(cb_available_memory(root), 5120000000u);
}
END_TEST

START_TEST(test_memory_v2_least_left_upwards_counts)
{
    put("proc/meminfo", "MemAvailable: 5000000 kB\n");
    put("proc/self/cgroup", "0::/user.slice/job/step\n");
    put(V2 "user.slice/job/step/memory.max", "max\n");
    put(V2 "user.slice/job/step/memory.current", "999\n");
    ck_assert_uint_eq(cb_available_memory(root), 5120000000u);
    put(V2 "user.slice/job/memory.max", "1000000\n");
    put(V2 "user.slice/job/memory.current", "900000\n");
    ck_assert_uint_eq(cb_available_memory(root), 100000);
    put(V2 "user.slice/job/memory.stat", "anon 1\nworkingset_inactive_file 7\ninactive_file 300000\n");
    ck_assert_uint_eq(cb_available_memory(root), 400000);
    put(V2 "user.slice/memory.max", "500000\n");
    put(V2 "user.slice/memory.current", "600000\n");
    ck_assert_uint_eq(cb_available_memory(root), 1);
}
END_TEST

START_TEST(test_memory_v1_least_left_upwards_counts)
{
    put("proc/self/cgroup", "5:memory:/a/b\n4:cpu,cpuacct:/batch/job\n");
    put(V1_MEMORY "a/b/memory.limit_in_bytes", "9223372036854771712\n");
    put(V1_MEMORY "a/b/memory.usage_in_bytes", "5\n");
    ck_assert_uint_eq(cb_available_memory(root), 0);
    put(V1_MEMORY "a/memory.limit_in_bytes", "8000\n");
    put(V1_MEMORY "a/memory.usage_in_bytes", "5000\n");
    put(V1_MEMORY "a/memory.stat", "inactive_file 1\ntotal_inactive_file 1000\n");
    ck_assert_uint_eq(cb_available_memory(root), 4000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cgroup");
    TCase *tests = tcase_create("cgroup");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, test_cgroup_v2_smallest_quota_upwards_counts);
    tcase_add_test(tests, test_cgroup_v2_of_a_container_is_read_at_its_root);
    tcase_add_test(tests, test_cgroup_v1_smallest_quota_upwards_counts);
    tcase_add_test(tests, test_cgroup_nonsense_is_no_quota);
    tcase_add_test(tests, test_memory_of_the_system_without_groups);
    tcase_add_test(tests, test_memory_v2_least_left_upwards_counts);
    tcase_add_test(tests, test_memory_v1_least_left_upwards_counts);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
