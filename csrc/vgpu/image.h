/* The reader of the host image. Uses no libc symbol; what it returns points into the read-only mapping. */
#ifndef VGPU_IMAGE_H
#define VGPU_IMAGE_H

#include "vgpu/wire.h"

/* Maps the image file and checks it whole. On success *image is set and NULL is answered, else a reason in words
 * ("truncated: ...") that stays valid for ever; *image is NULL then. */
const char *vgpu_image_open(const char *path, const struct vgpu_image **image);
void vgpu_image_close(const struct vgpu_image *image);

/* Checks `size` bytes at `bytes` as an image; NULL if sound, else the reason. */
const char *vgpu_image_check(const void *bytes, uint64_t size);

const char *vgpu_image_text(const struct vgpu_image *image, uint32_t offset);
const struct vgpu_gpu *vgpu_image_gpu(const struct vgpu_image *image, uint32_t i);
const struct vgpu_attribute *vgpu_image_attributes(const struct vgpu_image *image, const struct vgpu_gpu *gpu);
const struct vgpu_fault *vgpu_image_fault(const struct vgpu_image *image, uint32_t i);

#endif
