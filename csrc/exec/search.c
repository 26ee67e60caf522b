/* PATH as execvp(3) walks it; the real function does so again, and this only foresees which file it will find. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exec/kept.h"
#include "exec/program.h"
#include "vgpu/raw.h"

static const char *path_variable(void) {
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        const char *value = vgpu_kept_value(*at, "PATH");
        if (value != NULL) {
            return value;
        }
    }
    return "/bin:/usr/bin"; /* glibc's _CS_PATH */
}

static int is_program(const char *path) {
    struct stat facts;
    return vgpu_raw6(SYS_newfstatat, AT_FDCWD, (long)path, (long)&facts, 0, 0, 0) == 0 && S_ISREG(facts.st_mode) &&
           vgpu_raw3(SYS_access, (long)path, X_OK, 0) == 0;
}

const char *vgpu_program_search(const char *file, char *buffer, size_t size) {
    size_t length = vgpu_length(file);
    for (const char *at = file; *at != '\0'; at++) {
        if (*at == '/') {
            return file;
        }
    }
    for (const char *folder = path_variable(); length != 0; folder++) {
        size_t n = 0;
        while (folder[n] != '\0' && folder[n] != ':') {
            n++;
        }
        if (n + 1 + length < size) {
            /* An empty folder is the current one. */
            for (size_t i = 0; i < n; i++) {
                buffer[i] = folder[i];
            }
            buffer[n] = '/';
            vgpu_copy_text(buffer + n + (n != 0), size - n - 1, file);
            if (is_program(buffer)) {
                return buffer;
            }
        }
        folder += n;
        if (*folder == '\0') {
            break;
        }
    }
    return NULL;
}
