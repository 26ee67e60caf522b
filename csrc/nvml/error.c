/* nvmlErrorString serves processes that the gate has refused as well: those are the ones that have an error to print.
 */
#include "nvml/model.h"

static const char *text_of(nvmlReturn_t result) {
    switch (result) {
#define VGPU_NVML_CODE(name, number, text)                                                                             \
    case name:                                                                                                         \
        return text;
#include "nvml/errors.def"
    default:
        return "Unknown Error";
    }
}

const char *vgpu_nvmlErrorString(struct vgpu_process *process, struct vgpu_call *call, nvmlReturn_t result) {
    (void)process;
    call->event.text = text_of(result);
    return call->event.text;
}
