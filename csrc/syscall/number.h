/* The system calls that the file shim knows when a program makes them by number, through libc's syscall(). */
#ifndef VGPU_NUMBER_H
#define VGPU_NUMBER_H

#include <stdint.h>

#include "syscall/files.h"

/* What stands at which argument, from 0; -1: there is no such argument. */
struct vgpu_number {
    uint16_t function; /* 1 + enum vgpu_file_function, whose family, faults and name it shares; 0: not known here */
    int8_t directory;
    int8_t path;
    int8_t to; /* where a stat's answer goes */
};

enum { VGPU_NUMBERS = 512 };
extern const struct vgpu_number vgpu_numbers[VGPU_NUMBERS];

static inline int vgpu_number_concerns(long number) {
    return __atomic_load_n(&vgpu_filter.candidates, __ATOMIC_RELAXED) != 0 && (unsigned long)number < VGPU_NUMBERS &&
           vgpu_numbers[number].function != 0;
}

#endif
