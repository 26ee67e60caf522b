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
/* `count` becomes how many there are of this id, in the order of their index: from 0 on if the profile has a list. */
const struct vgpu_property *vgpu_image_properties(const struct vgpu_image *image, const struct vgpu_gpu *gpu,
                                                  enum vgpu_property_id id, uint32_t *count);
/* 1 and *value, or 0: the GPU does not have it. */
int vgpu_image_property(const struct vgpu_image *image, const struct vgpu_gpu *gpu, enum vgpu_property_id id,
                        uint32_t index, int64_t *value);
/* NULL: the GPU does not have it. */
const char *vgpu_image_gpu_text(const struct vgpu_image *image, const struct vgpu_gpu *gpu, enum vgpu_text_id id,
                                uint32_t index);
const struct vgpu_gpu_process *vgpu_image_processes(const struct vgpu_image *image, const struct vgpu_gpu *gpu);
const struct vgpu_mig_device *vgpu_image_migs(const struct vgpu_image *image, const struct vgpu_gpu *gpu);
const struct vgpu_mig_profile *vgpu_image_mig_profiles(const struct vgpu_image *image, const struct vgpu_gpu *gpu);

const struct vgpu_fault *vgpu_image_fault(const struct vgpu_image *image, uint32_t i);

#endif
