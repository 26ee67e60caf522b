/* syscall(): the numbers that take a path, a descriptor of a device, or the working directory. All others go straight
 * to the real function with all their words, as the ones here do when the tree has no say. */
#include "syscall/number.h"

#include <sys/ioctl.h>

#include "syscall/linked.h"
#include "syscall/serve_walk.h"
#include "vgpu/raw.h"

/* In the order of the kernel's arguments. Structures are those of libc on x86-64. */
#define ROW(name) 1 + VGPU_FILE_##name
const struct vgpu_number vgpu_numbers[VGPU_NUMBERS] = {
    [SYS_open] = {ROW(open), -1, 0, -1},
    [SYS_creat] = {ROW(creat), -1, 0, -1},
    [SYS_openat] = {ROW(openat), 0, 1, -1},
    [SYS_openat2] = {ROW(openat), 0, 1, -1},
    [SYS_stat] = {ROW(stat), -1, 0, 1},
    [SYS_lstat] = {ROW(lstat), -1, 0, 1},
    [SYS_fstat] = {ROW(fstat), -1, -1, 1},
    [SYS_newfstatat] = {ROW(fstatat), 0, 1, 2},
    [SYS_statx] = {ROW(statx), 0, 1, 4},
    [SYS_access] = {ROW(access), -1, 0, -1},
    [SYS_faccessat] = {ROW(faccessat), 0, 1, -1},
    [SYS_faccessat2] = {ROW(faccessat), 0, 1, -1},
    [SYS_readlink] = {ROW(readlink), -1, 0, -1},
    [SYS_readlinkat] = {ROW(readlinkat), 0, 1, -1},
    [SYS_getxattr] = {ROW(getxattr), -1, 0, -1},
    [SYS_lgetxattr] = {ROW(lgetxattr), -1, 0, -1},
    [SYS_listxattr] = {ROW(listxattr), -1, 0, -1},
    [SYS_llistxattr] = {ROW(llistxattr), -1, 0, -1},
    [SYS_statfs] = {ROW(statfs), -1, 0, -1},
    [SYS_fstatfs] = {ROW(fstatfs), -1, -1, -1},
    [SYS_getdents64] = {ROW(getdents64), -1, -1, -1},
    [SYS_inotify_add_watch] = {ROW(inotify_add_watch), -1, 1, -1},
    [SYS_name_to_handle_at] = {ROW(name_to_handle_at), 0, 1, -1},
    [SYS_chdir] = {ROW(chdir), -1, -1, -1},
    [SYS_fchdir] = {ROW(fchdir), -1, -1, -1},
    [SYS_getcwd] = {ROW(getcwd), -1, -1, -1},
    [SYS_ioctl] = {ROW(ioctl), -1, -1, -1},
    [SYS_truncate] = {ROW(truncate), -1, 0, -1},
    [SYS_unlink] = {ROW(unlink), -1, 0, -1},
    [SYS_unlinkat] = {ROW(unlinkat), 0, 1, -1},
    [SYS_rmdir] = {ROW(rmdir), -1, 0, -1},
    [SYS_mkdir] = {ROW(mkdir), -1, 0, -1},
    [SYS_mkdirat] = {ROW(mkdirat), 0, 1, -1},
    [SYS_mknod] = {ROW(mknod), -1, 0, -1},
    [SYS_mknodat] = {ROW(mknodat), 0, 1, -1},
    [SYS_symlink] = {ROW(symlink), -1, 1, -1},
    [SYS_symlinkat] = {ROW(symlinkat), 1, 2, -1},
    [SYS_link] = {ROW(link), -1, -1, -1},
    [SYS_linkat] = {ROW(linkat), -1, -1, -1},
    [SYS_rename] = {ROW(rename), -1, -1, -1},
    [SYS_renameat] = {ROW(renameat), -1, -1, -1},
    [SYS_renameat2] = {ROW(renameat2), -1, -1, -1},
    [SYS_chmod] = {ROW(chmod), -1, 0, -1},
    [SYS_fchmodat] = {ROW(fchmodat), 0, 1, -1},
    [SYS_chown] = {ROW(chown), -1, 0, -1},
    [SYS_lchown] = {ROW(lchown), -1, 0, -1},
    [SYS_fchownat] = {ROW(fchownat), 0, 1, -1},
    [SYS_utimensat] = {ROW(utimensat), 0, 1, -1},
    [SYS_setxattr] = {ROW(setxattr), -1, 0, -1},
    [SYS_lsetxattr] = {ROW(lsetxattr), -1, 0, -1},
    [SYS_removexattr] = {ROW(removexattr), -1, 0, -1},
    [SYS_lremovexattr] = {ROW(lremovexattr), -1, 0, -1},
};

/* linux/openat2.h; not there in the headers of an older kernel. */
struct open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};

/* What else `resolve` forbids on the way (links, mounts) the tree has where the host has it. */
static long open_how(struct vgpu_file_call *call, const struct open_how *how) {
    struct open_how place = {O_PATH, 0, how->resolve};
    if (how->resolve != 0 && call->error == 0) {
        long way = vgpu_raw6(SYS_openat2, AT_FDCWD, (long)call->target, (long)&place, sizeof(place), 0, 0);
        if (way < 0 && way != -ENOENT) {
            return vgpu_file_end(call, way);
        }
        if (way >= 0) {
            vgpu_raw3(SYS_close, way, 0, 0);
        }
    }
    return vgpu_serve_open(call, (int)how->flags);
}

static long serve(struct vgpu_file_call *call, long number, long *word) {
    switch (number) {
    case SYS_open:
        return vgpu_serve_open(call, (int)word[1]);
    case SYS_creat:
        return vgpu_serve_open(call, O_CREAT | O_WRONLY | O_TRUNC);
    case SYS_openat:
        return vgpu_serve_open(call, (int)word[2]);
    case SYS_openat2:
        return open_how(call, (const struct open_how *)word[2]);
    case SYS_stat:
        return vgpu_serve_stat(call, 0, (struct stat *)word[1], 0);
    case SYS_lstat:
        return vgpu_serve_stat(call, 0, (struct stat *)word[1], AT_SYMLINK_NOFOLLOW);
    case SYS_newfstatat:
        return vgpu_serve_stat(call, 0, (struct stat *)word[2], (int)word[3]);
    case SYS_statx:
        return vgpu_serve_statx(call, (int)word[2], (unsigned int)word[3], (struct statx *)word[4]);
    case SYS_access:
        return vgpu_serve_access(call, (int)word[1], 0);
    case SYS_faccessat:
    case SYS_faccessat2:
        return vgpu_serve_access(call, (int)word[2], number == SYS_faccessat2 ? (int)word[3] : 0);
    case SYS_readlink:
        return vgpu_serve_readlink(call, (char *)word[1], (size_t)word[2]);
    case SYS_readlinkat:
        return vgpu_serve_readlink(call, (char *)word[2], (size_t)word[3]);
    case SYS_statfs:
        return vgpu_serve_statfs(call, (struct statfs *)word[1]);
    case SYS_inotify_add_watch:
        return vgpu_serve_watch(call, (int)word[0], (uint32_t)word[2]);
    case SYS_name_to_handle_at:
        return vgpu_serve_handle(call, (struct file_handle *)word[2], (int *)word[3], (int)word[4]);
    case SYS_getxattr:
    case SYS_lgetxattr:
        return vgpu_serve_xattr(call, number, (const char *)word[1], (void *)word[2], (size_t)word[3]);
    case SYS_listxattr:
    case SYS_llistxattr:
        return vgpu_serve_xattr_list(call, number, (char *)word[1], (size_t)word[2]);
    case SYS_truncate:
        return vgpu_serve_change(call, VGPU_CHANGE_SIZE);
    case SYS_unlink:
        return vgpu_serve_change(call, VGPU_CHANGE_REMOVE);
    case SYS_unlinkat:
        return vgpu_serve_change(call, VGPU_UNLINK_CHANGE((int)word[2]));
    case SYS_rmdir:
        return vgpu_serve_change(call, VGPU_CHANGE_REMOVE_DIRECTORY);
    case SYS_mkdir:
    case SYS_mkdirat:
    case SYS_symlink:
    case SYS_symlinkat:
        return vgpu_serve_change(call, VGPU_CHANGE_CREATE);
    case SYS_mknod:
        return vgpu_serve_change(call, VGPU_NODE_CHANGE((mode_t)word[1]));
    case SYS_mknodat:
        return vgpu_serve_change(call, VGPU_NODE_CHANGE((mode_t)word[2]));
    case SYS_chmod:
    case SYS_fchmodat:
    case SYS_chown:
    case SYS_lchown:
    case SYS_fchownat:
        return vgpu_serve_change(call, VGPU_CHANGE_MODE);
    case SYS_utimensat:
        return vgpu_serve_change(call, VGPU_TIMES_CHANGE((int)word[3]));
    case SYS_setxattr:
    case SYS_lsetxattr:
    case SYS_removexattr:
    case SYS_lremovexattr:
        return vgpu_serve_change(call, VGPU_CHANGE_ATTRIBUTE);
    default: /* the kernel's own answer about the tree's file is right */
        word[vgpu_numbers[number].path] = (long)call->target;
        return vgpu_file_end(call, call->error != 0
                                       ? -call->error
                                       : vgpu_raw6(number, word[0], word[1], word[2], word[3], word[4], word[5]));
    }
}

/* SYS_getcwd answers the length, and fails where libc's getcwd would make a buffer. */
static __attribute__((noinline)) long place(struct vgpu_process *process, const long *word) {
    if (word[0] == 0 || vgpu_serve_getcwd(process, (char *)word[0], (size_t)word[1]) == NULL) {
        errno = word[0] == 0 ? EFAULT : errno;
        return -1;
    }
    return (long)vgpu_length((char *)word[0]) + 1;
}

static long identify(struct vgpu_process *process, uint64_t caller, long number, const long *word, long answer) {
    const struct vgpu_number *known = &vgpu_numbers[number];
    enum vgpu_file_function function = (enum vgpu_file_function)(known->function - 1);
    if (answer != 0 || known->to < 0) {
        return answer;
    }
    if (number == SYS_statx) {
        return vgpu_identify_statx(process, function, caller, (struct statx *)word[known->to]);
    }
    return vgpu_identify_stat(process, function, caller, (struct stat *)word[known->to]);
}

/* 1: the tree has no say, whatever the path is: flags that confine the way (RESOLVE_BENEATH, IN_ROOT), or a structure
 * that the kernel refuses before it looks at the path. */
static int is_confined(long number, const long *word) {
    enum { RESOLVE_BENEATH_OR_IN_ROOT = 0x08 | 0x10 };
    const struct open_how *how = (const struct open_how *)word[2];
    if (number != SYS_openat2) {
        return 0;
    }
    return vgpu_path_is_no_text((const char *)how) || (unsigned long)word[3] < sizeof(*how) ||
           (how->resolve & RESOLVE_BENEATH_OR_IN_ROOT) != 0 ||
           vgpu_raw6(SYS_openat2, AT_FDCWD, (long)"", word[2], word[3], 0, 0) != -ENOENT;
}

/* The flags of a call that opens; O_NOFOLLOW where it does not. */
static int open_flags(long number, const long *word) {
    return number == SYS_open      ? (int)word[1]
           : number == SYS_openat  ? (int)word[2]
           : number == SYS_openat2 ? (int)((const struct open_how *)word[2])->flags
                                   : O_NOFOLLOW;
}

/* Has the path come to what was answered by a link that may lead into the tree? */
static int is_led(long number, const long *word, int at, const char *path, long answer) {
    int to = vgpu_numbers[number].to;
    if (answer < 0) {
        return VGPU_LINKED_MISSED(answer);
    }
    if (number == SYS_statx) {
        const struct statx *facts = (const struct statx *)word[to];
        return vgpu_linked_odd(0, vgpu_statx_device(facts)) && VGPU_LINKED_STAT(at, path, (int)word[2], facts);
    }
    if (to >= 0) {
        const struct stat *facts = (const struct stat *)word[to];
        int flags = number == SYS_newfstatat ? (int)word[3] : 0;
        return vgpu_linked_odd(0, facts->st_dev) && VGPU_LINKED_STAT(at, path, flags, facts);
    }
    return (open_flags(number, word) & O_NOFOLLOW) == 0 && vgpu_linked_opened(at, path, (int)answer);
}

/* The path is looked up once more: only now is there a need for the stack that its name in the tree takes. */
static __attribute__((noinline)) long of_tree(struct vgpu_process *process, uint64_t caller, long number, long *word) {
    const struct vgpu_number *known = &vgpu_numbers[number];
    struct vgpu_file_call call;
    int at = known->directory >= 0 ? (int)word[known->directory] : AT_FDCWD;
    const char *path = (const char *)word[known->path];
    if (vgpu_file_enter(&call, process, (enum vgpu_file_function)(known->function - 1), at, &path, caller)) {
        return serve(&call, number, word);
    }
    word[known->path] = (long)path;
    return identify(process, caller, number, word,
                    VGPU_REAL(syscall)(number, word[0], word[1], word[2], word[3], word[4], word[5]));
}

/* A link outside of the tree that leads into it: the call is made once more, for what is there. */
static __attribute__((noinline)) long of_link(struct vgpu_process *process, uint64_t caller, long number, long *word,
                                              long answer) {
    const struct vgpu_number *known = &vgpu_numbers[number];
    char there[PATH_MAX];
    int at = known->directory >= 0 ? (int)word[known->directory] : AT_FDCWD;
    if (!vgpu_linked_find(at, (const char *)word[known->path], there)) {
        return answer;
    }
    if (answer >= 0 && known->to < 0) {
        vgpu_raw3(SYS_close, answer, 0, 0);
    }
    word[known->path] = (long)there;
    return of_tree(process, caller, number, word);
}

/* What the kernel says of a descriptor or of the working directory may name the tree. */
static __attribute__((noinline)) long link_text(long number, const long *word, long length) {
    struct vgpu_file_call room;
    const long *rest = word + (number == SYS_readlinkat);
    int at = number == SYS_readlinkat ? (int)word[0] : AT_FDCWD;
    return vgpu_real_link(&room, at, (const char *)rest[0], (char *)rest[1], length, (size_t)rest[2]);
}

/* Two paths, each behind its directory if the call has any. What was known of either may be a link afterwards. */
static long pair(struct vgpu_process *process, uint64_t caller, long number, const long *word) {
    enum vgpu_file_function function = (enum vgpu_file_function)(vgpu_numbers[number].function - 1);
    int plain = number == SYS_link || number == SYS_rename;
    int at = plain ? AT_FDCWD : (int)word[0];
    int second_at = plain ? AT_FDCWD : (int)word[2];
    const char *path = (const char *)word[plain ? 0 : 1];
    const char *second = (const char *)word[plain ? 1 : 3];
    long answer;
    if (!vgpu_file_is_of_tree(function, at, path) && !vgpu_file_is_of_tree(function, second_at, second)) {
        answer = VGPU_REAL(syscall)(number, word[0], word[1], word[2], word[3], word[4], word[5]);
    } else if (number == SYS_link) {
        answer = vgpu_call_link(process, caller, path, second);
    } else if (number == SYS_linkat) {
        answer = vgpu_call_linkat(process, caller, at, path, second_at, second, (int)word[4]);
    } else if (number == SYS_rename) {
        answer = vgpu_call_rename(process, caller, path, second);
    } else if (number == SYS_renameat) {
        answer = vgpu_call_renameat(process, caller, at, path, second_at, second);
    } else {
        answer = vgpu_call_renameat2(process, caller, at, path, second_at, second, (unsigned int)word[4]);
    }
    vgpu_known_forget();
    return answer;
}

long vgpu_serve_syscall(struct vgpu_process *process, uint64_t caller, long number, long a, long b, long c, long d,
                        long e, long f) {
    long word[] = {a, b, c, d, e, f};
    const struct vgpu_number *known = &vgpu_numbers[number];
    enum vgpu_file_function function = (enum vgpu_file_function)(known->function - 1);
    switch (number) {
    case SYS_chdir:
        return vgpu_serve_chdir(process, caller, (const char *)a);
    case SYS_fchdir:
        return vgpu_serve_fchdir(process, (int)a);
    case SYS_ioctl:
        if (_IOC_TYPE((unsigned long)b) == 'F') {
            return vgpu_serve_ioctl(process, caller, (int)a, (unsigned long)b, (void *)c);
        }
        break;
    case SYS_fstatfs:
        return vgpu_serve_fstatfs(process, VGPU_FILE_fstatfs, caller, (int)a, (struct statfs *)b);
    case SYS_getdents64:
        if (vgpu_file_lists_tree()) {
            return vgpu_serve_entries(process, (int)a, (void *)b, VGPU_REAL(syscall)(number, a, b, c, d, e, f));
        }
        break;
    case SYS_getcwd:
        if ((vgpu_filter.near & VGPU_NEAR_TREE) != 0) {
            return place(process, word);
        }
        break;
    case SYS_link:
    case SYS_linkat:
    case SYS_rename:
    case SYS_renameat:
    case SYS_renameat2:
        return pair(process, caller, number, word);
    default:
        break;
    }
    int at = known->directory >= 0 ? (int)word[known->directory] : AT_FDCWD;
    const char *path = known->path >= 0 ? (const char *)word[known->path] : NULL;
    if (path != NULL && vgpu_file_is_of_tree(function, at, path) && !is_confined(number, word)) {
        return of_tree(process, caller, number, word);
    }
    long answer = VGPU_REAL(syscall)(number, a, b, c, d, e, f);
    if (number == SYS_symlink || number == SYS_symlinkat) {
        vgpu_known_forget();
    }
    if (path != NULL && is_led(number, word, at, path, answer) && !is_confined(number, word) &&
        vgpu_linked_find(at, path, NULL)) {
        return of_link(process, caller, number, word, answer);
    }
    if (answer > 0 && (number == SYS_readlink || number == SYS_readlinkat) && vgpu_file_maybe(at, path)) {
        return link_text(number, word, answer);
    }
    return identify(process, caller, number, word, answer);
}
