/* What of its environment a process hands on to the programs that it starts: what it was itself started with, whatever
 * the program has done to its environment since. */
#ifndef VGPU_EXEC_KEPT_H
#define VGPU_EXEC_KEPT_H

#include <stddef.h>

/* The variables that are kept. ld.so(8) splits LD_PRELOAD at spaces and colons, LD_AUDIT at colons and LD_LIBRARY_PATH
 * at colons and semicolons. Of several LD_PRELOAD or LD_LIBRARY_PATH, it takes the last; all LD_AUDIT count; getenv
 * takes the first of any (glibc 2.36). */
enum vgpu_kept_variable {
    VGPU_KEPT_PRELOAD,
    VGPU_KEPT_AUDIT,
    VGPU_KEPT_FOLDERS,
    VGPU_KEPT_HOST,
    VGPU_KEPT_TRACE,
    VGPU_KEPT_VARIABLES,
    VGPU_KEPT_LISTS = VGPU_KEPT_HOST, /* those before are lists */
};

struct vgpu_kept_row {
    const char *name;
    const char *separators;
    int last; /* 1: the last of several counts */
};

extern const struct vgpu_kept_row vgpu_kept_rows[VGPU_KEPT_VARIABLES];

struct vgpu_kept {
    size_t size; /* of the mapping that this is in, 0: it is in none */
    /* "NAME=value", or NULL. Of LD_LIBRARY_PATH only the link folders: those in which libcuda.so.1 or
     * libnvidia-ml.so.1 lies. */
    const char *variables[VGPU_KEPT_VARIABLES];
};

/* Stands for what could not be read for want of memory: then nothing may be started. */
extern const struct vgpu_kept vgpu_kept_unknown;

/* NULL: the process was started without VGPU_HOST, and the shim is transparent. Read at the first call, by whichever
 * thread, signal handler, forked or vfork child that is: they never wait for one another. */
const struct vgpu_kept *vgpu_kept(void);

/* The value of "NAME=value" if that is the variable `name`, else NULL. */
const char *vgpu_kept_value(const char *variable, const char *name);

#endif
