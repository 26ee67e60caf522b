/* What kind of program a file is: whether preloaded libraries can be in it at all. */
#ifndef VGPU_EXEC_PROGRAM_H
#define VGPU_EXEC_PROGRAM_H

#include <stddef.h>

/* in[1] of a record. All but the first go to the real function with the environment that the caller gave. */
enum vgpu_program {
    VGPU_PROGRAM_SERVED = 0,
    VGPU_PROGRAM_SECURE = 1,  /* set-user-ID, set-group-ID or capabilities: ld.so takes the variables out of it */
    VGPU_PROGRAM_STATIC = 2,  /* no dynamic linker runs in it */
    VGPU_PROGRAM_FOREIGN = 3, /* of another class or machine than the shims: ld.so would complain of each of them */
    VGPU_PROGRAM_UNKNOWN = 4, /* not there, or not to be read: the real function says what is wrong */
};

/* Looks at the file that execveat(directory, path, ..., flags) would execute; a script is what its interpreter is. By
 * raw system calls alone. */
enum vgpu_program vgpu_program_look(int directory, const char *path, int flags);

/* Looks `file` up as execvp does: in PATH, unless it has a slash. Answers the path, which may be `file` itself or stand
 * in `buffer`; NULL: there is none. */
const char *vgpu_program_search(const char *file, char *buffer, size_t size);

/* Can the text be read at all? To the kernel a bad pointer is EFAULT, and it must not end the process here. */
int vgpu_program_is_text(const char *path);

/* Writes the path of `below`, seen from an open directory, to `buffer`; that of the open file itself if `below` is "".
 * Only `below` where /proc does not say it. */
void vgpu_program_path(int fd, const char *below, char *buffer, size_t size);

#endif
