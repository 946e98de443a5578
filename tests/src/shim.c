/* Loaded before the C library's own: a clock that is wrong, and a disk that is full while a file is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static long long offset_s(void) {
    const char *text = getenv("SHIM_CLOCK_OFFSET_S"), *path = getenv("SHIM_CLOCK_OFFSET_IN");
    char digits[24] = "";
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        ssize_t length = read(file, digits, sizeof digits - 1);
        digits[length > 0 ? length : 0] = 0;
        close(file);
        text = digits;
    }
    return text ? atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, at);
    if (done == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += offset_s();
    return done;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

/* Whether this write is to a file, and the disk is full. */
static int full(int file) {
    const char *flag = getenv("SHIM_DISK_FULL_WHILE");
    struct stat about;
    if (!flag || access(flag, F_OK) != 0) return 0;
    if (fstat(file, &about) != 0 || !S_ISREG(about.st_mode)) return 0;
    errno = ENOSPC;
    return 1;
}

#define SHIM(name, parameters, arguments)                                                        \
    ssize_t name parameters {                                                                    \
        static ssize_t(*real) parameters;                                                        \
        if (!real) real = dlsym(RTLD_NEXT, #name);                                               \
        if (full(file)) return -1;                                                               \
        return real arguments;                                                                   \
    }

SHIM(write, (int file, const void *bytes, size_t count), (file, bytes, count))
SHIM(pwrite, (int file, const void *bytes, size_t count, off_t at), (file, bytes, count, at))
SHIM(pwrite64, (int file, const void *bytes, size_t count, off64_t at), (file, bytes, count, at))
SHIM(writev, (int file, const struct iovec *parts, int count), (file, parts, count))

int posix_fallocate(int file, off_t at, off_t length) {
    static int (*real)(int, off_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "posix_fallocate");
    return full(file) ? ENOSPC : real(file, at, length);
}
