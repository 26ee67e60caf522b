#include "syscall/linked.h"

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

int vgpu_linked_find(int at, const char *path, char *to) {
    int saved = errno;
    const struct vgpu_image *image = vgpu_file_image(vgpu_file_self());
    int found = image != NULL && path != NULL && path[0] != '\0' && !is_no_link(at, path) &&
                vgpu_spelling_follow(image, at, path, to, PATH_MAX);
    errno = saved;
    return found;
}

int vgpu_linked_opened(int at, const char *path, int fd) {
    struct stat facts;
    if (fd < 0 || (path[0] != '/' && at != AT_FDCWD)) {
        return 0;
    }
    size_t length = vgpu_length(path);
    if (vgpu_known_has(path, length, VGPU_KNOWN_STAYS) || vgpu_raw3(SYS_fstat, fd, (long)&facts, 0) != 0) {
        return 0;
    }
    if (!vgpu_linked_odd(0, facts.st_dev)) {
        vgpu_known_add(path, length, VGPU_KNOWN_STAYS);
        return 0;
    }
    return !vgpu_file_begins(path) && vgpu_linked_find(at, path, NULL);
}

void vgpu_linked_close(int fd) {
    vgpu_raw3(SYS_close, fd, 0, 0);
}

/* The room for a path is only taken where there is a use for it: a signal's stack may be small. A freopen that has
 * failed has closed the stream, and cannot be tried again. */
#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    type vgpu_again_##name(uint64_t caller, type answer, VGPU_BARE parameters) {                                       \
        if (VGPU_FILE_##name == VGPU_FILE_freopen || VGPU_FILE_##name == VGPU_FILE_freopen64 ||                        \
            !vgpu_linked_find(directory, path, NULL)) {                                                                \
            return answer;                                                                                             \
        }                                                                                                              \
        char *there = __builtin_alloca(PATH_MAX);                                                                      \
        if (!vgpu_linked_find(directory, path, there)) {                                                               \
            return answer;                                                                                             \
        }                                                                                                              \
        path = there;                                                                                                  \
        return vgpu_call_##name(vgpu_file_self(), caller, VGPU_BARE arguments);                                        \
    }
#define VGPU_FILE_FSTAT(type, name, parameters, arguments, family, before)
#define VGPU_FILE_LINK(type, name, parameters, arguments, family, before, serve)
#define VGPU_FILE_NAME(type, name, parameters, arguments, family, before, serve)
#define VGPU_FILE_PAIR(type, name, parameters, arguments, family, before, change)
#define VGPU_FILE_OTHER(type, name, parameters, arguments, family, before, test, serve)
#include "syscall/syscall.def"
