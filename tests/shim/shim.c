/* Stands between a daemon under test and its C library (LD_PRELOAD). Reaches only what the daemon asks the C library for: its wall
 * clock and its disk's syncs, not the boot-time clock.
 *
 * SHIM_CLOCK=FILE     the wall clock is off by the whole seconds that FILE says, anew at each reading
 * SHIM_SYNC_US=N      a sync takes N microseconds, whatever the disk would take
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int clock_file = -1;
static long sync_us = -1;

__attribute__((constructor)) static void begin(void)
{
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    const char *path = getenv("SHIM_CLOCK");
    if (path)
        clock_file = open(path, O_RDONLY | O_CLOEXEC);
    const char *us = getenv("SHIM_SYNC_US");
    if (us)
        sync_us = atol(us);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    if (!real_clock_gettime)
        begin();
    int done = real_clock_gettime(id, now);
    if (done == 0 && id == CLOCK_REALTIME && clock_file >= 0) {
        char text[24] = {0};
        if (pread(clock_file, text, sizeof text - 1, 0) > 0)
            now->tv_sec += atol(text);
    }
    return done;
}

static int slow(void)
{
    struct timespec span = {sync_us / 1000000, sync_us % 1000000 * 1000};
    nanosleep(&span, NULL);
    return 0;
}

int fdatasync(int file)
{
    return sync_us < 0 ? real_fdatasync(file) : slow();
}

int fsync(int file)
{
    return sync_us < 0 ? real_fsync(file) : slow();
}
