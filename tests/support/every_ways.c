/* The ways of every.c, which includes what they need. */
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>

enum { ROOM = 1 << 18, FILES_IN_DIRECTORY = 4096 };

/* Of glibc before 2.33, which programs of that time still call. */
int __xstat(int version, const char *name, struct stat *to);
int __lxstat(int version, const char *name, struct stat *to);
int __fxstat(int version, int fd, struct stat *to);
int __fxstatat(int version, int directory, const char *name, struct stat *to, int flags);
ssize_t __readlink_chk(const char *name, char *to, size_t size, size_t room);
char *__realpath_chk(const char *name, char *to, size_t room);
int __open_2(const char *name, int flags);
int __open64_2(const char *name, int flags);

/* linux/openat2.h */
struct how {
    uint64_t flags, mode, resolve;
};

static struct stat found;
static struct statx wide;
static char text[ROOM];

static uint64_t hash_of(const char *bytes, size_t length) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* ------------------------------------------------------------------------------------------------------- stat -- */

static void facts(const char *way, int answer) {
    if (answer != 0) {
        tell(way, "errno=%d", answer == -1 ? errno : answer);
        return;
    }
    tell(way,
         "mode=%o rdev=%u:%u dev=%u:%u ino=%lu nlink=%lu uid=%u gid=%u size=%ld blksize=%ld blocks=%ld atime=%ld.%09ld "
         "mtime=%ld.%09ld ctime=%ld.%09ld",
         found.st_mode, major(found.st_rdev), minor(found.st_rdev), major(found.st_dev), minor(found.st_dev),
         found.st_ino, found.st_nlink, found.st_uid, found.st_gid, found.st_size, found.st_blksize, found.st_blocks,
         found.st_atim.tv_sec, found.st_atim.tv_nsec, found.st_mtim.tv_sec, found.st_mtim.tv_nsec, found.st_ctim.tv_sec,
         found.st_ctim.tv_nsec);
}

static struct timespec time_of(struct statx_timestamp from) {
    return (struct timespec){from.tv_sec, from.tv_nsec};
}

static void wide_facts(const char *way, const char *extra, int answer) {
    if (answer == 0) {
        found = (struct stat){
            .st_mode = wide.stx_mode,
            .st_rdev = makedev(wide.stx_rdev_major, wide.stx_rdev_minor),
            .st_dev = makedev(wide.stx_dev_major, wide.stx_dev_minor),
            .st_ino = wide.stx_ino,
            .st_nlink = wide.stx_nlink,
            .st_uid = wide.stx_uid,
            .st_gid = wide.stx_gid,
            .st_size = (off_t)wide.stx_size,
            .st_blksize = wide.stx_blksize,
            .st_blocks = (blkcnt_t)wide.stx_blocks,
            .st_atim = time_of(wide.stx_atime),
            .st_mtim = time_of(wide.stx_mtime),
            .st_ctim = time_of(wide.stx_ctime),
        };
        tell(extra, "mask=%x attributes=%llx/%llx mount=%llu", wide.stx_mask, (unsigned long long)wide.stx_attributes,
             (unsigned long long)wide.stx_attributes_mask, (unsigned long long)wide.stx_mnt_id);
    }
    facts(way, answer);
}

static int visited(const char *name, const struct stat *of, int kind, struct FTW *where) {
    (void)where;
    (void)kind;
    if (strcmp(name, path) == 0) {
        found = *of;
    }
    return 1;
}

static int visited_old(const char *name, const struct stat *of, int kind) {
    return visited(name, of, kind, NULL);
}

static void by_fts(const char *way, int options) {
    FTS *walk = fts_open((char *[]){(char *)path, NULL}, options | FTS_NOCHDIR, NULL);
    FTSENT *entry = walk != NULL ? fts_read(walk) : NULL;
    if (entry != NULL && entry->fts_info != FTS_NS) {
        found = *entry->fts_statp;
        facts(way, 0);
    } else {
        facts(way, entry != NULL ? entry->fts_errno : errno);
    }
    if (walk != NULL) {
        fts_close(walk);
    }
}

static void by_descriptors(int directory, const char *name) {
    int fd = open(path, O_PATH);
    facts("stat: fstat of O_PATH", fstat(fd, &found));
    facts("stat: fstatat of an empty path", fstatat(fd, "", &found, AT_EMPTY_PATH));
    facts("stat: __fxstat", __fxstat(1, fd, &found));
    facts("stat: syscall fstat", (int)syscall(SYS_fstat, fd, &found));
    wide_facts("stat: statx of an empty path", "statx: of an empty path",
               statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &wide));
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    facts("stat: stat of /proc/self/fd", stat(link, &found));
    close(fd);
    fd = open(path, O_PATH | O_NOFOLLOW);
    facts("lstat: fstat of O_PATH O_NOFOLLOW", fstat(fd, &found));
    close(fd);
    fd = openat(directory, name, O_PATH);
    facts("stat: fstat after openat", fstat(fd, &found));
    close(fd);
    facts("stat: fstatat from its directory", fstatat(directory, name, &found, 0));
    facts("lstat: fstatat from its directory", fstatat(directory, name, &found, AT_SYMLINK_NOFOLLOW));
    wide_facts("stat: statx from its directory", "statx: from its directory",
               statx(directory, name, 0, STATX_ALL, &wide));
}

static void stats(int directory, const char *name) {
    facts("stat: stat", stat(path, &found));
    facts("stat: stat64", stat64(path, (struct stat64 *)&found));
    facts("stat: fstatat", fstatat(AT_FDCWD, path, &found, 0));
    facts("stat: __xstat", __xstat(1, path, &found));
    facts("stat: __fxstatat", __fxstatat(1, AT_FDCWD, path, &found, 0));
    facts("stat: syscall stat", (int)syscall(SYS_stat, path, &found));
    facts("stat: syscall newfstatat", (int)syscall(SYS_newfstatat, AT_FDCWD, path, &found, 0));
    wide_facts("stat: statx", "statx: of the path", statx(AT_FDCWD, path, 0, STATX_ALL, &wide));
    wide_facts("stat: syscall statx", "statx: by syscall",
               (int)syscall(SYS_statx, AT_FDCWD, path, 0, STATX_ALL, &wide));
    facts("lstat: lstat", lstat(path, &found));
    facts("lstat: lstat64", lstat64(path, (struct stat64 *)&found));
    facts("lstat: __lxstat", __lxstat(1, path, &found));
    facts("lstat: fstatat", fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW));
    facts("lstat: syscall lstat", (int)syscall(SYS_lstat, path, &found));
    wide_facts("lstat: statx", "lstatx: of the path", statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_ALL, &wide));
    facts("stat: ftw", ftw(path, visited_old, 4) == 1 ? 0 : -1);
    facts("lstat: nftw", nftw(path, visited, 4, FTW_PHYS) == 1 ? 0 : -1);
    by_fts("lstat: fts", FTS_PHYSICAL);
    by_fts("stat: fts", FTS_LOGICAL);
    by_descriptors(directory, name);
}

/* ------------------------------------------------------------------------------------------------------ bytes -- */

static void bytes(const char *way, ssize_t length) {
    if (length < 0) {
        tell(way, "errno=%d", errno);
    } else {
        tell(way, "%zd bytes %016lx", length, hash_of(text, (size_t)length));
    }
}

static ssize_t read_all(int fd, ssize_t step) {
    ssize_t length = 0;
    while (fd >= 0) {
        ssize_t got = read(fd, text + length, (size_t)(step != 0 ? step : ROOM - length));
        if (got <= 0) {
            return got < 0 ? -1 : length;
        }
        length += got;
    }
    return -1;
}

static void by_stream(const char *way, FILE *stream) {
    size_t length = 0;
    if (stream == NULL) {
        tell(way, "errno=%d", errno);
        return;
    }
    while (fgets(text + length, (int)(ROOM - length), stream) != NULL) {
        /* fgets does not say how much it has read: `config` has bytes of 0. */
        length = (size_t)ftell(stream);
    }
    int failed = ferror(stream);
    rewind(stream);
    length = fread(text, 1, ROOM, stream);
    if (failed) {
        tell(way, "errno=%d", errno);
    } else {
        bytes(way, (ssize_t)length);
    }
    fclose(stream);
}

static void by_memory(int fd, ssize_t length) {
    void *memory = length > 0 ? mmap(NULL, (size_t)length, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    if (memory != MAP_FAILED) {
        memcpy(text, memory, (size_t)length);
        bytes("bytes: mmap", length);
        munmap(memory, (size_t)length);
    }
}

static void by_sendfile(int fd) {
    int to = memfd_create("every", MFD_CLOEXEC);
    if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) {
        ssize_t sent = sendfile(to, fd, &(off_t){0}, ROOM);
        bytes("bytes: sendfile", sent < 0 ? -1 : pread(to, text, ROOM, 0));
    }
    close(to);
}

static void contents(int directory, const char *name) {
    struct how how = {.flags = O_RDONLY};
    int fd = open(path, O_RDONLY);
    ssize_t length = read_all(fd, 0);
    bytes("bytes: open", length);
    if (fd >= 0) {
        facts("stat: fstat", fstat(fd, &found));
        facts("stat: fstat64", fstat64(fd, (struct stat64 *)&found));
        bytes("bytes: pread", pread(fd, text, ROOM, 0));
        bytes("bytes: readv", lseek(fd, 0, SEEK_SET) == 0 ? readv(fd, &(struct iovec){text, ROOM}, 1) : -1);
        bytes("bytes: some bytes at a time", lseek(fd, 0, SEEK_SET) == 0 ? read_all(fd, 1 + length / 50) : -1);
        by_memory(fd, length);
        by_sendfile(fd);
        char link[64];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        int again = open(link, O_RDONLY);
        bytes("bytes: open of /proc/self/fd", read_all(again, 0));
        close(again);
        close(fd);
    }
    const char *ways[] = {"bytes: __open_2",     "bytes: __open64_2",     "bytes: openat from its directory",
                          "bytes: syscall open", "bytes: syscall openat", "bytes: syscall openat2",
                          "bytes: open64"};
    for (int i = 0; i < 7; i++) {
        fd = i == 0   ? __open_2(path, O_RDONLY)
             : i == 1 ? __open64_2(path, O_RDONLY)
             : i == 2 ? openat(directory, name, O_RDONLY)
             : i == 3 ? (int)syscall(SYS_open, path, O_RDONLY)
             : i == 4 ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY)
             : i == 5 ? (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how))
                      : open64(path, O_RDONLY);
        bytes(ways[i], read_all(fd, 0));
        if (fd >= 0) {
            close(fd);
        }
    }
    by_stream("bytes: fopen", fopen(path, "r"));
    by_stream("bytes: fopen64", fopen64(path, "rb"));
    by_stream("bytes: freopen", freopen(path, "r", fopen("/dev/null", "r")));
}

/* Every attempt to change it: refused, each time for the reason that is told. */
static void changes(int directory, const char *name) {
    struct how how = {.flags = O_WRONLY};
    FILE *stream;
    const char *ways[] = {"write: open",           "write: open64",          "write: openat from its directory",
                          "write: syscall openat", "write: syscall openat2", "write: open, append",
                          "write: __open_2"};
    for (int i = 0; i < 7; i++) {
        int fd = i == 0   ? open(path, O_WRONLY)
                 : i == 1 ? open64(path, O_WRONLY)
                 : i == 2 ? openat(directory, name, O_WRONLY)
                 : i == 3 ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY)
                 : i == 4 ? (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how))
                 : i == 5 ? open(path, O_WRONLY | O_APPEND)
                          : __open_2(path, O_RDWR);
        tell(ways[i], "errno=%d", fd < 0 ? errno : 0);
        if (fd >= 0) {
            close(fd);
        }
    }
    const char *modes[] = {"r+", "a"};
    for (int i = 0; i < 2; i++) {
        stream = fopen(path, modes[i]);
        tell(i == 0 ? "write: fopen r+" : "write: fopen a", "errno=%d", stream == NULL ? errno : 0);
        if (stream != NULL) {
            fclose(stream);
        }
    }
    tell("mode: chmod", "errno=%d", chmod(path, 0777) != 0 ? errno : 0);
    tell("mode: fchmodat from its directory", "errno=%d", fchmodat(directory, name, 0777, 0) != 0 ? errno : 0);
    tell("mode: syscall chmod", "errno=%d", syscall(SYS_chmod, path, 0777) != 0 ? errno : 0);
    tell("mode: chown", "errno=%d", chown(path, 1, 1) != 0 ? errno : 0);
}

/* ------------------------------------------------------------------------------------------------------ names -- */

static void link_text(const char *way, ssize_t length) {
    tell(way, length < 0 ? "errno=%d" : "", errno);
    if (length >= 0) {
        out_used--;
        memcpy(out + out_used, text, (size_t)length);
        out_used += (size_t)length;
        out[out_used++] = '\n';
    }
}

static void whole_path(const char *way, const char *answer) {
    tell(way, "%s", answer != NULL ? answer : strerror(errno));
}

static void names(int directory, const char *name) {
    link_text("link: readlink", readlink(path, text, ROOM));
    link_text("link: __readlink_chk", __readlink_chk(path, text, ROOM, ROOM));
    link_text("link: readlinkat from its directory", readlinkat(directory, name, text, ROOM));
    link_text("link: syscall readlink", syscall(SYS_readlink, path, text, ROOM));
    link_text("link: syscall readlinkat", syscall(SYS_readlinkat, AT_FDCWD, path, text, ROOM));
    whole_path("path: realpath", realpath(path, text));
    whole_path("path: __realpath_chk", __realpath_chk(path, text, ROOM));
    char *made = realpath(path, NULL);
    whole_path("path: realpath to malloc's memory", made);
    free(made);
    made = canonicalize_file_name(path);
    whole_path("path: canonicalize_file_name", made);
    free(made);
}

static int refused(int way, int directory, const char *name, int mode) {
    switch (way) {
    case 0:
        return access(path, mode);
    case 1:
        return faccessat(AT_FDCWD, path, mode, 0);
    case 2:
        return faccessat(AT_FDCWD, path, mode, AT_EACCESS);
    case 3:
        return faccessat(directory, name, mode, 0);
    case 4:
        return eaccess(path, mode);
    case 5:
        return euidaccess(path, mode);
    case 6:
        return (int)syscall(SYS_access, path, mode);
    case 7:
        return (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
    default:
        return (int)syscall(SYS_faccessat2, AT_FDCWD, path, mode, AT_EACCESS);
    }
}

static void accesses(int directory, const char *name) {
    const char *ways[] = {"access: access",
                          "access: faccessat",
                          "access: faccessat, effective",
                          "access: faccessat from its directory",
                          "access: eaccess",
                          "access: euidaccess",
                          "access: syscall access",
                          "access: syscall faccessat",
                          "access: syscall faccessat2"};
    const int modes[] = {F_OK, R_OK, W_OK, X_OK, R_OK | W_OK, R_OK | X_OK};
    for (int i = 0; i < 9; i++) {
        int codes[6];
        for (int m = 0; m < 6; m++) {
            codes[m] = refused(i, directory, name, modes[m]) == 0 ? 0 : errno;
        }
        tell(ways[i], "F=%d R=%d W=%d X=%d RW=%d RX=%d", codes[0], codes[1], codes[2], codes[3], codes[4], codes[5]);
    }
}

static void attributes(void) {
    int fd = open(path, O_RDONLY);
    const char *name = "security.selinux";
    tell("xattr: getxattr", "%d", getxattr(path, name, text, ROOM) < 0 ? errno : 0);
    tell("xattr: syscall getxattr", "%d", syscall(SYS_getxattr, path, name, text, ROOM) < 0 ? errno : 0);
    tell("xattrs: listxattr", "%zd", listxattr(path, text, ROOM));
    tell("xattrs: syscall listxattr", "%ld", syscall(SYS_listxattr, path, text, ROOM));
    if (fd >= 0) {
        tell("xattr: fgetxattr", "%d", fgetxattr(fd, name, text, ROOM) < 0 ? errno : 0);
        tell("xattrs: flistxattr", "%zd", flistxattr(fd, text, ROOM));
        close(fd);
    }
}

/* ------------------------------------------------------------------------------------------------ file systems -- */

static struct statfs system_facts;

static void file_system(const char *way, long answer) {
    if (answer != 0) {
        tell(way, "errno=%d", errno);
        return;
    }
    tell(way, "type=%lx bsize=%ld frsize=%ld namelen=%ld flags=%lx fsid=%x:%x", (long)system_facts.f_type,
         (long)system_facts.f_bsize, (long)system_facts.f_frsize, (long)system_facts.f_namelen,
         (long)system_facts.f_flags, (unsigned int)system_facts.f_fsid.__val[0],
         (unsigned int)system_facts.f_fsid.__val[1]);
}

static void as_volume(const char *way, const struct statvfs *volume, int answer) {
    tell(way, answer == 0 ? "bsize=%lu frsize=%lu namemax=%lu flag=%lx fsid=%lx" : "failed", volume->f_bsize,
         volume->f_frsize, volume->f_namemax, volume->f_flag, volume->f_fsid);
}

static void file_systems(void) {
    struct statvfs volume = {0};
    int fd = open(path, O_RDONLY);
    file_system("statfs: statfs", statfs(path, &system_facts));
    file_system("statfs: statfs64", statfs64(path, (struct statfs64 *)&system_facts));
    file_system("statfs: syscall statfs", syscall(SYS_statfs, path, &system_facts));
    as_volume("statvfs: statvfs", &volume, statvfs(path, &volume));
    if (fd >= 0) {
        file_system("statfs: fstatfs", fstatfs(fd, &system_facts));
        file_system("statfs: syscall fstatfs", syscall(SYS_fstatfs, fd, &system_facts));
        as_volume("statvfs: fstatvfs", &volume, fstatvfs(fd, &volume));
        close(fd);
    }
}
