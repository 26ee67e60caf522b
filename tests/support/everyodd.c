/* everyodd FILE DIRECTORY LINK: calls with arguments that no sane program passes, about a file, a directory and a link
 * that nothing can be made of or changed in. One line for each call: its name, and what it answers. A call that ends
 * the process is made in a child, and its signal is told. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

ssize_t __readlink_chk(const char *path, char *to, size_t size, size_t room);
ssize_t __readlinkat_chk(int directory, const char *path, char *to, size_t size, size_t room);
char *__realpath_chk(const char *path, char *to, size_t room);
char *__getcwd_chk(char *to, size_t size, size_t room);
int __open_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __xstat(int version, const char *path, struct stat *to);

/* Pointers that are no text, to the compiler too. */
static char *volatile nothing;
static char *volatile low = (char *)1;
static char *volatile high = (char *)-1;
static char *volatile kernels = (char *)0xffff800000000000;

static struct stat found;
static struct statx wide;
static char rooms[PATH_MAX];
static char *volatile room = rooms;
static volatile size_t whole = SIZE_MAX;

static void tell(const char *what, long answer) {
    printf("%s: %s", what, answer < 0 ? strerrorname_np(errno) : "done");
    if (answer > 0 && strstr(what, "open") == NULL) {
        printf(" %ld", answer);
    }
    if (answer >= 0 && strstr(what, "open") != NULL) {
        printf(" %o", fcntl((int)answer, F_GETFL) & (O_ACCMODE | O_APPEND | O_PATH));
        close((int)answer);
    }
    putchar('\n');
    errno = 0;
}

#define TELL(call) tell(#call, (long)(call))
#define TELL_POINTER(call) tell(#call, (call) == NULL ? -1 : 0)

/* In a child; both that it ends and how. */
#define DIES(call)                                                                                                     \
    do {                                                                                                               \
        int status;                                                                                                    \
        fflush(stdout);                                                                                                \
        pid_t child = fork();                                                                                          \
        if (child == 0) {                                                                                              \
            setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});                                                            \
            dup2(open("/dev/null", O_WRONLY), 2);                                                                      \
            (void)!(call);                                                                                             \
            _exit(0);                                                                                                  \
        }                                                                                                              \
        waitpid(child, &status, 0);                                                                                    \
        printf("%s: %s %d\n", #call, WIFSIGNALED(status) ? "signal" : "exit",                                          \
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));                                          \
    } while (0)

static void no_text(void) {
    char *const bad[] = {nothing, low, high, kernels};
    for (int i = 0; i < 4; i++) {
        char *path = bad[i];
        printf("%d\n", i);
        TELL(open(path, O_RDONLY));
        TELL(openat(AT_FDCWD, path, O_RDONLY));
        TELL(creat(path, 0600));
        TELL(stat(path, &found));
        TELL(lstat(path, &found));
        TELL(fstatat(AT_FDCWD, path, &found, 0));
        TELL(statx(AT_FDCWD, path, 0, STATX_ALL, &wide));
        TELL(access(path, R_OK));
        TELL(faccessat(AT_FDCWD, path, R_OK, AT_EACCESS));
        TELL(readlink(path, room, PATH_MAX));
        TELL(chdir(path));
        TELL(unlink(path));
        TELL(mkdir(path, 0700));
        TELL(chmod(path, 0700)); /* of no path at all */
        TELL(rename(path, path));
        TELL(statfs(path, &(struct statfs){0}));
        TELL(getxattr(path, "user.x", room, PATH_MAX));
        TELL_POINTER(fopen(path, "r"));
        DIES(opendir(path) != NULL);
        TELL(syscall(SYS_open, path, O_RDONLY));
        TELL(syscall(SYS_openat2, AT_FDCWD, path, path, 24));
        TELL(syscall(SYS_newfstatat, AT_FDCWD, path, &found, 0));
        TELL(syscall(SYS_statfs, path, room));
        TELL(syscall(SYS_chdir, path));
        TELL(syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, path, 0));
    }
    TELL_POINTER(realpath(nothing, room));
    TELL(syscall(SYS_inotify_add_watch, -1, low, 1));
}

/* A page that nothing can be read behind. */
static char *at_the_edge(const char *text) {
    char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(memory + 4096, 4096, PROT_NONE);
    char *at = memory + 4096 - strlen(text) - 1;
    return strcpy(at, text);
}

static void lengths(const char *file, const char *directory) {
    static char longer[3 * PATH_MAX];
    const int sizes[] = {PATH_MAX - 2, PATH_MAX - 1, PATH_MAX, PATH_MAX + 1, 2 * PATH_MAX};
    for (int i = 0; i < 5; i++) {
        snprintf(longer, sizeof(longer), "%s/", directory);
        while (strlen(longer) < (size_t)sizes[i]) {
            strcat(longer, "n");
        }
        TELL(open(longer, O_RDONLY));
        TELL(stat(longer, &found));
        TELL(access(longer, F_OK));
        TELL(readlink(longer, room, PATH_MAX));
        TELL(mkdir(longer, 0700));
        TELL_POINTER(realpath(longer, room));
        TELL_POINTER(fopen(longer, "r"));
    }
    char *edge = at_the_edge(file);
    TELL(stat(edge, &found));
    TELL(access(edge, R_OK));
    TELL(open(edge, O_RDONLY));
    for (const char *short_one = "/sy"; *short_one != '\0'; short_one++) {
        TELL(access(at_the_edge(short_one), F_OK));
    }
    TELL(open("", O_RDONLY));
    TELL(stat("", &found));
    TELL(fstatat(AT_FDCWD, "", &found, AT_EMPTY_PATH));
    TELL(access("", F_OK));
    TELL(readlink("", room, PATH_MAX));
    TELL_POINTER(realpath("", room));
    TELL_POINTER(opendir(""));
    TELL(chdir(""));
}

static void shapes(const char *file, const char *directory, const char *link) {
    static char path[PATH_MAX];
    const char *endings[] = {"/", "/.", "/..", "//", "/./", "/x", "/../", "x"};
    for (int i = 0; i < 8; i++) {
        for (int of = 0; of < 3; of++) {
            snprintf(path, sizeof(path), "%s%s", of == 0 ? file : of == 1 ? directory : link, endings[i]);
            printf("%s %d\n", endings[i], of);
            TELL(open(path, O_RDONLY));
            TELL(stat(path, &found));
            TELL(lstat(path, &found) == 0 ? (long)(found.st_mode >> 12) : -1);
            TELL(access(path, F_OK));
            TELL(readlink(path, room, PATH_MAX) < 0 ? -1 : 0);
            TELL(statfs(path, &(struct statfs){0}));
            TELL(mkdir(path, 0700));
            TELL(rmdir(path));
            TELL(unlink(path));
            TELL(syscall(SYS_lstat, path, &found));
            TELL(open(path, O_CREAT | O_RDONLY, 0600));
        }
    }
}

static void flags(const char *file, const char *directory, const char *link) {
    const int all[] = {O_RDONLY,
                       O_WRONLY,
                       O_RDWR,
                       3,
                       O_TRUNC,
                       O_APPEND,
                       O_CREAT,
                       O_CREAT | O_EXCL,
                       O_CREAT | O_WRONLY,
                       O_EXCL,
                       O_DIRECTORY,
                       O_DIRECTORY | O_WRONLY,
                       O_DIRECTORY | O_CREAT,
                       O_NOFOLLOW,
                       O_NOFOLLOW | O_WRONLY,
                       O_NOFOLLOW | O_DIRECTORY,
                       O_PATH,
                       O_PATH | O_NOFOLLOW,
                       O_PATH | O_CREAT | O_EXCL,
                       O_PATH | O_DIRECTORY,
                       O_TMPFILE,
                       O_TMPFILE | O_WRONLY,
                       O_TMPFILE | O_RDWR | O_EXCL,
                       O_NONBLOCK,
                       O_CLOEXEC | O_SYNC,
                       O_DIRECT,
                       0x40000000};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        for (int of = 0; of < 3; of++) {
            const char *path = of == 0 ? file : of == 1 ? directory : link;
            struct {
                uint64_t flags, mode, resolve;
            } how = {(uint64_t)all[i], 0, 0};
            printf("%x %d\n", (unsigned int)all[i], of);
            TELL(open(path, all[i], 0600));
            TELL(syscall(SYS_openat, AT_FDCWD, path, all[i], 0600));
            TELL(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)));
            how.mode = 0600;
            TELL(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)));
            if (!(all[i] & (O_CREAT | __O_TMPFILE))) {
                TELL(__open_2(path, all[i]));
            }
        }
    }
    struct {
        uint64_t flags, mode, resolve, more;
    } how = {0};
    TELL(syscall(SYS_openat2, AT_FDCWD, file, &how, 8));
    TELL(syscall(SYS_openat2, AT_FDCWD, file, &how, sizeof(how)));
    TELL(syscall(SYS_openat2, AT_FDCWD, file, &how, 8192));
    TELL(syscall(SYS_openat2, AT_FDCWD, file, low, 24));
    TELL(syscall(SYS_openat2, AT_FDCWD, file, nothing, 24));
    how.more = 1;
    TELL(syscall(SYS_openat2, AT_FDCWD, file, &how, sizeof(how)));
    how.resolve = 0x1000;
    TELL(syscall(SYS_openat2, AT_FDCWD, file, &how, 24));
    how.resolve = 0x04;
    TELL(syscall(SYS_openat2, AT_FDCWD, link, &how, 24));
}

static void places(const char *file, const char *directory) {
    const int bad[] = {-1, -99, 9999, INT_MIN, INT_MAX};
    int own = open(file, O_RDONLY);
    int place = open(directory, O_RDONLY | O_DIRECTORY);
    const char *name = strrchr(file, '/') + 1;
    for (int i = 0; i < 7; i++) {
        int from = i < 5 ? bad[i] : i == 5 ? own : place;
        printf("%d\n", i);
        TELL(openat(from, name, O_RDONLY));
        TELL(fstatat(from, name, &found, 0));
        TELL(fstatat(from, "", &found, 0));
        TELL(fstatat(from, "", &found, AT_EMPTY_PATH));
        TELL(faccessat(from, name, R_OK, 0));
        TELL(readlinkat(from, name, room, PATH_MAX));
        TELL(readlinkat(from, "", room, PATH_MAX));
        TELL(openat(from, file, O_RDONLY));
        TELL(unlinkat(from, name, 0));
        TELL(mkdirat(from, name, 0700));
        TELL(statx(from, "", AT_EMPTY_PATH, STATX_ALL, &wide));
        TELL(fstat(from, &found));
        TELL(fchdir(from) == 0 ? chdir("/") : -1);
    }
    close(own);
    close(place);
}

static void values(const char *file, const char *directory, const char *link) {
    for (int i = 0; i < 32; i++) {
        int bit = (int)(1U << i);
        printf("bit %d\n", i);
        TELL(fstatat(AT_FDCWD, file, &found, bit));
        TELL(statx(AT_FDCWD, file, bit, STATX_ALL, &wide));
        TELL(statx(AT_FDCWD, file, 0, (unsigned int)bit, &wide));
        TELL(access(directory, bit));
        TELL(faccessat(AT_FDCWD, directory, F_OK, bit));
        TELL(syscall(SYS_faccessat2, AT_FDCWD, directory, F_OK, bit));
        TELL(unlinkat(AT_FDCWD, file, bit));
        TELL(utimensat(AT_FDCWD, file, NULL, bit));
        TELL(linkat(AT_FDCWD, file, AT_FDCWD, directory, bit));
        TELL(mkdir(directory, (mode_t)bit));
        TELL(open(file, O_RDONLY, bit));
    }
    struct stat *no_room = (struct stat *)nothing;
    TELL(stat(file, no_room));
    TELL(lstat(file, (struct stat *)high));
    TELL(statx(AT_FDCWD, file, 0, STATX_ALL, (struct statx *)low));
    TELL(statfs(file, (struct statfs *)low));
    TELL(readlink(link, room, 0));
    TELL(readlink(link, room, whole / 2));
    TELL(readlink(link, room, whole));
    TELL(readlink(link, low, 10));
    TELL(readlink(link, room, 3));
    TELL(syscall(SYS_readlink, link, room, -1));
    TELL(syscall(SYS_readlink, link, low, 10));
    TELL(__xstat(1, file, &found));
    TELL(__xstat(7, file, &found));
    TELL(getxattr(file, nothing, room, 10));
    TELL(getxattr(file, "", room, 10));
    TELL(getxattr(file, "nonsense", room, 10));
    TELL(truncate(file, -1));
    TELL(truncate(directory, 0));
    TELL(utimensat(AT_FDCWD, file, (struct timespec[]){{0, -5}, {0, 0}}, 0));
    TELL(mknod(directory, S_IFDIR | 0700, 0));
    TELL(mknod(directory, 0170000, 0));
    TELL(symlink("", directory));
    TELL(syscall(SYS_unlinkat, AT_FDCWD, file, 0x4000));
    TELL(syscall(1 << 20, file));
    TELL(syscall(-1, file));
    TELL_POINTER(fopen(file, ""));
    TELL_POINTER(fopen(file, "x"));
    TELL_POINTER(fopen(file, "r,ccs=nonsense"));
    TELL_POINTER(fopen(directory, "r"));
    TELL_POINTER(fopen(directory, "w"));
    TELL_POINTER(opendir(file));
    DIES(__readlink_chk(link, room, 20, 10));
    DIES(__readlinkat_chk(AT_FDCWD, link, room, 20, 10));
    DIES(__realpath_chk(file, room, 10) != NULL);
    DIES(__getcwd_chk(room, 20, 10) != NULL);
    DIES(__open_2(file, O_CREAT));
    DIES(__openat_2(AT_FDCWD, file, O_TMPFILE | O_RDWR));
}

int main(int count, char **words) {
    if (count != 4) {
        return 2;
    }
    setvbuf(stdout, NULL, _IOFBF, 1 << 20);
    no_text();
    lengths(words[1], words[2]);
    shapes(words[1], words[2], words[3]);
    flags(words[1], words[2], words[3]);
    places(words[1], words[2]);
    values(words[1], words[2], words[3]);
    return 0;
}
