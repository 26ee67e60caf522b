#include "syscall/linked.h"

#include <string.h>

#include "vgpu/raw.h"

/* A row's parameter `directory` hides the constant of files.h. */
#pragma GCC diagnostic ignored "-Wshadow"

static uint64_t device_of(const char *path) {
    struct stat facts;
    return vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)path, (long)&facts, 0, 0, 0) == 0 ? facts.st_dev : VGPU_NOBODYS;
}

void vgpu_linked_learn(void) {
    static const char names[VGPU_SYSTEMS][sizeof("/proc")] = {"/sys", "/proc", "/dev"};
    uint64_t root = device_of("/");
    for (int i = 0; i < VGPU_SYSTEMS; i++) {
        uint64_t device = device_of(names[i]);
        __atomic_store_n(&vgpu_filter.systems[i], device == root ? VGPU_NOBODYS : device, __ATOMIC_RELAXED);
    }
}

/* 1: the path is no link itself, which may be known from before. Of a file that is not there nothing is kept: another
 * process may make the link next. */
static int is_no_link(int at, const char *path) {
    char text[1];
    size_t length = vgpu_length(path);
    int keeps = path[0] == '/' || at == AT_FDCWD;
    if (keeps && vgpu_known_has(path, length, VGPU_KNOWN_NO_LINK)) {
        return 1;
    }
    long got = vgpu_raw6(SYS_readlinkat, at, (long)path, (long)text, sizeof(text), 0, 0);
    if (keeps && got == -EINVAL) {
        vgpu_known_add(path, length, VGPU_KNOWN_NO_LINK);
    }
    return got < 0;
}

/* Does a link lead there? One on the way of a path that starts from a directory's descriptor is looked for here, too:
 * nobody has before. */
static int is_led(const struct vgpu_image *image, int at, const char *path, char *to, int *is_direct) {
    int has_way = path[0] != '/' && at != AT_FDCWD && strchr(path, '/') != NULL;
    *is_direct = !has_way && is_no_link(at, path);
    return !*is_direct && vgpu_spelling_follow(image, at, path, to, PATH_MAX);
}

int vgpu_linked_find(int at, const char *path, char *to) {
    int is_direct;
    int saved = errno;
    const struct vgpu_image *image = vgpu_file_image(vgpu_file_self());
    int found =
        image != NULL && !vgpu_path_is_no_text(path) && path[0] != '\0' && is_led(image, at, path, to, &is_direct);
    errno = saved;
    return found;
}

static int is_on_system(uint64_t device) {
    int is_on = 0;
    for (int i = 0; i < VGPU_SYSTEMS; i++) {
        is_on |= device == __atomic_load_n(&vgpu_filter.systems[i], __ATOMIC_RELAXED);
    }
    return is_on;
}

int vgpu_linked_from(int at, const char *path) {
    struct stat facts;
    return path[0] != '\0' && vgpu_raw6(SYS_newfstatat, at, (long)"", (long)&facts, AT_EMPTY_PATH, 0, 0) == 0 &&
           !is_on_system(facts.st_dev);
}

int vgpu_linked_is_of_system(const char *path) {
    return strncmp(path, "/sys/", 5) == 0 || strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/dev/", 5) == 0;
}

int vgpu_linked_opened(int at, const char *path, int fd) {
    struct stat facts;
    if (fd < 0 || vgpu_direct_has(at, path)) {
        return 0;
    }
    int may_be = vgpu_file_maybe(at, path);
    int is_elsewhere = may_be && vgpu_elsewhere_has(path);
    int is_settled = is_elsewhere || !may_be;
    int is_direct = is_elsewhere && vgpu_linked_is_of_system(path);
    int is_linked = 0;
    if (!is_direct && vgpu_raw3(SYS_fstat, fd, (long)&facts, 0) == 0) {
        const struct vgpu_image *image = vgpu_file_image(vgpu_file_self());
        is_direct = !is_on_system(facts.st_dev);
        is_linked = !is_direct && image != NULL && is_led(image, at, path, NULL, &is_direct);
    }
    /* With a descriptor of the tree, the same number may be its directory's later. */
    if (is_direct && is_settled && (path[0] == '/' || at == AT_FDCWD || vgpu_filter.near == 0)) {
        vgpu_direct_add(at, path);
    }
    return is_linked;
}

int vgpu_linked_stat(struct vgpu_process *process, uint64_t caller, const char *path, struct stat *to) {
    int answer = vgpu_call_stat(process, caller, path, to);
    int may_be =
        answer == 0 ? is_on_system(to->st_dev) && VGPU_LINKED_STAT(AT_FDCWD, path, 0, to) : VGPU_LINKED_MISSED(answer);
    return may_be ? vgpu_again_stat(caller, answer, path, to) : answer;
}

DIR *vgpu_linked_opendir(struct vgpu_process *process, uint64_t caller, const char *path) {
    DIR *answer = vgpu_call_opendir(process, caller, path);
    int may_be = answer != NULL ? vgpu_linked_opened(AT_FDCWD, path, dirfd(answer)) : VGPU_LINKED_MISSED(answer);
    return may_be ? vgpu_again_opendir(caller, answer, path) : answer;
}

int vgpu_linked_number(FILE *stream) {
    int saved = errno;
    int fd = fileno(stream);
    errno = saved;
    return fd;
}

/* What the real function has opened is closed first, so that the tree's has its number. */
static void close_number(int fd) {
    vgpu_raw3(SYS_close, fd, 0, 0);
}

static void close_directory(DIR *stream) {
    if (stream != NULL) {
        closedir(stream);
    }
}

static void close_stream(FILE *stream) {
    if (stream != NULL) {
        fclose(stream);
    }
}

/* The room for a path is only taken where there is a use for it: a signal's stack may be small. */
#define AGAIN(type, name, parameters, arguments, close_it)                                                             \
    type vgpu_again_##name(uint64_t caller, type answer, VGPU_BARE parameters) {                                       \
        if (!vgpu_linked_find(directory, path, NULL)) {                                                                \
            return answer;                                                                                             \
        }                                                                                                              \
        char *there = __builtin_alloca(PATH_MAX);                                                                      \
        if (!vgpu_linked_find(directory, path, there)) {                                                               \
            return answer;                                                                                             \
        }                                                                                                              \
        int saved = errno;                                                                                             \
        close_it;                                                                                                      \
        errno = saved;                                                                                                 \
        path = there;                                                                                                  \
        return vgpu_call_##name(vgpu_file_self(), caller, VGPU_BARE arguments);                                        \
    }
#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    AGAIN(type, name, parameters, arguments, (void)answer)
#define VGPU_FILE_MODE(type, name, parameters, arguments, family, before, serve, open_parameters)                      \
    AGAIN(type, name, parameters, arguments, close_number(answer))
#define VGPU_FILE_OPEN(type, name, parameters, arguments, family, before, serve)                                       \
    AGAIN(type, name, parameters, arguments, close_number(answer))
#define VGPU_FILE_LIST(type, name, parameters, arguments, family, before, serve)                                       \
    AGAIN(type, name, parameters, arguments, close_directory(answer))
#define VGPU_FILE_STREAM(type, name, parameters, arguments, family, before, serve)                                     \
    AGAIN(type, name, parameters, arguments, close_stream(answer))
#define VGPU_FILE_FSTAT(type, name, parameters, arguments, family, before)
#define VGPU_FILE_LINK(type, name, parameters, arguments, family, before, serve)
#define VGPU_FILE_NAME(type, name, parameters, arguments, family, before, serve)
#define VGPU_FILE_PAIR(type, name, parameters, arguments, family, before, change)
#define VGPU_FILE_OTHER(type, name, parameters, arguments, family, before, test, serve)
#include "syscall/syscall.def"
