/* Links in a directory of the program's own that lead into the simulated host's files, and rare ways to those files.
 *
 *   linkprobe links DIRECTORY DEVICE GPU    one line "what number errno text" for each thing that is tried
 *   linkprobe rare GPU DEVICES
 *   linkprobe rights FUNCTION DEVICE        the function as the first call, for another user; then errno of an open */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ipc.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void say(const char *what, long number, const char *text) {
    printf("%s %ld %d %s\n", what, number < 0 ? -1 : number, number < 0 ? errno : 0, text);
    errno = 0;
}

static void say_text(const char *what, const char *path) {
    char text[64] = "";
    int fd = open(path, O_RDONLY);
    int error = errno;
    if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0) {
        text[strcspn(text, "\n")] = '\0';
    }
    errno = error;
    say(what, fd < 0 ? -1 : 0, text);
    close(fd);
}

/* As another process makes a link: the shim does not hear of it. */
static void symlink_unseen(const char *text, const char *path) {
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "0"((long)SYS_symlink), "D"(text), "S"(path) : "rcx", "r11", "memory");
    if (answer != 0) {
        exit(2);
    }
}

static const char *kind(mode_t mode) {
    return S_ISCHR(mode) ? "device" : S_ISLNK(mode) ? "link" : S_ISDIR(mode) ? "directory" : "file";
}

static void links(const char *device, const char *gpu) {
    char vendor[PATH_MAX], found[PATH_MAX] = "";
    struct stat facts = {0};
    struct statx more = {0};
    snprintf(vendor, sizeof(vendor), "%s/vendor", gpu);
    say_text("before", "vendor");
    if (symlink(vendor, "vendor") != 0 || symlink("vendor", "second") != 0 || symlink(device, "device") != 0 ||
        symlink(gpu, "gpu") != 0 || symlink("circle", "circle") != 0 || symlink("/no/such/file", "nowhere") != 0 ||
        symlink("/proc/version", "version") != 0 || symlink("/proc/devices", "devices") != 0 ||
        mkdir("deep", 0755) != 0 || symlink("../vendor", "deep/relative") != 0) {
        perror("symlink");
        exit(2);
    }
    say_text("open", "vendor");
    say_text("early", "late");
    symlink_unseen(vendor, "late");
    say_text("late", "late");
    say_text("second", "second");
    say_text("relative", "deep/relative");
    say_text("circle", "circle");
    say_text("nowhere", "nowhere");
    say_text("absent", "absent");
    int here = open(".", O_RDONLY | O_DIRECTORY);
    int fd = openat(here, "vendor", O_RDONLY);
    say("openat", fd < 0 ? -1 : 0, "");
    say("nofollow", open("vendor", O_RDONLY | O_NOFOLLOW), "");
    FILE *stream = fopen("vendor", "r");
    say("fopen", stream == NULL ? -1 : fgetc(stream), "");
    say("freopen", freopen("vendor", "r", stdin) == NULL ? -1 : 0, "");
    say("access", access("device", R_OK | W_OK), "");
    say("access vendor", access("vendor", W_OK), "");
    long answer = stat("device", &facts);
    say("stat", answer, kind(facts.st_mode));
    answer = fstatat(here, "device", &facts, 0);
    say("fstatat", answer, kind(facts.st_mode));
    answer = statx(AT_FDCWD, "device", 0, STATX_BASIC_STATS, &more);
    say("statx", answer, kind(more.stx_mode));
    answer = lstat("device", &facts);
    say("lstat", answer, kind(facts.st_mode));
    answer = stat("gpu", &facts);
    say("stat gpu", answer, kind(facts.st_mode));
    struct stat real = {0}, linked = {0};
    answer = stat("/proc/version", &real) | stat("version", &linked);
    say("real", answer, real.st_ino == linked.st_ino ? "same" : "other");
    answer = stat("/proc/devices", &real) | stat("devices", &linked);
    say("faked", answer, real.st_ino == linked.st_ino ? "same" : "other");
    answer = statx(AT_FDCWD, "devices", 0, STATX_BASIC_STATS, &more);
    say("fakedx", answer, real.st_ino == more.stx_ino ? "same" : "other");
    ssize_t length = readlink("device", found, sizeof(found) - 1);
    say("readlink", length, length > 0 ? found : "");
    answer = realpath("gpu", found) == NULL ? -1 : 0;
    say("realpath", answer, answer == 0 ? found : "");
    DIR *list = opendir("gpu");
    say("opendir", list == NULL ? -1 : 0, "");
    answer = syscall(SYS_open, "vendor", O_RDONLY);
    say("number", answer < 0 ? -1 : 0, "");
    say("number nofollow", syscall(SYS_open, "vendor", O_RDONLY | O_NOFOLLOW), "");
    say("number stat", syscall(SYS_stat, "device", &facts), kind(S_IFCHR));
    say("truncate", truncate("vendor", 0), "");
    say("unlink", unlink("nowhere"), "");
    say("chdir", chdir("gpu"), "");
    answer = getcwd(found, sizeof(found)) == NULL ? -1 : 0;
    say("getcwd", answer, found);
    say_text("inside", "vendor");
    memset(found, 0, sizeof(found));
    answer = syscall(SYS_readlink, "/proc/self/cwd", found, sizeof(found) - 1);
    say("number here", answer < 0 ? -1 : 0, found);
    memset(found, 0, sizeof(found));
    answer = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/cwd", found, 12L);
    say("number cut", answer, found);
}

static void rare(const char *gpu, const char *devices) {
    struct stat facts = {0};
    char line[256], vendor[PATH_MAX];
    static const char *const names[] = {"setmntent", "__setmntent"};
    snprintf(vendor, sizeof(vendor), "%s/vendor", gpu);
    key_t key = ftok(vendor, 7);
    say("stat", stat(vendor, &facts), "");
    key_t wanted = (key_t)((facts.st_ino & 0xffff) | (facts.st_dev & 0xff) << 16 | 7u << 24);
    say("ftok", key == wanted ? 0 : 1, "");
    say("no ftok", ftok("/sys/bus/pci/drivers/nvidia/none", 7), "");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        FILE *(*opens)(const char *, const char *) =
            (FILE * (*)(const char *, const char *)) dlsym(RTLD_DEFAULT, names[i]);
        FILE *stream = opens(devices, "r");
        int found = 0;
        while (stream != NULL && fgets(line, sizeof(line), stream) != NULL) {
            found |= strstr(line, "nvidia") != NULL;
        }
        say(names[i], stream == NULL ? -1 : found, fcntl(fileno(stream), F_GETFD) == FD_CLOEXEC ? "cloexec" : "kept");
        endmntent(stream);
        say(names[i], opens(devices, "w") == NULL ? -1 : 0, "");
    }
    int (*open_tree_)(int, const char *, unsigned) =
        (int (*)(int, const char *, unsigned))dlsym(RTLD_DEFAULT, "open_tree");
    int place = open_tree_ == NULL ? -1 : open_tree_(AT_FDCWD, gpu, 0);
    say("open_tree", place < 0 ? -1 : 0, place >= 0 && openat(place, "vendor", O_RDONLY) >= 0 ? "place" : "none");
}

static int rights(const char *function, const char *device) {
    enum { NOBODY = 65534 };
    if (strcmp(function, "setuid") == 0) {
        setuid(NOBODY);
    } else if (strcmp(function, "seteuid") == 0) {
        seteuid(NOBODY);
    } else if (strcmp(function, "setreuid") == 0) {
        setreuid(NOBODY, NOBODY);
    } else if (strcmp(function, "setresuid") == 0) {
        setresuid(NOBODY, NOBODY, NOBODY);
    } else if (strcmp(function, "setfsuid") == 0) {
        setfsuid(NOBODY);
    } else {
        long ignored;
        __asm__ volatile("syscall" : "=a"(ignored) : "0"((long)SYS_setuid), "D"((long)NOBODY) : "rcx", "r11", "memory");
    }
    return open(device, O_RDONLY) < 0 ? errno : 0;
}

int main(int count, char **words) {
    if (count == 5 && strcmp(words[1], "links") == 0 && chdir(words[2]) == 0) {
        links(words[3], words[4]);
    } else if (count == 4 && strcmp(words[1], "rare") == 0) {
        rare(words[2], words[3]);
    } else if (count == 4 && strcmp(words[1], "rights") == 0) {
        printf("%d\n", rights(words[2], words[3]));
    } else {
        return 2;
    }
    return 0;
}
