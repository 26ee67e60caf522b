/* The names of the functions that the file shim stands in front of, for those who only want to know them. */
#ifndef VGPU_SYSCALL_NAMES_H
#define VGPU_SYSCALL_NAMES_H

#ifndef VGPU_CDEF
#include <stdint.h>
#endif

/* Function `i` of the interception table, or NULL behind the last. */
const char *vgpu_file_name(uint32_t i);

#endif
