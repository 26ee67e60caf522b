/* stat, statx, access and the extended attributes of the tree's files. A device of the tree is a regular file, as only
 * root may make others: its type and number are put into the answer here. So is what differs between the file system
 * that the tree lies on and the one that the host has there. */
#include "syscall/files.h"
#include "vgpu/image.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

/* Blocks of procfs (fs/proc/root.c); sysfs and devtmpfs have pages. */
enum { PAGE_BLOCK = 4096, PROC_BLOCK = 1024 };

/* Set in the number of a directory, as the tree's numbers are those of another file system: were one the same as that
 * of a real directory in it, find(1) and fts(3) would take the way there for a loop. Real ones have 32 bits. */
#define DIRECTORY_NUMBER ((uint64_t)1 << 40)

/* linux/stat.h: STATX_BTIME, STATX_MNT_ID, STATX_ATTR_MOUNT_ROOT. */
enum { HAS_BIRTH = 0x800, HAS_MOUNT = 0x1000, MOUNT_ROOT = 0x2000 };

/* The file systems by their marks. */
enum { NONE, SYS, PROC, DEV };
static const char mounts[][sizeof("/proc")] = {"/", "/sys", "/proc", "/dev"};

/* Which file system the mark in a file's st_mtime names; NONE: it is no mark. */
static unsigned int system_of(int64_t nanoseconds) {
    return vgpu_mark_is(nanoseconds) ? (unsigned int)nanoseconds / VGPU_MARK_SYS % 4 : NONE;
}

/* A file system of the host, as the machine has it mounted: its root. A container may have none there; then its device
 * number is one that the kernel, which counts from 1 upwards (get_anon_bdev), has not given out. */
static void find_mount(unsigned int system, struct stat *top) {
    enum { LAST_MINOR = 0xfffff };
    struct stat root;
    if (vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)mounts[system], (long)top, 0, 0, 0) != 0 ||
        vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)mounts[NONE], (long)&root, 0, 0, 0) != 0 ||
        top->st_dev == root.st_dev) {
        top->st_dev = makedev(0, LAST_MINOR - system);
        top->st_ino = 1;
    }
}

/* The number of a directory that has this one on the tree's file system. */
static uint64_t directory_number(uint64_t own, int64_t nanoseconds, const struct stat *top) {
    return (nanoseconds & VGPU_MARK_MOUNT) != 0 ? top->st_ino : own | DIRECTORY_NUMBER;
}

static mode_t directory_mode(int64_t nanoseconds) {
    return S_IFDIR | ((nanoseconds & VGPU_MARK_READ_ONLY) != 0 ? 0555 : 0755);
}

static uint64_t file_size(int64_t nanoseconds) {
    unsigned int bit = (unsigned int)nanoseconds & 0x3f;
    return bit != 0 ? (uint64_t)1 << (bit - 1) : 0;
}

static void put_system(unsigned int system, const struct stat *top, struct stat *to) {
    to->st_dev = top->st_dev;
    to->st_uid = 0;
    to->st_gid = 0;
    to->st_blksize = system == PROC ? PROC_BLOCK : PAGE_BLOCK;
    to->st_blocks = 0;
    to->st_mtim.tv_nsec = 0;
    to->st_atim = to->st_mtim;
    to->st_ctim = to->st_mtim;
}

void vgpu_mark_stat(struct stat *to) {
    struct stat top;
    int64_t mark = to->st_mtim.tv_nsec;
    unsigned int system = system_of(mark);
    if (system == NONE) {
        return;
    }
    find_mount(system, &top);
    put_system(system, &top, to);
    if (S_ISDIR(to->st_mode)) {
        to->st_mode = directory_mode(mark);
        to->st_ino = directory_number(to->st_ino, mark, &top);
        to->st_size = system == DEV ? to->st_size : 0; /* devtmpfs is a tmpfs, and so should the tree's be */
        if ((mark & VGPU_MARK_COUNT) != 0) {
            to->st_nlink = (nlink_t)(mark & VGPU_MARK_COUNT);
        }
    } else {
        to->st_nlink = 1; /* trees share their links */
        to->st_size = (off_t)file_size(mark);
    }
}

static void put_system_x(unsigned int system, const struct stat *top, struct statx *to) {
    struct statx mount;
    to->stx_dev_major = major(top->st_dev);
    to->stx_dev_minor = minor(top->st_dev);
    to->stx_uid = 0;
    to->stx_gid = 0;
    to->stx_blksize = system == PROC ? PROC_BLOCK : PAGE_BLOCK;
    to->stx_blocks = 0;
    to->stx_attributes = 0;
    if (vgpu_raw6(SYS_statx, AT_FDCWD, (long)mounts[system], 0, HAS_MOUNT, (long)&mount, 0) == 0) {
        to->stx_attributes_mask = mount.stx_attributes_mask;
        to->stx_mnt_id = mount.stx_mnt_id;
        to->stx_mask = (to->stx_mask & ~(uint32_t)HAS_MOUNT) | (mount.stx_mask & HAS_MOUNT);
    }
    to->stx_mtime.tv_nsec = 0;
    to->stx_atime = to->stx_mtime;
    to->stx_ctime = to->stx_mtime;
    to->stx_btime = to->stx_mtime;
    if (system != DEV) {
        to->stx_btime = (struct statx_timestamp){0};
        to->stx_mask &= ~(uint32_t)HAS_BIRTH; /* neither sysfs nor procfs knows it */
    }
}

void vgpu_mark_statx(struct statx *to) {
    struct stat top;
    int64_t mark = to->stx_mtime.tv_nsec;
    unsigned int system = system_of(mark);
    if (system == NONE) {
        return;
    }
    find_mount(system, &top);
    put_system_x(system, &top, to);
    if (S_ISDIR(to->stx_mode)) {
        to->stx_mode = (uint16_t)directory_mode(mark);
        to->stx_ino = directory_number(to->stx_ino, mark, &top);
        to->stx_attributes = (mark & VGPU_MARK_MOUNT) != 0 ? MOUNT_ROOT & to->stx_attributes_mask : 0;
        to->stx_size = system == DEV ? to->stx_size : 0;
        if ((mark & VGPU_MARK_COUNT) != 0) {
            to->stx_nlink = (uint32_t)(mark & VGPU_MARK_COUNT);
        }
    } else {
        to->stx_nlink = 1;
        to->stx_size = file_size(mark);
    }
}

void vgpu_device_stat(const struct vgpu_path *entry, struct stat *to) {
    struct stat top;
    find_mount(DEV, &top);
    put_system(DEV, &top, to);
    to->st_mode = S_IFCHR | (to->st_mode & 0777);
    to->st_rdev = entry->rdev;
    to->st_nlink = 1;
    to->st_size = 0;
}

void vgpu_device_statx(const struct vgpu_path *entry, struct statx *to) {
    struct stat top;
    find_mount(DEV, &top);
    put_system_x(DEV, &top, to);
    to->stx_mode = S_IFCHR | (to->stx_mode & 0777);
    to->stx_rdev_major = major(entry->rdev);
    to->stx_rdev_minor = minor(entry->rdev);
    to->stx_nlink = 1;
    to->stx_size = 0;
}

/* glibc's _STAT_VER: 0 is the kernel's struct stat and 1 is Linux's; on x86-64 both are struct stat. */
static int known_version(int version) {
    return version == 0 || version == 1;
}

/* A link that no mark is on stands in a merged directory for an entry of the machine's own: that one is meant. The call
 * of the kernel is the same but for the path. 0 or -errno; 1: it is no such link. */
static long machine_entry(struct vgpu_file_call *call) {
    long got = vgpu_raw6(SYS_readlinkat, AT_FDCWD, (long)call->target, (long)call->target, PATH_MAX - 1, 0, 0);
    if (got <= 0 || call->target[0] != '/') {
        return got < 0 ? got : 1;
    }
    call->target[got] = '\0';
    return 0;
}

static long look(struct vgpu_file_call *call, struct stat *to, int flags) {
    long answer = vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)call->target, (long)to, flags, 0, 0);
    if (answer != 0 || to->st_dev != vgpu_path_tree_dev(call->process->image)) {
        return answer;
    }
    if (call->entry->device && S_ISREG(to->st_mode)) {
        vgpu_device_stat(call->entry, to);
    } else if (S_ISLNK(to->st_mode) && system_of(to->st_mtim.tv_nsec) == NONE && machine_entry(call) == 0) {
        return vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)call->target, (long)to, flags, 0, 0);
    } else {
        vgpu_mark_stat(to);
    }
    return 0;
}

int vgpu_serve_stat(struct vgpu_file_call *call, int version, struct stat *to, int flags) {
    long answer = -call->error;
    if (answer == 0) {
        answer = known_version(version) ? look(call, to, flags) : -EINVAL;
    }
    return (int)vgpu_file_end(call, answer);
}

static long look_x(struct vgpu_file_call *call, struct statx *to, int flags, unsigned int mask) {
    long answer = vgpu_raw6(SYS_statx, AT_FDCWD, (long)call->target, flags, mask, (long)to, 0);
    if (answer != 0 || makedev(to->stx_dev_major, to->stx_dev_minor) != vgpu_path_tree_dev(call->process->image)) {
        return answer;
    }
    if (call->entry->device && S_ISREG(to->stx_mode)) {
        vgpu_device_statx(call->entry, to);
    } else if (S_ISLNK(to->stx_mode) && system_of(to->stx_mtime.tv_nsec) == NONE && machine_entry(call) == 0) {
        return vgpu_raw6(SYS_statx, AT_FDCWD, (long)call->target, flags, mask, (long)to, 0);
    } else {
        vgpu_mark_statx(to);
    }
    return 0;
}

int vgpu_serve_statx(struct vgpu_file_call *call, int flags, unsigned int mask, struct statx *to) {
    return (int)vgpu_file_end(call, call->error != 0 ? -call->error : look_x(call, to, flags, mask));
}

/* Whom to ask for an extended attribute: procfs has none (EOPNOTSUPP), where the tree's file system just has no such
 * one (ENODATA), as sysfs and devtmpfs. */
static long attributes_of(const struct vgpu_file_call *call, long number, long to, long size, long more) {
    long answer = vgpu_raw6(number, (long)call->target, to, size, more, 0, 0);
    const char *path = vgpu_image_text(call->process->image, call->entry->path);
    if ((answer >= 0 || answer == -ENODATA) && __builtin_strncmp(path, "/proc/", 6) == 0) {
        return vgpu_raw6(number, (long)mounts[PROC], to, size, more, 0, 0);
    }
    return answer;
}

ssize_t vgpu_serve_xattr(struct vgpu_file_call *call, long number, const char *name, void *to, size_t size) {
    return vgpu_file_end(call, call->error != 0 ? -call->error
                                                : attributes_of(call, number, (long)name, (long)to, (long)size));
}

ssize_t vgpu_serve_xattr_list(struct vgpu_file_call *call, long number, char *to, size_t size) {
    return vgpu_file_end(call, call->error != 0 ? -call->error : attributes_of(call, number, (long)to, (long)size, 0));
}

/* Supplementary groups are not asked for: a file that root's group may write to is none that a program looks for. */
int vgpu_permits(mode_t of, int mode, int effective) {
    if (vgpu_raw3(effective ? SYS_geteuid : SYS_getuid, 0, 0, 0) == 0) {
        return (mode & X_OK) == 0 || (of & 0111) != 0;
    }
    mode_t bits = vgpu_raw3(effective ? SYS_getegid : SYS_getgid, 0, 0, 0) == 0 ? of >> 3 : of;
    return ((int)bits & mode) == mode;
}

static long ask(const char *target, int mode, int flags) {
    long answer = -ENOSYS;
    if (flags != 0) {
        answer = vgpu_raw6(SYS_faccessat2, AT_FDCWD, (long)target, mode, flags, 0, 0);
    }
    /* Kernels before 5.8 have no flags; the tree's modes are the same for real and effective users. */
    return answer == -ENOSYS ? vgpu_raw3(SYS_faccessat, AT_FDCWD, (long)target, mode) : answer;
}

/* The kernel says whether the file is there and the question well-formed; what the file's mode says is for root's. */
static long access_tree(struct vgpu_file_call *call, int mode, int flags) {
    const int all = R_OK | W_OK | X_OK;
    struct stat facts;
    long answer = ask(call->target, mode & ~all, flags);
    if (answer == 0 && (mode & all) != 0) {
        answer = look(call, &facts, flags & AT_SYMLINK_NOFOLLOW);
    }
    if (answer != 0 || (mode & all) == 0 || S_ISLNK(facts.st_mode)) {
        return answer;
    }
    return vgpu_permits(facts.st_mode, mode & all, (flags & AT_EACCESS) != 0) ? 0 : -EACCES;
}

/* Files of sysfs and procfs are read-only on the simulated host, for root too: what access allows, open does. */
int vgpu_serve_access(struct vgpu_file_call *call, int mode, int flags) {
    long answer = call->error != 0 ? -call->error : access_tree(call, mode, flags);
    if (answer == 0 && (mode & W_OK) != 0 && !call->entry->device) {
        answer = -EACCES;
    }
    return (int)vgpu_file_end(call, answer);
}
