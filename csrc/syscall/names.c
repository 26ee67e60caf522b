#include "syscall/names.h"

#include "syscall/real.h"

const char *vgpu_file_name(uint32_t i) {
    return i < VGPU_FILE_FUNCTIONS ? vgpu_file_rows[i].name : NULL;
}
