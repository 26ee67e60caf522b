/* nvmlErrorString serves processes that the gate has refused as well: those are the ones that have an error to print.
 */
#include "nvml/model.h"

const char *vgpu_nvmlErrorString(struct vgpu_process *process, struct vgpu_call *call, nvmlReturn_t result) {
    (void)process;
    static const struct {
        nvmlReturn_t code;
        const char *text;
    } codes[] = {
#define VGPU_NVML_CODE(name, number, text) {name, text},
#include "nvml/errors.def"
    };
    const char *text = "Unknown Error";
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i].code == result) {
            text = codes[i].text;
        }
    }
    call->event.text = text;
    return text;
}
