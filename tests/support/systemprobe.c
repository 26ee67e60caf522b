/* systemprobe [--write] PATH: what the file system of PATH is, by path and by descriptor, one line for each function,
 * errno (set to a mark before) included; who is told of its changes; and what a program reads that is started with it
 * open. With --write, whether a program can be started that opens PATH for writing, creates and cuts it; nothing else.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MARK = 77 };

static void *find(const char *name) {
    void *function = dlsym(RTLD_DEFAULT, name);
    if (function == NULL) {
        fprintf(stderr, "no function %s\n", name);
        exit(2);
    }
    errno = MARK;
    return function;
}

static void show_statfs(const char *name, int answer, const struct statfs *of) {
    printf("%s %d %d", name, answer, errno);
    if (answer == 0) {
        printf(" %lx %ld %ld %lx", (long)of->f_type, (long)of->f_bsize, (long)of->f_namelen, (long)of->f_flags);
    }
    putchar('\n');
}

static void show_statvfs(const char *name, int answer, const struct statvfs *of) {
    printf("%s %d %d", name, answer, errno);
    if (answer == 0) {
        printf(" %lu %lu %lu %lx %lx", of->f_bsize, of->f_frsize, of->f_namemax, of->f_flag, of->f_fsid);
    }
    putchar('\n');
}

static void file_systems(const char *path, int fd) {
    struct statfs fs = {0};
    struct statvfs vfs = {0};
    for (int i = 0; i < 3; i++) {
        const char *name = (const char *[]){"statfs", "statfs64", "__statfs"}[i];
        int (*call)(const char *, struct statfs *) = find(name);
        int answer = call(path, &fs);
        show_statfs(name, answer, &fs);
    }
    for (int i = 0; i < 2; i++) {
        const char *name = (const char *[]){"fstatfs", "fstatfs64"}[i];
        int (*call)(int, struct statfs *) = find(name);
        int answer = call(fd, &fs);
        show_statfs(name, answer, &fs);
    }
    for (int i = 0; i < 2; i++) {
        const char *name = (const char *[]){"statvfs", "statvfs64"}[i];
        int (*call)(const char *, struct statvfs *) = find(name);
        int answer = call(path, &vfs);
        show_statvfs(name, answer, &vfs);
    }
    for (int i = 0; i < 2; i++) {
        const char *name = (const char *[]){"fstatvfs", "fstatvfs64"}[i];
        int (*call)(int, struct statvfs *) = find(name);
        int answer = call(fd, &vfs);
        show_statvfs(name, answer, &vfs);
    }
}

static void limits(const char *path) {
    long (*pathconf_)(const char *, int) = find("pathconf");
    for (int name = _PC_LINK_MAX; name <= _PC_2_SYMLINKS; name++) {
        errno = MARK;
        long answer = pathconf_(path, name);
        printf("pathconf %d: %ld %d\n", name, answer, errno);
    }
}

/* Whether a look at the file is told of by the watch, as the kernel sees it. */
static void watches(const char *path) {
    char events[4096];
    int (*add)(int, const char *, uint32_t) = find("inotify_add_watch");
    int fd = inotify_init1(IN_NONBLOCK);
    errno = MARK;
    int watch = add(fd, path, IN_OPEN);
    printf("inotify_add_watch %s %d", watch >= 0 ? "yes" : "no", errno);
    int own = open(path, O_RDONLY | O_NONBLOCK);
    printf(" told %d\n", watch >= 0 && read(fd, events, sizeof(events)) > 0);
    close(own);
    close(fd);
    int (*mark)(int, unsigned int, uint64_t, int, const char *) = find("fanotify_mark");
    fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_REPORT_FID, O_RDONLY);
    errno = MARK;
    int answer = mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, path);
    printf("fanotify_mark %d %d", answer, fd >= 0 ? errno : 0);
    own = open(path, O_RDONLY | O_NONBLOCK);
    printf(" told %d\n", answer == 0 && read(fd, events, sizeof(events)) > 0);
}

static void handles(const char *path) {
    struct {
        struct file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } handle = {.head = {.handle_bytes = MAX_HANDLE_SZ}};
    int mount = -1;
    int (*call)(int, const char *, struct file_handle *, int *, int) = find("name_to_handle_at");
    int answer = call(AT_FDCWD, path, &handle.head, &mount, 0);
    printf("name_to_handle_at %d %d mount %d\n", answer, errno, mount);
}

/* What a child reads from its descriptor 5, and where it finds itself. */
static void children(const char *path) {
    char *words[] = {"sh", "-c", "head -c 40 <&5 2>/dev/null; cd -P . 2>/dev/null; pwd -P", NULL};
    char *none[] = {"PATH=/usr/bin:/bin", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = 0;
    int (*add)(posix_spawn_file_actions_t *, int, const char *, int, mode_t) = find("posix_spawn_file_actions_addopen");
    int (*enter)(posix_spawn_file_actions_t *, const char *) = find("posix_spawn_file_actions_addchdir_np");
    struct stat facts = {0};
    posix_spawn_file_actions_init(&actions);
    errno = MARK;
    printf("addopen %d", add(&actions, 5, path, O_RDONLY, 0));
    stat(path, &facts);
    printf(" addchdir %d %d\n", S_ISDIR(facts.st_mode) ? enter(&actions, path) : 0, errno);
    fflush(stdout);
    int answer = posix_spawn(&child, "/bin/sh", &actions, NULL, words, none);
    if (answer == 0) {
        waitpid(child, &status, 0);
    }
    printf("spawn %d\n", answer);
}

/* A child that opens the file for writing, creates and cuts it: only where the caller has said so. */
static void writing_child(const char *path) {
    char *words[] = {"true", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 5, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int answer = posix_spawn(&child, "/bin/true", &actions, NULL, words, words + 1);
    if (answer == 0) {
        waitpid(child, &status, 0);
    }
    printf("write %s\n", answer == 0 ? "allowed" : "refused");
}

int main(int count, char **words) {
    const char *path = words[count - 1];
    if (count > 2 && strcmp(words[1], "--write") == 0) {
        writing_child(path);
        return 0;
    }
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    file_systems(path, fd);
    limits(path);
    watches(path);
    handles(path);
    children(path);
    return 0;
}
