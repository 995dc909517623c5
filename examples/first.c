/* A first program: which library is this, and what will it use on this machine? */
#include <cribo/cribo.h>

#include <stdio.h>

int main(void)
{
    printf("libcribo %s: %s\n", cribo_version(), cribo_build_info());
    return 0;
}
