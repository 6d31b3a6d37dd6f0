/* Loaded before the C library: the wall clock of one process, as far from the machine's as `shift_clock` was told. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static long long shifted_s;

void shift_clock(long long seconds) { shifted_s = seconds; }

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += shifted_s;
    return failed;
}
