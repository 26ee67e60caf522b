/* The environment that the process was started with, whatever the program has done to its own since. No libc symbol. */
#ifndef VGPU_ENVIRONMENT_H
#define VGPU_ENVIRONMENT_H

#ifndef VGPU_CDEF
#include <stddef.h>
#endif

/* Reads `name` from /proc/self/environ into `buffer`. Answers the value's length, 0 if it is not there, empty, or
 * does not fit. */
size_t vgpu_first_environment(const char *name, char *buffer, size_t size);

#endif
