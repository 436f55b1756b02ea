/* Records what a program does to the files below one directory, so that a power cut can be played afterwards: which writes had been
 * asked for, and which of them an fsync had promised.
 *
 * Loaded by LD_PRELOAD into the real program. RECORDER_DIRECTORY is the directory, RECORDER_LOG the record. Every change is made and
 * recorded under one lock, so the record has them in the order in which they happened; an fsync is recorded when it has returned, with the
 * length that the record had when it began. Stores into mapped memory are not seen: of SQLite only the -shm file is written so, which no
 * promise rests on. What changes a file by a way that is not known here is recorded as such, and the test fails.
 *
 * The program dies when the file RECORDER_LOG.kill appears: as by kill -9, but between two changes, so that record and disk agree. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum what { OPENED = 1, WRITTEN, CUT, SYNCED, RENAMED, UNLINKED, DIRECTORY_MADE, DIRECTORY_SYNCED, DIRECTORY_REMOVED, UNKNOWN };

/* One entry: this, then a path, a second path, and data. All numbers little-endian, as the machine's own. */
struct entry {
    uint64_t at_ns;  /* CLOCK_MONOTONIC */
    uint64_t inode;
    uint64_t offset; /* of a write; the new length; where the record stood when an fsync began */
    uint32_t what, path_octets, second_octets, data_octets;
};

struct file { char *path; uint64_t inode; int is_directory; };

#define FILES_MAX 65536
static struct file files[FILES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char directory[PATH_MAX];
static size_t directory_octets;
static int record_fd = -1;
static uint64_t recorded;


static void *await_the_end(void *path) {
    struct timespec pause = {0, 500000};
    while (syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0) nanosleep(&pause, NULL);
    pthread_mutex_lock(&lock);
    kill(getpid(), SIGKILL);
    return NULL;
}

__attribute__((constructor)) static void begin(void) {
    const char *watched = getenv("RECORDER_DIRECTORY"), *record = getenv("RECORDER_LOG");
    if (!watched || !record) return;
    snprintf(directory, sizeof directory, "%s", watched);
    directory_octets = strlen(directory);
    record_fd = (int)syscall(SYS_openat, AT_FDCWD, record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (record_fd < 0) abort();
    struct stat about;
    if (fstat(record_fd, &about) != 0) abort();
    recorded = (uint64_t)about.st_size;
    static char end[PATH_MAX];
    snprintf(end, sizeof end, "%s.kill", record);
    pthread_t thread;
    if (pthread_create(&thread, NULL, await_the_end, end) != 0) abort();
}

static int is_watched(const char *path) {
    return record_fd >= 0 && path && strncmp(path, directory, directory_octets) == 0 && (path[directory_octets] == '/' || path[directory_octets] == 0);
}

static struct file *watched_fd(int fd) {
    return record_fd >= 0 && fd >= 0 && fd < FILES_MAX && files[fd].path ? &files[fd] : NULL;
}

/* Under the lock. */
static void record(enum what what, uint64_t inode, uint64_t offset, const char *path, const char *second, const struct iovec *data, int parts, size_t data_octets) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct entry entry = {
        (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, inode, offset, what, path ? (uint32_t)strlen(path) : 0, second ? (uint32_t)strlen(second) : 0,
        (uint32_t)data_octets,
    };
    struct iovec all[64] = {{&entry, sizeof entry}, {(void *)(path ? path : ""), entry.path_octets}, {(void *)(second ? second : ""), entry.second_octets}};
    int count = 3;
    size_t left = data_octets, whole = sizeof entry + entry.path_octets + entry.second_octets + data_octets;
    for (int i = 0; i < parts && left > 0; i++) {
        if (count == 64) abort();
        size_t octets = data[i].iov_len < left ? data[i].iov_len : left;
        all[count++] = (struct iovec){data[i].iov_base, octets};
        left -= octets;
    }
    if (left != 0 || syscall(SYS_writev, record_fd, all, count) != (long)whole) abort();
    recorded += whole;
}

static void unknown(const char *call) {
    pthread_mutex_lock(&lock);
    record(UNKNOWN, 0, 0, call, NULL, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
}

/* ---- open and close */

static int opened(int fd, const char *path, int flags) {
    if (fd < 0 || !is_watched(path)) return fd;
    struct stat about;
    if (fd >= FILES_MAX || fstat(fd, &about) != 0) abort();
    free(files[fd].path);
    files[fd] = (struct file){strdup(path), about.st_ino, S_ISDIR(about.st_mode)};
    if (!files[fd].is_directory) {
        record(OPENED, about.st_ino, 0, path, NULL, NULL, 0, 0);
        if (flags & O_TRUNC) record(CUT, about.st_ino, 0, NULL, NULL, NULL, 0, 0);
    }
    return fd;
}

static int do_open(int at, const char *path, int flags, mode_t mode) {
    if (!is_watched(path)) {
        if (record_fd >= 0 && at != AT_FDCWD && watched_fd(at) && path[0] != '/') unknown("openat");
        return (int)syscall(SYS_openat, at, path, flags, mode);
    }
    pthread_mutex_lock(&lock);
    int fd = opened((int)syscall(SYS_openat, at, path, flags, mode), path, flags);
    int fault = errno;
    pthread_mutex_unlock(&lock);
    errno = fault;
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return do_open(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return do_open(at, path, flags, mode); }

int close(int fd) {
    if (watched_fd(fd)) {
        pthread_mutex_lock(&lock);
        free(files[fd].path);
        files[fd].path = NULL;
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_close, fd);
}

/* ---- contents */

/* `offset` < 0: where the file stands. */
static ssize_t do_write(int fd, const struct iovec *parts, int count, off_t offset) {
    pthread_mutex_lock(&lock);
    struct file *file = watched_fd(fd);
    ssize_t done = offset < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, (long)offset, (long)0);
    int fault = errno;
    if (file && done > 0) {
        off_t begin = offset < 0 ? (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) - done : offset;
        record(WRITTEN, file->inode, (uint64_t)begin, NULL, NULL, parts, count, (size_t)done);
    }
    pthread_mutex_unlock(&lock);
    errno = fault;
    return done;
}

ssize_t write(int fd, const void *data, size_t octets) {
    if (!watched_fd(fd)) return syscall(SYS_write, fd, data, octets);
    struct iovec part = {(void *)data, octets};
    return do_write(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count) { return watched_fd(fd) ? do_write(fd, parts, count, -1) : syscall(SYS_writev, fd, parts, count); }

ssize_t pwrite64(int fd, const void *data, size_t octets, off64_t offset) {
    if (!watched_fd(fd)) return syscall(SYS_pwrite64, fd, data, octets, offset);
    struct iovec part = {(void *)data, octets};
    return do_write(fd, &part, 1, offset);
}

ssize_t pwrite(int fd, const void *data, size_t octets, off_t offset) { return pwrite64(fd, data, octets, offset); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return watched_fd(fd) ? do_write(fd, parts, count, offset) : syscall(SYS_pwritev, fd, parts, count, (long)offset, (long)0);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev64(fd, parts, count, offset); }

int ftruncate64(int fd, off64_t length) {
    if (!watched_fd(fd)) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, fd, length), fault = errno;
    if (result == 0) record(CUT, files[fd].inode, (uint64_t)length, NULL, NULL, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = fault;
    return result;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int do_sync(int fd, long call) {
    if (!watched_fd(fd)) return (int)syscall(call, fd);
    pthread_mutex_lock(&lock);
    uint64_t began = recorded, inode = files[fd].inode;
    int is_directory = files[fd].is_directory;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", files[fd].path);
    pthread_mutex_unlock(&lock);
    int result = (int)syscall(call, fd), fault = errno;
    if (result == 0) {
        pthread_mutex_lock(&lock);
        record(is_directory ? DIRECTORY_SYNCED : SYNCED, inode, began, path, NULL, NULL, 0, 0);
        pthread_mutex_unlock(&lock);
    }
    errno = fault;
    return result;
}

int fsync(int fd) { return do_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }

/* ---- names */

static int named(int result, enum what what, const char *path, const char *second) {
    int fault = errno;
    if (result == 0) record(what, 0, 0, path, second, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = fault;
    return result;
}

int rename(const char *from, const char *to) {
    if (!is_watched(from) && !is_watched(to)) return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&lock);
    return named((int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0), RENAMED, from, to);
}

int unlink(const char *path) {
    if (!is_watched(path)) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    return named((int)syscall(SYS_unlinkat, AT_FDCWD, path, 0), UNLINKED, path, NULL);
}

int mkdir(const char *path, mode_t mode) {
    if (!is_watched(path)) return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    pthread_mutex_lock(&lock);
    return named((int)syscall(SYS_mkdirat, AT_FDCWD, path, mode), DIRECTORY_MADE, path, NULL);
}

int rmdir(const char *path) {
    if (!is_watched(path)) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
    pthread_mutex_lock(&lock);
    return named((int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR), DIRECTORY_REMOVED, path, NULL);
}

/* ---- what is not known here, should it ever be used below the directory */

int renameat(int a, const char *from, int b, const char *to) { if (is_watched(from) || is_watched(to)) unknown("renameat"); return (int)syscall(SYS_renameat2, a, from, b, to, 0); }
int unlinkat(int at, const char *path, int flags) { if (is_watched(path) || watched_fd(at)) unknown("unlinkat"); return (int)syscall(SYS_unlinkat, at, path, flags); }
int mkdirat(int at, const char *path, mode_t mode) { if (is_watched(path) || watched_fd(at)) unknown("mkdirat"); return (int)syscall(SYS_mkdirat, at, path, mode); }
int link(const char *from, const char *to) { if (is_watched(from) || is_watched(to)) unknown("link"); return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0); }
int fallocate(int fd, int mode, off_t from, off_t octets) { if (watched_fd(fd)) unknown("fallocate"); return (int)syscall(SYS_fallocate, fd, mode, from, octets); }
int fallocate64(int fd, int mode, off64_t from, off64_t octets) { return fallocate(fd, mode, from, octets); }
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t octets, unsigned flags) {
    if (watched_fd(to)) unknown("copy_file_range");
    return syscall(SYS_copy_file_range, from, a, to, b, octets, flags);
}

static void *do_map(void *at, size_t octets, int allowed, int flags, int fd, off_t offset) {
    struct file *file = (flags & MAP_SHARED) && (allowed & PROT_WRITE) ? watched_fd(fd) : NULL;
    size_t length = file ? strlen(file->path) : 0;
    if (file && (length < 4 || strcmp(file->path + length - 4, "-shm") != 0)) unknown("mmap");
    return (void *)syscall(SYS_mmap, at, octets, allowed, flags, fd, offset);
}

void *mmap(void *at, size_t octets, int allowed, int flags, int fd, off_t offset) { return do_map(at, octets, allowed, flags, fd, offset); }
void *mmap64(void *at, size_t octets, int allowed, int flags, int fd, off64_t offset) { return do_map(at, octets, allowed, flags, fd, offset); }
