/* dlsym(RTLD_NEXT, ...) for a child between fork or vfork and exec, and for a signal handler: it takes no lock and
 * allocates nothing.
 *
 * glibc's own takes the dynamic linker's lock, which in a forked child may be held by a thread that is not there, and
 * in any process by one that is inside of dlopen: a constructor there may wait for the very thread that asks. And it
 * allocates where it has an error to tell. The objects between a preloaded library and libc are those of the program's
 * start: they are never unloaded, so their part of the list is read without a lock. */
#ifndef VGPU_NEXT_H
#define VGPU_NEXT_H

/* The function `name` of the first object behind this one that defines it, at `version` if that is not NULL and the
 * object has versions. NULL: none does. */
void *vgpu_next(const char *name, const char *version);

/* 1: what vgpu_next answers for `name` is libc's own, and no other library's that stands before it. */
int vgpu_next_is_libcs(const char *name);

#endif
