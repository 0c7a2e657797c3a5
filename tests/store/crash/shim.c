/* Between a program and its C library: counts file-system calls below one folder, fails or kills at the n-th, and
 * writes down what was done. Loaded with LD_PRELOAD; does nothing until `shim_arm` or `shim_record` is called.
 *
 * A *cut point* is the moment before a call. Calls that change nothing are no cut points for a kill (the files are
 * the same before and after them), but they can fail. fsync never reaches the kernel: a killed process does not
 * need it, and what a power cut needs of it is told by the record.
 *
 * The record: one line a successful call, fields separated by tabs; paths absolute, bytes in hex.
 *
 * Threads: calls that change something go one at a time, so that the record has them in the order in which they
 * happened, and no other thread goes on while one dies. A descriptor's name is forgotten before the descriptor is
 * closed: the kernel gives its number to another thread at once.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What becomes of the n-th call; and what kinds of calls there are. `shim.py` knows the same numbers. */
enum action { OFF, KILL, TORN, REFUSE, LOSE };
enum kind { READ = 1, CHANGE = 2, SPACE = 4, ENTRY = 8, BYTES = 16 };

#define FDS 1024
#define PATH 4096

static char prefix[PATH];
static int action = OFF, kinds = 0, onward = 0, error = 0, record = -1;
static long at = 0, count = 0, fired = 0;
static long seen[32]; /* calls of each kind since `shim_arm` */
static char *names[FDS];
static int written[FDS];
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static int inside(const char *path) {
    size_t n = strlen(prefix);
    return n && !strncmp(path, prefix, n) && (path[n] == '/' || path[n] == 0);
}

/* The absolute path of `path` as seen from the folder `dirfd`; empty when it is none of ours. */
static const char *whole(int dirfd, const char *path, char *into) {
    into[0] = 0;
    if (path[0] == '/')
        snprintf(into, PATH, "%s", path);
    else if (dirfd >= 0 && dirfd < FDS && names[dirfd])
        snprintf(into, PATH, "%s/%s", names[dirfd], path);
    if (!inside(into)) into[0] = 0;
    return into;
}

static void forget(int fd) {
    if (fd < 0 || fd >= FDS) return;
    free(names[fd]);
    names[fd] = NULL;
    written[fd] = 0;
}

static void note(const char *format, ...) {
    if (record < 0) return;
    char line[3 * PATH];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    syscall(SYS_write, record, line, n);
}

static void note_bytes(const char *call, int fd, long offset, const unsigned char *bytes, size_t size) {
    if (record < 0) return;
    char *hex = malloc(2 * size + 2);
    for (size_t i = 0; i < size; i++) sprintf(hex + 2 * i, "%02x", bytes[i]);
    hex[2 * size] = '\n';
    note("%s\t%d\t%ld\t", call, fd, offset);
    syscall(SYS_write, record, hex, 2 * size + 1);
    free(hex);
}

enum verdict { GO, REFUSED, LOST, HALF };

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What is to become of this call. */
static enum verdict reached(int kind) {
    if (action == OFF) return GO;
    __atomic_add_fetch(&seen[kind], 1, __ATOMIC_SEQ_CST);
    if (!(kind & kinds)) return GO;
    long mine = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (onward ? mine < at : mine != at) return GO;
    fired = 1;
    if (action == KILL) die();
    if (action == TORN) return HALF;
    if (action == LOSE) return LOST;
    errno = error;
    return REFUSED;
}

/* -- for the harness ------------------------------------------------------------------------------------------ */

void shim_arm(const char *folder, int with_action, int with_kinds, int with_onward, long n, int with_error) {
    snprintf(prefix, sizeof prefix, "%s", folder);
    action = with_action; kinds = with_kinds; onward = with_onward; at = n; error = with_error;
    count = 0; fired = 0;
    memset(seen, 0, sizeof seen);
}
void shim_record(const char *folder, int fd) { snprintf(prefix, sizeof prefix, "%s", folder); record = fd; }
void shim_say(const char *words) { note("say\t%s\n", words); }
void shim_off(void) { action = OFF; }
int shim_fired(void) { return fired; }
long shim_seen(int of_kinds) {
    long sum = 0;
    for (int kind = 0; kind < 32; kind++) sum += kind & of_kinds ? seen[kind] : 0;
    return sum;
}

/* -- the calls ------------------------------------------------------------------------------------------------ */

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define IDLE (action == OFF && record < 0)

static void give_back(pthread_mutex_t **held) { pthread_mutex_unlock(*held); }
/* Waits for its turn; the end of the block gives it back. */
#define TURN                                                                     \
    pthread_mutex_t *held __attribute__((cleanup(give_back), unused)) = &turn;   \
    pthread_mutex_lock(held)

/* `again`: what a server says to a call that it gets twice, when no other error is given. */
#define CALL(kind, again, action, told)                                             \
    do {                                                                            \
        TURN;                                                                       \
        enum verdict verdict = reached(kind);                                       \
        if (verdict == REFUSED) return -1;                                          \
        int result = action;                                                        \
        if (result >= 0) { told; }                                                  \
        if (verdict == LOST && result >= 0) {                                       \
            errno = error ? error : again;                                          \
            return -1;                                                              \
        }                                                                           \
        return result;                                                              \
    } while (0)

static int opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= FDS) return fd;
    forget(fd);
    names[fd] = strdup(path);
    written[fd] = (flags & O_ACCMODE) != O_RDONLY;
    note("open\t%s\t%d\t%d\t%d\n", path, fd, !existed, (flags & O_TRUNC) != 0);
    return fd;
}

static int open_at(int dirfd, const char *path, int flags, int bits) {
    REAL(openat64);
    char buffer[PATH];
    if (IDLE || !*whole(dirfd, path, buffer)) return real(dirfd, path, flags, bits);
    TURN;
    struct stat found;
    int existed = syscall(SYS_newfstatat, AT_FDCWD, buffer, &found, AT_SYMLINK_NOFOLLOW) == 0;
    int makes = (flags & O_CREAT) && !existed;
    int kind = makes ? CHANGE | SPACE | ENTRY : (flags & O_TRUNC) ? CHANGE : READ;
    enum verdict verdict = reached(kind);
    if (verdict == REFUSED) return -1;
    int fd = real(dirfd, path, flags, bits);
    if (fd < 0) return fd;
    opened(fd, buffer, flags, existed);
    if (verdict == LOST) {
        note("close\t%d\n", fd);
        forget(fd);
        syscall(SYS_close, fd);
        errno = error ? error : EEXIST;
        return -1;
    }
    return fd;
}

#define BITS int bits = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list l; va_start(l, flags); bits = va_arg(l, int); va_end(l); }
int open(const char *path, int flags, ...) { BITS return open_at(AT_FDCWD, path, flags, bits); }
int open64(const char *path, int flags, ...) { BITS return open_at(AT_FDCWD, path, flags, bits); }
int openat(int dirfd, const char *path, int flags, ...) { BITS return open_at(dirfd, path, flags, bits); }
int openat64(int dirfd, const char *path, int flags, ...) { BITS return open_at(dirfd, path, flags, bits); }
int creat(const char *path, mode_t bits) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, bits); }
int creat64(const char *path, mode_t bits) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, bits); }

static int ours(int fd) { return !IDLE && fd >= 0 && fd < FDS && names[fd]; }

int close(int fd) {
    REAL(close);
    if (!ours(fd)) return real(fd);
    TURN;
    enum verdict verdict = written[fd] ? reached(CHANGE) : GO;
    int failed = errno;
    note("close\t%d\n", fd);
    forget(fd);
    real(fd); /* a failed close closes all the same */
    if (verdict == GO || verdict == HALF) return 0;
    errno = verdict == REFUSED ? failed : error;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    REAL(write);
    if (!ours(fd)) return real(fd, bytes, size);
    TURN;
    enum verdict verdict = reached(CHANGE | SPACE | BYTES);
    if (verdict == REFUSED) return -1;
    ssize_t done = real(fd, bytes, verdict == HALF ? size / 2 : size);
    if (done > 0) note_bytes("write", fd, -1, bytes, done);
    if (verdict == HALF) die();
    if (verdict == LOST) { errno = error; return -1; }
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
    REAL(pwrite64);
    if (!ours(fd)) return real(fd, bytes, size, offset);
    TURN;
    enum verdict verdict = reached(CHANGE | SPACE | BYTES);
    if (verdict == REFUSED) return -1;
    ssize_t done = real(fd, bytes, verdict == HALF ? size / 2 : size, offset);
    if (done > 0) note_bytes("write", fd, offset, bytes, done);
    if (verdict == HALF) die();
    if (verdict == LOST) { errno = error; return -1; }
    return done;
}

/* Not supported on purpose: the caller falls back to read and write, which are watched. */
ssize_t copy_file_range(int in, off64_t *a, int out, off64_t *b, size_t n, unsigned int flags) {
    REAL(copy_file_range);
    if (ours(out)) { errno = EXDEV; return -1; }
    return real(in, a, out, b, n, flags);
}
ssize_t sendfile64(int out, int in, off64_t *offset, size_t n) {
    REAL(sendfile64);
    if (ours(out)) { errno = ENOTSOCK; return -1; }
    return real(out, in, offset, n);
}

ssize_t read(int fd, void *into, size_t size) {
    REAL(read);
    if (ours(fd) && reached(READ) == REFUSED) return -1;
    return real(fd, into, size);
}

int fsync(int fd) {
    if (!ours(fd)) return 0;
    CALL(CHANGE | SPACE, EIO, 0, note("fsync\t%d\n", fd));
}
int fdatasync(int fd) { return fsync(fd); }

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    if (!ours(fd)) return real(fd, size);
    CALL(CHANGE, EIO, real(fd, size), note("truncate\t%d\t%ld\n", fd, (long)size));
}

static int link_at(int from, const char *old, int to, const char *new, int flags) {
    REAL(linkat);
    char a[PATH], b[PATH];
    if (IDLE || !*whole(to, new, b)) return real(from, old, to, new, flags);
    whole(from, old, a);
    CALL(CHANGE | SPACE | ENTRY, EEXIST, real(from, old, to, new, flags), note("link\t%s\t%s\n", a, b));
}
int link(const char *old, const char *new) { return link_at(AT_FDCWD, old, AT_FDCWD, new, 0); }
int linkat(int from, const char *old, int to, const char *new, int flags) { return link_at(from, old, to, new, flags); }

static int rename_at(int from, const char *old, int to, const char *new) {
    REAL(renameat);
    char a[PATH], b[PATH];
    if (IDLE || !*whole(to, new, b)) return real(from, old, to, new);
    whole(from, old, a);
    CALL(CHANGE | SPACE | ENTRY, ENOENT, real(from, old, to, new), note("rename\t%s\t%s\n", a, b));
}
int rename(const char *old, const char *new) { return rename_at(AT_FDCWD, old, AT_FDCWD, new); }
int renameat(int from, const char *old, int to, const char *new) { return rename_at(from, old, to, new); }

static int symlink_at(const char *target, int dirfd, const char *path) {
    REAL(symlinkat);
    char buffer[PATH];
    if (IDLE || !*whole(dirfd, path, buffer)) return real(target, dirfd, path);
    CALL(CHANGE | SPACE | ENTRY, EEXIST, real(target, dirfd, path), note("symlink\t%s\t%s\n", target, buffer));
}
int symlink(const char *target, const char *path) { return symlink_at(target, AT_FDCWD, path); }
int symlinkat(const char *target, int dirfd, const char *path) { return symlink_at(target, dirfd, path); }

static int unlink_at(int dirfd, const char *path, int flags) {
    REAL(unlinkat);
    char buffer[PATH];
    if (IDLE || !*whole(dirfd, path, buffer)) return real(dirfd, path, flags);
    CALL(CHANGE | ENTRY, ENOENT, real(dirfd, path, flags), note("unlink\t%s\n", buffer));
}
int unlink(const char *path) { return unlink_at(AT_FDCWD, path, 0); }
int unlinkat(int dirfd, const char *path, int flags) { return unlink_at(dirfd, path, flags); }
int rmdir(const char *path) { return unlink_at(AT_FDCWD, path, AT_REMOVEDIR); }

static int mkdir_at(int dirfd, const char *path, mode_t bits) {
    REAL(mkdirat);
    char buffer[PATH];
    if (IDLE || !*whole(dirfd, path, buffer)) return real(dirfd, path, bits);
    CALL(CHANGE | SPACE | ENTRY, EEXIST, real(dirfd, path, bits), note("mkdir\t%s\n", buffer));
}
int mkdir(const char *path, mode_t bits) { return mkdir_at(AT_FDCWD, path, bits); }
int mkdirat(int dirfd, const char *path, mode_t bits) { return mkdir_at(dirfd, path, bits); }

static int chmod_at(int dirfd, const char *path, mode_t bits, int flags) {
    REAL(fchmodat);
    char buffer[PATH];
    if (IDLE || !*whole(dirfd, path, buffer)) return real(dirfd, path, bits, flags);
    CALL(CHANGE, EIO, real(dirfd, path, bits, flags), (void)0);
}
int chmod(const char *path, mode_t bits) { return chmod_at(AT_FDCWD, path, bits, 0); }
int fchmodat(int dirfd, const char *path, mode_t bits, int flags) { return chmod_at(dirfd, path, bits, flags); }
int fchmod(int fd, mode_t bits) {
    REAL(fchmod);
    if (!ours(fd)) return real(fd, bits);
    CALL(CHANGE, EIO, real(fd, bits), (void)0);
}

/* -- calls that only look ------------------------------------------------------------------------------------- */

#define LOOK(dirfd, path) \
    char buffer[PATH];    \
    if (action != OFF && *whole(dirfd, path, buffer) && reached(READ) == REFUSED) return -1

int stat64(const char *path, struct stat64 *into) {
    REAL(stat64);
    LOOK(AT_FDCWD, path);
    return real(path, into);
}
int lstat64(const char *path, struct stat64 *into) {
    REAL(lstat64);
    LOOK(AT_FDCWD, path);
    return real(path, into);
}
int fstatat64(int dirfd, const char *path, struct stat64 *into, int flags) {
    REAL(fstatat64);
    LOOK(dirfd, path);
    return real(dirfd, path, into, flags);
}
ssize_t readlink(const char *path, char *into, size_t size) {
    REAL(readlink);
    LOOK(AT_FDCWD, path);
    return real(path, into, size);
}
DIR *opendir(const char *path) {
    REAL(opendir);
    char buffer[PATH];
    if (action != OFF && *whole(AT_FDCWD, path, buffer) && reached(READ) == REFUSED) return NULL;
    return real(path);
}
DIR *fdopendir(int fd) {
    REAL(fdopendir);
    if (ours(fd) && reached(READ) == REFUSED) return NULL;
    return real(fd);
}
/* closedir closes its descriptor inside the C library, unseen. */
int closedir(DIR *folder) {
    REAL(closedir);
    int fd = dirfd(folder);
    if (!ours(fd)) return real(folder);
    TURN;
    note("close\t%d\n", fd);
    forget(fd);
    return real(folder);
}
