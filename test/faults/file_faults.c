// Preloaded into a process (LD_PRELOAD), counts its file operations below one folder and lets some of them fail.
//
//   SOFTPACK_FAULT_ROOT      absolute path of the folder; operations elsewhere are neither counted nor touched
//   SOFTPACK_FAULT_CONTROL   a path below it. Making a symbolic link of this path makes none: its target, a text of four
//                            words, says what is to happen from now on, and counting starts anew.
//
// The words are
//   ops     which operations count: `change` (all that change files), `open`, `all` or `none`
//   fault   `kill` (SIGKILL before it), `cut` (SIGKILL after half of a write), `freeze` (it and all later ones fail, as if
//           the process were dead), `freeze-cut` (half of its bytes are written, then the same), `short` (half of the bytes
//           of a read or write), the number of an errno, or `none`
//   at      number of the operation to fault, counted from 1; `0`: every one
//   log     file that receives a line per counted operation: its name and path, with a `!` in front if it was faulted
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
#include <sys/uio.h>
#include <unistd.h>

enum Kind { kRead, kOpen, kChange, kOpenToChange };
// What happens to an operation. Of kHalf, half of its bytes are written before the process dies or all else fails.
enum Fault { kNone, kHalfAndDie, kHalfAndFail, kShort, kFail };

static const char* root;
static const char* control;
static char ops[16] = "none";
static char fault[16] = "none";
static long at;
static int log_file = -1;
static long count;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void Start(void) {
  root = getenv("SOFTPACK_FAULT_ROOT");
  control = getenv("SOFTPACK_FAULT_CONTROL");
}

static int Control(const char* words) {
  char log[4200];
  pthread_mutex_lock(&mutex);
  if (log_file >= 0) close(log_file);
  const int found = sscanf(words, "%15s %15s %ld %4199[^\n]", ops, fault, &at, log);
  log_file = found < 4 ? -1 : (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  count = 0;
  pthread_mutex_unlock(&mutex);
  if (log_file >= 0) return 0;
  errno = EINVAL;
  return -1;
}

static int IsBelowRoot(const char* path) {
  if (root == NULL || path == NULL) return 0;
  const size_t length = strlen(root);
  return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int Counts(enum Kind kind) {
  if (strcmp(ops, "all") == 0) return 1;
  if (strcmp(ops, "open") == 0) return kind == kOpen || kind == kOpenToChange;
  return strcmp(ops, "change") == 0 && (kind == kChange || kind == kOpenToChange);
}

static void Die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

// What is to happen to this operation; does not return if the process is to die before it.
static enum Fault Decide(const char* name, enum Kind kind, const char* path) {
  if (!IsBelowRoot(path) || !Counts(kind)) return kNone;
  pthread_mutex_lock(&mutex);
  const long number = ++count;
  const int hit = at == 0 || at == number;
  const int dies = hit && strcmp(fault, "kill") == 0;
  enum Fault found = kNone;
  int error = 0;
  if (strncmp(fault, "freeze", 6) == 0) {
    error = EIO;
    if (number == at && fault[6] != 0) found = kHalfAndFail;
    else if (number >= at) found = kFail;
  } else if (hit && strcmp(fault, "cut") == 0) {
    found = kHalfAndDie;
  } else if (hit && strcmp(fault, "short") == 0) {
    found = kShort;
  } else if (hit && atoi(fault) > 0) {
    error = atoi(fault);
    found = kFail;
  }
  if (log_file >= 0) {
    char line[4400];
    const char* const mark = dies || found != kNone ? "!" : "";
    const int length = snprintf(line, sizeof line, "%s%s %s\n", mark, name, path);
    syscall(SYS_write, log_file, line, length);
  }
  if (dies) Die();
  if (error != 0) errno = error;
  pthread_mutex_unlock(&mutex);
  return found;
}

static enum Fault DecideFile(const char* name, enum Kind kind, int file) {
  if (root == NULL) return kNone;
  char link[64], path[4200];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const int kept = errno;
  const ssize_t length = readlink(link, path, sizeof path - 1);
  errno = kept;
  if (length <= 0) return kNone;
  path[length] = 0;
  return Decide(name, kind, path);
}

static size_t Half(size_t bytes) { return bytes > 1 ? bytes / 2 : bytes; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CACHED(name)                                   \
  static __typeof__(&name) real;                       \
  if (real == NULL) real = REAL(name)

static enum Kind OpenKind(int flags) {
  return flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) ? kOpenToChange : kOpen;
}

#define DEFINE_OPEN(name)                                                  \
  int name(const char* path, int flags, ...) {                             \
    CACHED(name);                                                          \
    va_list rest;                                                          \
    va_start(rest, flags);                                                 \
    const mode_t mode = va_arg(rest, mode_t);                              \
    va_end(rest);                                                          \
    if (Decide("open", OpenKind(flags), path) == kFail) return -1;         \
    return real(path, flags, mode);                                        \
  }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

// Reads and writes of one buffer.
#define DEFINE_TRANSFER(name, kind, label, buffer, ...)                    \
  {                                                                        \
    CACHED(name);                                                          \
    const enum Fault found = DecideFile(label, kind, file);                \
    switch (found) {                                                       \
      case kFail:                                                          \
        return -1;                                                         \
      case kShort:                                                         \
        bytes = Half(bytes);                                               \
        break;                                                             \
      case kHalfAndDie:                                                    \
      case kHalfAndFail:                                                   \
        bytes = Half(bytes);                                               \
        if (kind == kChange) real(file, buffer, bytes __VA_ARGS__);        \
        if (found == kHalfAndDie) Die();                                   \
        errno = EIO;                                                       \
        return -1;                                                         \
      case kNone:                                                          \
        break;                                                             \
    }                                                                      \
    return real(file, buffer, bytes __VA_ARGS__);                          \
  }
ssize_t read(int file, void* to, size_t bytes) DEFINE_TRANSFER(read, kRead, "read", to)
ssize_t write(int file, const void* from, size_t bytes) DEFINE_TRANSFER(write, kChange, "write", from)
ssize_t pread64(int file, void* to, size_t bytes, off64_t offset)
    DEFINE_TRANSFER(pread64, kRead, "read", to, , offset)
ssize_t pwrite64(int file, const void* from, size_t bytes, off64_t offset)
    DEFINE_TRANSFER(pwrite64, kChange, "write", from, , offset)

// Of several buffers: only the first is read or written, half of it if it is the only one.
#define DEFINE_VECTOR(name, kind, label, ...)                              \
  {                                                                        \
    CACHED(name);                                                          \
    const enum Fault found = DecideFile(label, kind, file);                \
    if (found == kFail) return -1;                                         \
    if (found == kNone) return real(file, parts, parts_count __VA_ARGS__); \
    struct iovec first = parts[0];                                         \
    if (parts_count == 1) first.iov_len = Half(first.iov_len);             \
    if (found == kShort) return real(file, &first, 1 __VA_ARGS__);         \
    if (kind == kChange) real(file, &first, 1 __VA_ARGS__);                \
    if (found == kHalfAndDie) Die();                                       \
    errno = EIO;                                                           \
    return -1;                                                             \
  }
ssize_t readv(int file, const struct iovec* parts, int parts_count) DEFINE_VECTOR(readv, kRead, "read")
ssize_t writev(int file, const struct iovec* parts, int parts_count)
    DEFINE_VECTOR(writev, kChange, "write")
ssize_t preadv64(int file, const struct iovec* parts, int parts_count, off64_t offset)
    DEFINE_VECTOR(preadv64, kRead, "read", , offset)
ssize_t pwritev64(int file, const struct iovec* parts, int parts_count, off64_t offset)
    DEFINE_VECTOR(pwritev64, kChange, "write", , offset)

#define DEFINE_ON_FILE(name, kind)                                         \
  int name(int file) {                                                     \
    CACHED(name);                                                          \
    return DecideFile(#name, kind, file) == kFail ? -1 : real(file);       \
  }
DEFINE_ON_FILE(fsync, kChange)
DEFINE_ON_FILE(fdatasync, kChange)

int ftruncate64(int file, off64_t length) {
  CACHED(ftruncate64);
  return DecideFile("ftruncate", kChange, file) == kFail ? -1 : real(file, length);
}

#define DEFINE_ON_PATH(name)                                               \
  int name(const char* path) {                                             \
    CACHED(name);                                                          \
    return Decide(#name, kChange, path) == kFail ? -1 : real(path);        \
  }
DEFINE_ON_PATH(unlink)
DEFINE_ON_PATH(rmdir)

int mkdir(const char* path, mode_t mode) {
  CACHED(mkdir);
  return Decide("mkdir", kChange, path) == kFail ? -1 : real(path, mode);
}

int rename(const char* from, const char* to) {
  CACHED(rename);
  return Decide("rename", kChange, to) == kFail ? -1 : real(from, to);
}

int link(const char* from, const char* to) {
  CACHED(link);
  return Decide("link", kChange, to) == kFail ? -1 : real(from, to);
}

int symlink(const char* from, const char* to) {
  CACHED(symlink);
  if (control != NULL && strcmp(to, control) == 0) return Control(from);
  return Decide("symlink", kChange, to) == kFail ? -1 : real(from, to);
}

int scandir64(const char* path, struct dirent64*** list, int (*filter)(const struct dirent64*),
              int (*compare)(const struct dirent64**, const struct dirent64**)) {
  CACHED(scandir64);
  return Decide("scandir", kOpen, path) == kFail ? -1 : real(path, list, filter, compare);
}
