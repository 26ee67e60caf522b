/* The texts by which the two APIs name a GPU. */
#ifndef VGPU_GPU_TEXT_H
#define VGPU_GPU_TEXT_H

#include <stddef.h>

#include "vgpu/wire.h"

enum vgpu_gpu_text_size {
    VGPU_PCI_TEXT_SIZE = 13,      /* "0000:00:05.0": four digits of domain */
    VGPU_PCI_LONG_TEXT_SIZE = 17, /* "00000000:00:05.0": eight, as NVML writes it */
    VGPU_UUID_TEXT_SIZE = 41,     /* "GPU-" and 36 characters */
};

static inline char *vgpu_put_hex(char *to, uint32_t value, int digits, const char *alphabet) {
    for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
        *to++ = alphabet[value >> shift & 15];
    }
    return to;
}

/* domain:bus:device.0 with `digits` of domain; 9 + `digits` bytes at `to`. */
static inline void vgpu_put_pci(char *to, const struct vgpu_gpu *gpu, int digits, const char *alphabet) {
    to = vgpu_put_hex(to, gpu->pci_domain, digits, alphabet);
    *to++ = ':';
    to = vgpu_put_hex(to, gpu->pci_bus, 2, alphabet);
    *to++ = ':';
    to = vgpu_put_hex(to, gpu->pci_device, 2, alphabet);
    to[0] = '.';
    to[1] = '0';
    to[2] = '\0';
}

static inline void vgpu_put_uuid(char *to, const uint8_t *bytes) {
    const char *start = "GPU-";
    while (*start != '\0') {
        *to++ = *start++;
    }
    for (int i = 0; i < VGPU_UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *to++ = '-';
        }
        to = vgpu_put_hex(to, bytes[i], 2, "0123456789abcdef");
    }
    *to = '\0';
}

static inline const char *vgpu_take_hex(const char *from, uint32_t *value) {
    const char *at = from;
    *value = 0;
    for (; at - from < 8; at++) {
        char c = *at;
        if (c >= '0' && c <= '9') {
            *value = *value << 4 | (uint32_t)(c - '0');
        } else if ((c | 32) >= 'a' && (c | 32) <= 'f') {
            *value = *value << 4 | (uint32_t)((c | 32) - 'a' + 10);
        } else {
            break;
        }
    }
    return at == from ? NULL : at;
}

struct vgpu_pci_address {
    uint32_t domain;
    uint32_t bus;
    uint32_t device;
    uint32_t function;
};

/* Reads "domain:bus:device.function", "domain:bus:device" or "bus:device.function", as cuda.h allows. Answers 1, or 0
 * for anything else. */
static inline int vgpu_take_pci(const char *from, struct vgpu_pci_address *address) {
    uint32_t numbers[3];
    uint32_t function = 0;
    int count = 0;
    for (;;) {
        from = vgpu_take_hex(from, &numbers[count++]);
        if (from == NULL) {
            return 0;
        }
        if (*from != ':' || count == 3) {
            break;
        }
        from++;
    }
    int has_function = *from == '.';
    if (has_function) {
        from = vgpu_take_hex(from + 1, &function);
    }
    if (from == NULL || *from != '\0' || count < (has_function ? 2 : 3)) {
        return 0;
    }
    address->domain = count == 3 ? numbers[0] : 0;
    address->bus = numbers[count - 2];
    address->device = numbers[count - 1];
    address->function = function;
    return 1;
}

/* A GPU is function 0 of its device. */
static inline int vgpu_is_at(const struct vgpu_gpu *gpu, const struct vgpu_pci_address *address) {
    return gpu->pci_domain == address->domain && gpu->pci_bus == address->bus && gpu->pci_device == address->device &&
           address->function == 0;
}

#endif
