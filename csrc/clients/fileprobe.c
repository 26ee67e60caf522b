/* vgpu-fileprobe [--write] PATH: asks libc about PATH through every file function a program might call, each found by
 * name as a fortified or an old program would bind it, and prints one line of JSON for each: what it returned, errno
 * (set to a mark before the call), and what came back. --write asks for writing, creating and cutting instead of
 * reading.
 *
 * The same lines with and without a shim mean that the shim changed nothing. The last lines repeat open, stat and
 * readlink where little is allowed: in a signal handler, in a vfork child, in a thread. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MARK = 77, /* errno before each call: what is left of it afterwards is told */
    BYTES = 256,
    ENTRIES = 4096,
};

typedef int open_function(const char *path, int flags, ...);
typedef int openat_function(int directory, const char *path, int flags, ...);
typedef int path_stat_function(const char *path, struct stat *to);

static const char *path;
static int writing;
static int directory; /* of `/`: a function that takes a directory has to ignore it, as PATH is absolute */

static void *find(const char *name) {
    void *function = dlsym(RTLD_DEFAULT, name);
    if (function == NULL) {
        fprintf(stderr, "vgpu-fileprobe: no function %s in this process\n", name);
        exit(2);
    }
    errno = MARK;
    return function;
}

static void print_text(const char *key, const char *text, size_t length) {
    printf(", \"%s\": \"", key);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20 || c >= 0x7f) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void begin_line(const char *function, long returned) {
    int error = errno;
    printf("{\"function\": \"%s\", \"return\": %ld, \"errno\": %d", function, returned, error);
}

static void end_line(void) {
    printf("}\n");
    fflush(stdout);
}

/* A descriptor or a stream counts as 0. What reading it gives is told as text, a byte a character. */
static void tell_descriptor(const char *function, int fd) {
    char bytes[BYTES];
    begin_line(function, fd < 0 ? -1 : 0);
    ssize_t got = fd < 0 || writing ? -1 : read(fd, bytes, sizeof(bytes));
    if (got >= 0) {
        print_text("bytes", bytes, (size_t)got);
    }
    end_line();
    if (fd >= 0) {
        close(fd);
    }
}

static void tell_stream(const char *function, FILE *stream) {
    char bytes[BYTES];
    begin_line(function, stream == NULL ? -1 : 0);
    if (stream != NULL && !writing) {
        print_text("bytes", bytes, fread(bytes, 1, sizeof(bytes), stream));
    }
    end_line();
    if (stream != NULL) {
        fclose(stream);
    }
}

static void tell_stat(const char *function, int returned, mode_t mode, dev_t number, off_t size) {
    begin_line(function, returned);
    if (returned == 0) {
        printf(", \"mode\": %u, \"rdev\": [%u, %u], \"size\": %lld", (unsigned int)mode, major(number), minor(number),
               (long long)size);
    }
    end_line();
}

static void tell_struct_stat(const char *function, int returned, const struct stat *facts) {
    tell_stat(function, returned, facts->st_mode, facts->st_rdev, facts->st_size);
}

static void tell_link(const char *function, ssize_t returned, const char *text) {
    begin_line(function, returned < 0 ? -1 : 0);
    if (returned >= 0) {
        print_text("link", text, (size_t)returned);
    }
    end_line();
}

static int order(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void tell_names(const char *function, long returned, char **names, size_t count) {
    begin_line(function, returned);
    if (returned >= 0) {
        qsort(names, count, sizeof(names[0]), order);
        printf(", \"names\": [");
        for (size_t i = 0; i < count; i++) {
            printf("%s\"%s\"", i == 0 ? "" : ", ", names[i]);
            free(names[i]);
        }
        printf("]");
    }
    end_line();
}

static void opens(void) {
    static const char *const by_path[] = {"open", "open64"};
    static const char *const by_directory[] = {"openat", "openat64"};
    int flags = writing ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY;
    for (size_t i = 0; i < 2; i++) {
        tell_descriptor(by_path[i], ((open_function *)find(by_path[i]))(path, flags, 0644));
        tell_descriptor(by_directory[i], ((openat_function *)find(by_directory[i]))(directory, path, flags, 0644));
    }
    /* The fortified ones have no mode, so they may not create. */
    static const char *const checked[] = {"__open_2", "__open64_2"};
    static const char *const checked_at[] = {"__openat_2", "__openat64_2"};
    flags &= ~O_CREAT;
    for (size_t i = 0; i < 2; i++) {
        tell_descriptor(checked[i], ((int (*)(const char *, int))find(checked[i]))(path, flags));
        tell_descriptor(checked_at[i], ((int (*)(int, const char *, int))find(checked_at[i]))(directory, path, flags));
    }
    static const char *const creates[] = {"creat", "creat64"};
    for (size_t i = 0; i < 2 && writing; i++) {
        tell_descriptor(creates[i], ((int (*)(const char *, mode_t))find(creates[i]))(path, 0644));
    }
}

static void streams(void) {
    static const char *const by_path[] = {"fopen", "fopen64"};
    static const char *const again[] = {"freopen", "freopen64"};
    const char *mode = writing ? "w+" : "r";
    for (size_t i = 0; i < 2; i++) {
        tell_stream(by_path[i], ((FILE * (*)(const char *, const char *)) find(by_path[i]))(path, mode));
        FILE *stream = fopen("/dev/zero", "r");
        tell_stream(again[i], ((FILE * (*)(const char *, const char *, FILE *)) find(again[i]))(path, mode, stream));
    }
}

static void stats(void) {
    static const char *const by_path[] = {"stat", "stat64", "lstat", "lstat64"};
    static const char *const old[] = {"__xstat", "__xstat64", "__lxstat", "__lxstat64"};
    struct stat facts;
    for (size_t i = 0; i < 4; i++) {
        int returned = ((path_stat_function *)find(by_path[i]))(path, &facts);
        tell_struct_stat(by_path[i], returned, &facts);
        returned = ((int (*)(int, const char *, struct stat *))find(old[i]))(1, path, &facts);
        tell_struct_stat(old[i], returned, &facts);
    }
    static const char *const at[] = {"fstatat", "fstatat64"};
    static const char *const old_at[] = {"__fxstatat", "__fxstatat64"};
    for (size_t i = 0; i < 2; i++) {
        int returned = ((int (*)(int, const char *, struct stat *, int))find(at[i]))(directory, path, &facts, 0);
        tell_struct_stat(at[i], returned, &facts);
        returned =
            ((int (*)(int, int, const char *, struct stat *, int))find(old_at[i]))(1, directory, path, &facts, 0);
        tell_struct_stat(old_at[i], returned, &facts);
    }
    struct statx more;
    int returned = ((int (*)(int, const char *, int, unsigned int, struct statx *))find("statx"))(
        directory, path, 0, STATX_BASIC_STATS, &more);
    tell_stat("statx", returned, more.stx_mode, makedev(more.stx_rdev_major, more.stx_rdev_minor),
              (off_t)more.stx_size);
}

/* By descriptor alone, in every spelling. */
static void descriptor_stats(void) {
    static const char *const names[] = {"fstat", "fstat64"};
    static const char *const old[] = {"__fxstat", "__fxstat64"};
    struct stat facts;
    int fd = ((open_function *)find("open"))(path, O_RDONLY);
    for (size_t i = 0; i < 2; i++) {
        int returned = ((int (*)(int, struct stat *))find(names[i]))(fd, &facts);
        tell_struct_stat(names[i], returned, &facts);
        returned = ((int (*)(int, int, struct stat *))find(old[i]))(1, fd, &facts);
        tell_struct_stat(old[i], returned, &facts);
    }
    int returned = ((int (*)(int, const char *, struct stat *, int))find("fstatat"))(fd, "", &facts, AT_EMPTY_PATH);
    tell_struct_stat("fstatat of a descriptor", returned, &facts);
    struct statx more;
    returned = ((int (*)(int, const char *, int, unsigned int, struct statx *))find("statx"))(fd, "", AT_EMPTY_PATH,
                                                                                              STATX_BASIC_STATS, &more);
    tell_stat("statx of a descriptor", returned, more.stx_mode, makedev(more.stx_rdev_major, more.stx_rdev_minor),
              (off_t)more.stx_size);
    close(fd);
}

static void accesses(void) {
    static const char *const names[] = {"access", "euidaccess", "eaccess"};
    int mode = writing ? W_OK : R_OK;
    for (size_t i = 0; i < 3; i++) {
        long returned = ((int (*)(const char *, int))find(names[i]))(path, mode);
        begin_line(names[i], returned);
        end_line();
    }
    long returned = ((int (*)(int, const char *, int, int))find("faccessat"))(directory, path, mode, 0);
    begin_line("faccessat", returned);
    end_line();
}

static void attributes(void) {
    static const char *const gets[] = {"getxattr", "lgetxattr"};
    static const char *const lists[] = {"listxattr", "llistxattr"};
    char text[BYTES];
    for (size_t i = 0; i < 2; i++) {
        long returned = ((ssize_t (*)(const char *, const char *, void *, size_t))find(gets[i]))(
            path, "user.vgpu-fileprobe", text, sizeof(text));
        begin_line(gets[i], returned);
        end_line();
        returned = ((ssize_t (*)(const char *, char *, size_t))find(lists[i]))(path, text, sizeof(text));
        begin_line(lists[i], returned);
        end_line();
    }
}

static void links(void) {
    char text[PATH_MAX];
    size_t size = sizeof(text);
    tell_link("readlink", ((ssize_t (*)(const char *, char *, size_t))find("readlink"))(path, text, size), text);
    tell_link("readlinkat",
              ((ssize_t (*)(int, const char *, char *, size_t))find("readlinkat"))(directory, path, text, size), text);
    tell_link("__readlink_chk",
              ((ssize_t (*)(const char *, char *, size_t, size_t))find("__readlink_chk"))(path, text, size, size),
              text);
    tell_link("__readlinkat_chk",
              ((ssize_t (*)(int, const char *, char *, size_t, size_t))find("__readlinkat_chk"))(directory, path, text,
                                                                                                 size, size),
              text);
    char *real = ((char *(*)(const char *, char *))find("realpath"))(path, text);
    tell_link("realpath", real == NULL ? -1 : (ssize_t)strlen(real), real);
    real = ((char *(*)(const char *, char *, size_t))find("__realpath_chk"))(path, text, size);
    tell_link("__realpath_chk", real == NULL ? -1 : (ssize_t)strlen(real), real);
    real = ((char *(*)(const char *))find("canonicalize_file_name"))(path);
    tell_link("canonicalize_file_name", real == NULL ? -1 : (ssize_t)strlen(real), real);
    free(real);
}

static void directories(void) {
    static char *names[ENTRIES];
    DIR *stream = ((DIR * (*)(const char *)) find("opendir"))(path);
    int error = errno;
    size_t count = 0;
    for (struct dirent *entry; stream != NULL && count < ENTRIES && (entry = readdir(stream)) != NULL;) {
        names[count++] = strdup(entry->d_name);
    }
    if (stream != NULL) {
        closedir(stream);
    }
    errno = error;
    tell_names("opendir", stream == NULL ? -1 : 0, names, count);

    static const char *const scans[] = {"scandir", "scandir64"};
    for (size_t i = 0; i < 2; i++) {
        struct dirent **entries;
        int found = ((int (*)(const char *, struct dirent ***, int (*)(const struct dirent *),
                              int (*)(const struct dirent **, const struct dirent **)))find(scans[i]))(path, &entries,
                                                                                                       NULL, NULL);
        error = errno;
        for (int n = 0; n < found && n < ENTRIES; n++) {
            names[n] = strdup(entries[n]->d_name);
        }
        errno = error;
        tell_names(scans[i], found, names, found < 0 ? 0 : (size_t)found);
    }
}

/* What open, stat and readlink answer where a program may do little. */
static struct {
    int opened, open_error, stated, stat_error, linked, link_error;
    struct stat facts;
} strict;

static void ask_strictly(int number) {
    (void)number;
    int saved = errno;
    char text[PATH_MAX];
    errno = MARK;
    strict.opened = open(path, O_RDONLY);
    strict.open_error = errno;
    if (strict.opened >= 0) {
        close(strict.opened);
        strict.opened = 0;
    }
    errno = MARK;
    strict.stated = stat(path, &strict.facts);
    strict.stat_error = errno;
    errno = MARK;
    strict.linked = readlink(path, text, sizeof(text)) < 0 ? -1 : 0;
    strict.link_error = errno;
    errno = saved;
}

static void *ask_in_thread(void *unused) {
    ask_strictly(0);
    return unused;
}

static void tell_strictly(const char *place) {
    char function[64];
    snprintf(function, sizeof(function), "open in a %s", place);
    errno = strict.open_error;
    begin_line(function, strict.opened);
    end_line();
    snprintf(function, sizeof(function), "stat in a %s", place);
    errno = strict.stat_error;
    tell_struct_stat(function, strict.stated, &strict.facts);
    snprintf(function, sizeof(function), "readlink in a %s", place);
    errno = strict.link_error;
    begin_line(function, strict.linked);
    end_line();
    memset(&strict, 0, sizeof(strict));
}

static void places(void) {
    struct sigaction action = {.sa_handler = ask_strictly};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    tell_strictly("signal handler");

    pid_t child = vfork();
    if (child == 0) {
        ask_strictly(0);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    tell_strictly("vfork child");

    pthread_t thread;
    if (pthread_create(&thread, NULL, ask_in_thread, NULL) == 0) {
        pthread_join(thread, NULL);
        tell_strictly("thread");
    }
}

int main(int argc, char **argv) {
    writing = argc == 3 && strcmp(argv[1], "--write") == 0;
    if (argc != 2 + writing) {
        fprintf(stderr, "usage: vgpu-fileprobe [--write] PATH\n");
        return 2;
    }
    path = argv[1 + writing];
    directory = open("/", O_RDONLY | O_DIRECTORY);
    opens();
    streams();
    accesses();
    if (!writing) {
        stats();
        descriptor_stats();
        attributes();
        links();
        directories();
        places();
    }
    return 0;
}
