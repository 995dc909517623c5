/* A first program: prints the library's version and its choices for this machine. */
#include <cribo/cribo.h>

#include <stdio.h>

int main(void)
{
    printf("libcribo %s: %s\n", cribo_version(), cribo_build_info());
    return 0;
}
