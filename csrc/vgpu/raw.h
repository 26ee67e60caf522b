/* System calls without libc, for the code that runs in an auditor, before libc's start-up or in a signal handler.
 * A call answers -errno on failure and leaves errno alone. x86-64 only, as the project is. */
#ifndef VGPU_RAW_H
#define VGPU_RAW_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long vgpu_raw4(long number, long a, long b, long c, long d) {
    long answer;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return answer;
}

static inline long vgpu_raw6(long number, long a, long b, long c, long d, long e, long f) {
    long answer;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return answer;
}

static inline long vgpu_raw3(long number, long a, long b, long c) {
    return vgpu_raw6(number, a, b, c, 0, 0, 0);
}

static inline size_t vgpu_length(const char *text) {
    size_t n = 0;
    while (text[n] != '\0') {
        n++;
    }
    return n;
}

/* Copies at most `size` - 1 bytes and ends them with a NUL. */
static inline void vgpu_copy_text(char *to, size_t size, const char *from) {
    size_t n = 0;
    for (; n + 1 < size && from[n] != '\0'; n++) {
        to[n] = from[n];
    }
    to[n] = '\0';
}

static inline int vgpu_same_text(const char *a, const char *b) {
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

#endif
