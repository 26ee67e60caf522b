#include "exec/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vgpu/raw.h"

enum {
    HEAD_SIZE = 256,  /* BINPRM_BUF_SIZE: what the kernel reads of a script's first line */
    SCRIPTS_MAX = 5,  /* fs/exec.c, exec_binprm: a script of a script of ..., then ELOOP */
    NUMBER_SIZE = 32, /* of "/proc/self/fd/" and a number */
};

static void descriptor_path(char path[NUMBER_SIZE], int fd) {
    char digits[12];
    size_t n = 0;
    vgpu_copy_text(path, NUMBER_SIZE, "/proc/self/fd/");
    do {
        digits[n++] = (char)('0' + fd % 10);
        fd /= 10;
    } while (fd > 0);
    size_t at = vgpu_length(path);
    while (n > 0) {
        path[at++] = digits[--n];
    }
    path[at] = '\0';
}

void vgpu_program_path(int fd, const char *below, char *buffer, size_t size) {
    char path[NUMBER_SIZE];
    long got = -1;
    if (fd >= 0) {
        descriptor_path(path, fd);
        got = vgpu_raw3(SYS_readlink, (long)path, (long)buffer, (long)size - 2);
    }
    size_t at = got > 0 ? (size_t)got : 0;
    if (at != 0 && below[0] != '\0') {
        buffer[at++] = '/';
    }
    vgpu_copy_text(buffer + at, size - at, below);
}

int vgpu_program_is_text(const char *path) {
    return vgpu_raw3(SYS_access, (long)path, F_OK, 0) != -EFAULT;
}

/* Opens a regular file for reading, and nothing else: to open a device or a pipe may have effects. Answers -errno. */
static long open_program(int directory, const char *path, int flags) {
    struct stat facts;
    char by_number[NUMBER_SIZE];
    int known = flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
    long error = vgpu_raw6(SYS_newfstatat, directory, (long)path, (long)&facts, known, 0, 0);
    if (error < 0 || !S_ISREG(facts.st_mode)) {
        return error < 0 ? error : -EACCES;
    }
    if (path[0] == '\0') {
        /* Anew, as it may have been opened with O_PATH. */
        descriptor_path(by_number, directory);
        path = by_number;
    }
    return vgpu_raw6(SYS_openat, directory, (long)path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0, 0, 0);
}

/* The kernel takes set-user-ID bits and capabilities from the file that it loads last: those of a script mean nothing.
 */
static int is_secure(int fd) {
    struct stat facts;
    if (vgpu_raw3(SYS_fstat, fd, (long)&facts, 0) != 0) {
        return 0;
    }
    return (facts.st_mode & S_ISUID) != 0 || (facts.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) ||
           vgpu_raw6(SYS_fgetxattr, fd, (long)"security.capability", 0, 0, 0, 0) > 0;
}

/* Is it the dynamic linker that this process has? As a program, it has none of its own, and still preloads. */
static int is_dynamic_linker(int fd) {
    struct stat facts;
    struct stat linker;
    const struct link_map *map = _r_debug.r_map;
    while (map != NULL && map->l_addr != _r_debug.r_ldbase) {
        map = map->l_next;
    }
    return map != NULL && vgpu_raw3(SYS_fstat, fd, (long)&facts, 0) == 0 &&
           vgpu_raw3(SYS_stat, (long)map->l_name, (long)&linker, 0) == 0 && facts.st_dev == linker.st_dev &&
           facts.st_ino == linker.st_ino;
}

static enum vgpu_program look_at_elf(int fd, const char *head, size_t size) {
    const Elf64_Ehdr *elf = (const Elf64_Ehdr *)head;
    if (size < sizeof(*elf) || elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_ident[EI_DATA] != ELFDATA2LSB ||
        elf->e_machine != EM_X86_64) {
        return VGPU_PROGRAM_FOREIGN;
    }
    for (unsigned int i = 0; i < elf->e_phnum; i++) {
        Elf64_Phdr segment;
        long at = (long)(elf->e_phoff + i * sizeof(segment));
        if (vgpu_raw6(SYS_pread64, fd, (long)&segment, sizeof(segment), at, 0, 0) != sizeof(segment)) {
            break;
        }
        if (segment.p_type == PT_INTERP) {
            return is_secure(fd) ? VGPU_PROGRAM_SECURE : VGPU_PROGRAM_SERVED;
        }
    }
    return is_dynamic_linker(fd) ? VGPU_PROGRAM_SERVED : VGPU_PROGRAM_STATIC;
}

static int is_space(char byte) {
    return byte == ' ' || byte == '\t';
}

/* Cuts `head`, which starts with "#!", to the interpreter's path. NULL: the kernel takes it for no script (fs/binfmt_
 * script.c: there is no path, or one that does not end within the head). */
static const char *interpreter(char head[HEAD_SIZE + 1]) {
    char *name = head + 2;
    while (is_space(*name)) {
        name++;
    }
    char *end = name;
    while (*end != '\0' && *end != '\n' && !is_space(*end)) {
        end++;
    }
    if (end == name || end == head + HEAD_SIZE) {
        return NULL;
    }
    *end = '\0';
    return name;
}

enum vgpu_program vgpu_program_look(int directory, const char *path, int flags) {
    _Alignas(Elf64_Ehdr) char head[HEAD_SIZE + 1];
    for (int depth = 0; path != NULL && depth <= SCRIPTS_MAX; depth++) {
        long fd = open_program(directory, path, flags);
        if (fd < 0) {
            /* With no descriptor free nothing is known; variables too many do less harm than variables too few. */
            return fd == -EMFILE || fd == -ENFILE ? VGPU_PROGRAM_SERVED : VGPU_PROGRAM_UNKNOWN;
        }
        for (size_t i = 0; i <= HEAD_SIZE; i++) {
            head[i] = '\0';
        }
        enum vgpu_program program = VGPU_PROGRAM_SERVED;
        long got = vgpu_raw6(SYS_pread64, fd, (long)head, HEAD_SIZE, 0, 0, 0);
        path = NULL;
        if (got < 0) {
            program = VGPU_PROGRAM_UNKNOWN;
        } else if (head[0] == '#' && head[1] == '!') {
            path = interpreter(head);
        } else if (head[0] == ELFMAG0 && head[1] == ELFMAG1 && head[2] == ELFMAG2 && head[3] == ELFMAG3) {
            program = look_at_elf((int)fd, head, (size_t)got);
        }
        vgpu_raw3(SYS_close, fd, 0, 0);
        if (path == NULL) {
            /* A file without a format is for /bin/sh (execvp, and shells themselves) or for a native interpreter. */
            return program;
        }
        directory = AT_FDCWD;
        flags = 0;
    }
    return VGPU_PROGRAM_UNKNOWN;
}
