/* From the table of the file shim: the families of open, stat, access and readlink, where a number is answered. The
 * others have streams, directories or memory of their libc; a list of file actions is memory of posix_spawn's. */
#include "audit/numeric.h"

#include <stdint.h>

#include "audit/texts.h"
#include "syscall/real.h"
#include "vgpu/raw.h"

enum { LONGEST = 40 };

static const struct {
    char name[LONGEST];
    uint8_t family;
    uint8_t number;
} functions[] = {
#define VGPU_FILE(type, name, parameters, arguments, family, before, serve)                                            \
    {#name, VGPU_FAMILY_##family, sizeof(type) < sizeof(void *) || __builtin_types_compatible_p(type, long)},
#include "syscall/syscall.def"
};

int vgpu_numeric(const char *name) {
    for (uint32_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        if (vgpu_same_text(functions[i].name, name)) {
            uint8_t family = functions[i].family;
            return functions[i].number && !vgpu_starts(name, "posix_spawn") &&
                   (family == VGPU_FAMILY_OPEN || family == VGPU_FAMILY_STAT || family == VGPU_FAMILY_ACCESS ||
                    family == VGPU_FAMILY_READLINK);
        }
    }
    return 0;
}
