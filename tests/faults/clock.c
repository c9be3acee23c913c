/* A clock of the day that somebody sets to and fro: preloaded, it moves what everybody in the process is told.
 *
 * Each fiftieth of a second of the steady clock belongs to a jump of its own, of up to an hour either way. Steady clocks stay as
 * they are.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long jump(void) {
    struct timespec steady;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &steady);
    unsigned long tick = (unsigned long)steady.tv_sec * 50 + (unsigned long)steady.tv_nsec / 20000000;
    return (long)(tick * 2654435761UL % 7200) - 3600;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += jump();
    }
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    (void)zone;
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (where) {
        *where = precise.tv_sec;
    }
    return precise.tv_sec;
}
