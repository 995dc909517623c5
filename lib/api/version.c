/* cribo/base.h: the version and what the library found on this machine. */
#include "cribo/base.h"

const char *cribo_version(void)
{
    return "0.1.0";
}
