/* Preloaded into processes: counts what they do to the files below a folder, through whatever
   language, and ends one of them, or lets it fail, at one of these operations.

   All processes that are started with FILE_FAULTS=PATH share the state that PATH holds; see
   file_faults.py, which compiles this, and says what the modes are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, TORN, FAIL, FAIL_ON };

static struct state {
    long count, at, mode, error;
    char folder[1024], log[4096][64];
} *shared;

__attribute__((constructor)) static void begin(void) {
    int (*open_file)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    const char *path = getenv("FILE_FAULTS");
    int file = path ? open_file(path, O_RDWR) : -1;
    if (file < 0) return;
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) shared = 0;
    close(file);
}

static int is_below(const char *path) {
    size_t length = strlen(shared->folder);
    return length && !strncmp(path, shared->folder, length) && strchr("/", path[length]);
}

static int is_watched(int folder, const char *path) {
    char whole[2 * PATH_MAX] = "", link[64];
    if (path[0] != '/') {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        if (readlink(folder == AT_FDCWD ? "/proc/self/cwd" : link, whole, PATH_MAX) < 0) return 0;
        strcat(whole, "/");
    }
    return is_below(strncat(whole, path, PATH_MAX));
}

static int is_open_below(int file) {
    char link[64], path[PATH_MAX] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    return readlink(link, path, PATH_MAX - 1) > 0 && is_below(path);
}

/* What is to become of the next operation: 0 if nothing, or the error of which it fails. */
static int ticked(const char *what, const char *path) {
    long number = __atomic_add_fetch(&shared->count, 1, __ATOMIC_SEQ_CST);
    const char *name = path && strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    snprintf(shared->log[number % 4096], 64, "%s %s", what, name ? name : "");
    if (number < shared->at || shared->mode == COUNT) return 0;
    if (number > shared->at) return shared->mode == FAIL_ON ? (int)shared->error : 0;
    if (shared->mode == KILL) kill(getpid(), SIGKILL);
    return shared->mode == TORN ? -1 : (int)shared->error;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define CHECKED(name, is_ours, path, ...)                                             \
    REAL(name);                                                                       \
    int error = shared && (is_ours) ? ticked(#name, path) : 0;                        \
    if (error > 0) return errno = error, -1;                                          \
    __typeof__(real(__VA_ARGS__)) result = real(__VA_ARGS__);                         \
    if (error < 0) kill(getpid(), SIGKILL); /* just after it */                       \
    return result

#define WRITES(flags) ((flags) & (O_CREAT | O_TRUNC) || ((flags) & O_ACCMODE) != O_RDONLY)
#define MODE_OF(flags) va_list given; va_start(given, flags); int mode = va_arg(given, int); va_end(given)
#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        MODE_OF(flags);                                                                            \
        CHECKED(name, WRITES(flags) && is_watched(AT_FDCWD, path), path, path, flags, mode);       \
    }
#define OPENAT(name)                                                                               \
    int name(int at, const char *path, int flags, ...) {                                           \
        MODE_OF(flags);                                                                            \
        CHECKED(name, WRITES(flags) && is_watched(at, path), path, at, path, flags, mode);         \
    }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)

#define FOPEN(name)                                                                                \
    FILE *name(const char *restrict path, const char *restrict mode) {                             \
        REAL(name);                                                                                \
        int error = shared && mode[0] != 'r' && is_watched(AT_FDCWD, path) ? ticked(#name, path) : 0; \
        if (error > 0) return errno = error, NULL;                                                 \
        FILE *file = real(path, mode);                                                             \
        if (error < 0) kill(getpid(), SIGKILL);                                                    \
        return file;                                                                               \
    }
FOPEN(fopen) FOPEN(fopen64)

/* Half of what is written gets there. */
#define WRITE(name, file, size, ...)                                                               \
    {                                                                                              \
        REAL(name);                                                                                \
        int error = shared && is_open_below(file) ? ticked("write", NULL) : 0;                     \
        if (!error) return real(__VA_ARGS__);                                                      \
        size = size / 2;                                                                           \
        (void)!real(__VA_ARGS__);                                                                  \
        if (error < 0) kill(getpid(), SIGKILL);                                                    \
        return errno = error, -1;                                                                  \
    }
typedef const void *bytes;
ssize_t write(int file, bytes from, size_t size) WRITE(write, file, size, file, from, size)
ssize_t pwrite64(int file, bytes from, size_t size, off64_t at)
    WRITE(pwrite64, file, size, file, from, size, at)
ssize_t writev(int file, const struct iovec *from, int size) WRITE(writev, file, size, file, from, size)
ssize_t sendfile64(int to, int from, off64_t *at, size_t size)
    WRITE(sendfile64, to, size, to, from, at, size)
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t size, unsigned flags)
    WRITE(copy_file_range, to, size, from, at, to, there, size, flags)

#define HERE(path) is_watched(AT_FDCWD, path)
int mkdir(const char *path, mode_t mode) { CHECKED(mkdir, HERE(path), path, path, mode); }
int rmdir(const char *path) { CHECKED(rmdir, HERE(path), path, path); }
int unlink(const char *path) { CHECKED(unlink, HERE(path), path, path); }
int unlinkat(int at, const char *path, int flags) {
    CHECKED(unlinkat, is_watched(at, path), path, at, path, flags);
}
int rename(const char *from, const char *to) { CHECKED(rename, HERE(to), to, from, to); }
int link(const char *from, const char *to) { CHECKED(link, HERE(to), to, from, to); }
int symlink(const char *from, const char *to) { CHECKED(symlink, HERE(to), to, from, to); }
int fsync(int file) { CHECKED(fsync, is_open_below(file), NULL, file); }
int fdatasync(int file) { CHECKED(fdatasync, is_open_below(file), NULL, file); }
int ftruncate64(int file, off64_t size) { CHECKED(ftruncate64, is_open_below(file), NULL, file, size); }
