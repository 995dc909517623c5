/* The CPU time that the process's control groups grant. */
#ifndef CB_BASE_CGROUP_H
#define CB_BASE_CGROUP_H

#include <stddef.h>

/*
 * The smallest CPU quota of the process's control group and of all groups above it, version 1 or 2, in whole
 * CPUs and at least 1; 0: there is no quota. `root` precedes "/proc" and "/sys": "" but in tests.
 */
size_t cb_cgroup_cpus(const char *root);

#endif
