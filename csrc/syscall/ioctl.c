/* ioctl on a device of the tree. NVIDIA's driver answers a request that it does not know with EINVAL (nvidia_ioctl in
 * kernel-open/nvidia/nv.c of its open kernel modules), and this one knows none: the driver's interface is not modelled,
 * the libraries above it are. */
#include "syscall/files.h"
#include "vgpu/paths.h"
#include "vgpu/raw.h"

int vgpu_serve_ioctl(struct vgpu_process *process, uint64_t caller, int fd, unsigned long request, void *argument) {
    struct vgpu_file_call call;
    struct stat facts;
    const struct vgpu_image *image = vgpu_file_image(process);
    if (image == NULL || vgpu_raw3(SYS_fstat, fd, (long)&facts, 0) != 0 ||
        !vgpu_file_begin_device(&call, process, VGPU_FILE_ioctl, vgpu_path_device(image, facts.st_dev, facts.st_ino),
                                caller)) {
        return VGPU_REAL(ioctl)(fd, request, argument);
    }
    return (int)vgpu_file_end_request(&call, call.error != 0 ? -call.error : -EINVAL, request);
}
