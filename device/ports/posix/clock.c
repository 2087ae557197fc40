#include "posix.h"

#include <time.h>

int64_t bmd_now(void)
{
    return (int64_t)time(NULL);
}

int64_t bmd_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
