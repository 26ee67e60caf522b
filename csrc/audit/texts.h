/* Texts, without libc. */
#ifndef VGPU_AUDIT_TEXTS_H
#define VGPU_AUDIT_TEXTS_H

static inline int vgpu_starts(const char *text, const char *with) {
    while (*with != '\0' && *text == *with) {
        text++;
        with++;
    }
    return *with == '\0';
}

/* What stands behind the last slash. */
static inline const char *vgpu_file_of(const char *path) {
    const char *file = path;
    for (; *path != '\0'; path++) {
        file = *path == '/' ? path + 1 : file;
    }
    return file;
}

#endif
