/* The CPU time and the memory that the system and the process's control groups grant. */
#ifndef CB_BASE_CGROUP_H
#define CB_BASE_CGROUP_H

#include <stddef.h>

/*
 * The smallest CPU quota of the process's control group and of all groups above it, version 1 or 2, in whole
 * CPUs and at least 1; 0: there is no quota. `root` precedes "/proc" and "/sys": "" but in tests.
 */
size_t cb_cgroup_cpus(const char *root);

/*
 * The bytes of memory that are available in the system, or in the process's control group or a group above
 * it, whichever is less; 0: not known.
 */
size_t cb_available_memory(const char *root);

#endif
