/* Makes system calls of a daemon fail, lie or wait, and writes down what it does to its files.

   Built and steered by shim.py; loaded with LD_PRELOAD.  MULTIGREY_SHIM names a file of one page, which is the
   `control` below, mapped by both sides; MULTIGREY_SHIM_LOG a file to which every change of a file below
   `control.folder` is appended, in the order in which the changes happened.  Both are opened before the daemon
   becomes another user. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PWRITE, WRITE, WRITEV, FDATASYNC, FSYNC, FTRUNCATE, RENAME, UNLINK, OPEN, FALLOCATE, MMAP };
enum { SHORT = 0, LIE = -1, SLOW = -2 }; /* values of `error` that are no errno */

static struct control {
    uint32_t calls; /* a bit for each of the above; 0: nothing happens */
    int32_t error;  /* an errno, or one of the above */
    int32_t skip;   /* so many calls go well before */
    int32_t left;   /* so many are met; -1: all */
    int32_t delay;  /* milliseconds, for SLOW */
    uint32_t seen;
    uint32_t met;
    uint32_t logging;
    char folder[480];
} *control;

static int log_fd = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MULTIGREY_SHIM"), *log = getenv("MULTIGREY_SHIM_LOG");
    int fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd < 0) return;
    void *page = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (page != MAP_FAILED) control = page;
    if (log) log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = dlsym(RTLD_NEXT, name)

static int below(const char *path) {
    return !strncmp(path, control->folder, strlen(control->folder));
}

static int ours(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    return below(path);
}

/* What shall happen to this call: `go` (as usual), or a value of `error`. */
enum { GO = -3 };
static int fate(int call, int fd, const char *path) {
    if (!control || !(control->calls >> call & 1)) return GO;
    if (path ? !below(path) : !ours(fd)) return GO;
    int found = GO, delay = 0;
    pthread_mutex_lock(&mutex);
    if ((int32_t)control->seen++ >= control->skip && control->left) {
        if (control->left > 0) control->left--;
        control->met++;
        found = control->error;
        delay = control->delay;
    }
    pthread_mutex_unlock(&mutex);
    if (found == SLOW) {
        usleep(delay * 1000);
        found = GO;
    }
    return found;
}

/* For calls that return 0 or -1. */
#define MEET(call, fd, path) \
    int met = fate(call, fd, path); \
    if (met == LIE) return 0; \
    if (met > 0) { errno = met; return -1; }

/* --- the log ------------------------------------------------------------------------------------------- */

struct line { uint64_t kind, inode, offset, size; };

static int logged(int fd, const char *path) {
    return control && log_fd >= 0 && control->logging && (path ? below(path) : ours(fd));
}

/* Appends a line; `size` octets of `parts` follow it. */
static void note(char kind, int fd, uint64_t offset, const struct iovec *parts, int count, uint64_t size) {
    struct stat status = {0};
    if (fd >= 0) fstat(fd, &status);
    struct line line = {kind, status.st_ino, offset, size};
    struct iovec all[1025] = {{&line, sizeof line}};
    int used = 1;
    for (int i = 0; i < count && size && used < 1025; i++) {
        all[used] = parts[i];
        if (all[used].iov_len > size) all[used].iov_len = size;
        size -= all[used++].iov_len;
    }
    syscall(SYS_writev, log_fd, all, used);
}

static void note_name(char kind, int fd, const char *name, const char *more) {
    struct iovec parts[] = {{(void *)name, strlen(name) + 1}, {(void *)more, strlen(more) + 1}};
    note(kind, fd, 0, parts, 2, parts[0].iov_len + parts[1].iov_len);
}

static void note_write(int fd, uint64_t offset, const struct iovec *parts, int count, uint64_t size) {
    note(fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC) ? 'd' : 'w', fd, offset, parts, count, size);
}

/* Makes the call and its line one step, so that the lines are in the order of the calls. */
#define STEP(fd, path, type, call, lines) \
    if (!logged(fd, path)) return call; \
    pthread_mutex_lock(&mutex); \
    type done = call; \
    int saved = errno; \
    if (done >= 0) { lines; } \
    pthread_mutex_unlock(&mutex); \
    errno = saved; \
    return done

/* --- the calls ----------------------------------------------------------------------------------------- */

static ssize_t cut(int met, size_t size) { return met == SHORT && size > 1 ? size / 2 : size; }

#define PWRITES(name) \
    ssize_t name(int fd, const void *data, size_t size, off_t offset) { \
        REAL(ssize_t, #name, int, const void *, size_t, off_t); \
        int met = fate(PWRITE, fd, NULL); \
        if (met == LIE) return size; \
        if (met > 0) { errno = met; return -1; } \
        size = cut(met, size); \
        struct iovec part = {(void *)data, size}; \
        STEP(fd, NULL, ssize_t, real(fd, data, size, offset), \
             note_write(fd, offset, &part, 1, done)); \
    }
PWRITES(pwrite)
PWRITES(pwrite64)

#define PWRITEVS(name) \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t offset) { \
        REAL(ssize_t, #name, int, const struct iovec *, int, off_t); \
        int met = fate(PWRITE, fd, NULL); \
        size_t size = 0; \
        for (int i = 0; i < count; i++) size += parts[i].iov_len; \
        if (met == LIE) return size; \
        if (met > 0) { errno = met; return -1; } \
        if (met == SHORT && count > 1) count /= 2; \
        STEP(fd, NULL, ssize_t, real(fd, parts, count, offset), \
             note_write(fd, offset, parts, count, done)); \
    }
PWRITEVS(pwritev)
PWRITEVS(pwritev64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    int met = fate(WRITE, fd, NULL);
    if (met == LIE) return size;
    if (met > 0) { errno = met; return -1; }
    size = cut(met, size);
    struct iovec part = {(void *)data, size};
    STEP(fd, NULL, ssize_t, real(fd, data, size),
         note_write(fd, lseek(fd, 0, SEEK_CUR) - done, &part, 1, done));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    int met = fate(WRITEV, fd, NULL);
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    if (met == LIE) return size;
    if (met > 0) { errno = met; return -1; }
    if (met == SHORT && count > 1) count /= 2;
    STEP(fd, NULL, ssize_t, real(fd, parts, count),
         note_write(fd, lseek(fd, 0, SEEK_CUR) - done, parts, count, done));
}

#define SYNCS(name, call) \
    int name(int fd) { \
        REAL(int, #name, int); \
        MEET(call, fd, NULL) \
        STEP(fd, NULL, int, real(fd), note('s', fd, 0, NULL, 0, 0)); \
    }
SYNCS(fdatasync, FDATASYNC)
SYNCS(fsync, FSYNC)

#define FTRUNCATES(name) \
    int name(int fd, off_t size) { \
        REAL(int, #name, int, off_t); \
        MEET(FTRUNCATE, fd, NULL) \
        STEP(fd, NULL, int, real(fd, size), note('t', fd, size, NULL, 0, 0)); \
    }
FTRUNCATES(ftruncate)
FTRUNCATES(ftruncate64)

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    MEET(RENAME, -1, to)
    STEP(-1, to, int, real(from, to), note_name('r', -1, from, to));
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    MEET(UNLINK, -1, path)
    STEP(-1, path, int, real(path), note_name('u', -1, path, ""));
}

static mode_t mode_of(int flags, va_list more) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    int met = fate(OPEN, -1, path);
    if (met > 0) { errno = met; return -1; }
    flags |= O_LARGEFILE;
    if (!(flags & (O_CREAT | O_TRUNC))) return syscall(SYS_openat, folder, path, flags, mode);
    STEP(-1, path, int, syscall(SYS_openat, folder, path, flags, mode),
         if (flags & O_CREAT) note_name('c', done, path, "");
         if (flags & O_TRUNC) note('t', done, 0, NULL, 0, 0));
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = mode_of(flags, more); \
        va_end(more); \
        return open_at(AT_FDCWD, path, flags, mode); \
    } \
    int name##at(int folder, const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = mode_of(flags, more); \
        va_end(more); \
        return open_at(folder, path, flags, mode); \
    }
#define open64at openat64
OPENS(open)
OPENS(open64)

#define FALLOCATES(name) \
    int name(int fd, off_t offset, off_t size) { \
        REAL(int, #name, int, off_t, off_t); \
        int met = fate(FALLOCATE, fd, NULL); \
        if (met == LIE) return 0; \
        if (met > 0) return met; /* posix_fallocate returns the errno */ \
        STEP(fd, NULL, int, real(fd, offset, size), if (!done) note('a', fd, offset + size, NULL, 0, 0)); \
    }
FALLOCATES(posix_fallocate)
FALLOCATES(posix_fallocate64)

#define MMAPS(name) \
    void *name(void *place, size_t size, int protection, int flags, int fd, off_t offset) { \
        REAL(void *, #name, void *, size_t, int, int, int, off_t); \
        int met = fd < 0 ? GO : fate(MMAP, fd, NULL); \
        if (met > 0) { errno = met; return MAP_FAILED; } \
        return real(place, size, protection, flags, fd, offset); \
    }
MMAPS(mmap)
MMAPS(mmap64)
