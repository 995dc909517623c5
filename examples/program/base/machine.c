/* See machine.h. */
#include "base/machine.h"

#include "base/arguments.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

/* The processor's name from Linux on x86-64; elsewhere the architecture. */
static void name_processor(char *name, size_t size, const char *architecture)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(name, size, "%s", architecture);
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (file) fclose(file);
}

void machine_describe(char *text, size_t size)
{
    struct utsname system = {0};
    struct sysinfo memory = {0};
    char processor[128];
    uname(&system);
    sysinfo(&memory);
    name_processor(processor, sizeof processor, system.machine);
    snprintf(text, size, "%s, %d processors, %.1f GiB of memory, %s %s %s", processor, command_cpus(),
        (double)memory.totalram * memory.mem_unit / (1 << 30), system.sysname, system.release,
        system.machine);
}
