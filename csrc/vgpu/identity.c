/* Which library this is compiled into, and from which sources. Apart from the rest, so that a change anywhere in csrc/
 * recompiles no more than this. */
#include "build_id.h"
#include "vgpu/process.h"

const uint32_t vgpu_this_library = VGPU_THIS_LIBRARY;

const char *vgpu_build_id(void) {
    return VGPU_BUILD_ID;
}
