/* Faults: what a host file says goes wrong. */
#ifndef VGPU_FAULT_H
#define VGPU_FAULT_H

#include "vgpu/process.h"

/* The fault for any GPU that holds for this call of `name`, or NULL. Counts the call, and does what comes before the
 * answer: sleeps the delay, loses a GPU, crashes or hangs (an ENTERED record goes first). Without the lock. */
const struct vgpu_fault *vgpu_fault_for(struct vgpu_process *process, uint8_t library, const char *name,
                                        uint64_t caller);

/* The same among the faults for one GPU, for a call that is about the GPUs of `about`, bit N of it. Only
 * counts; what comes before the answer is vgpu_fault_enter's. */
const struct vgpu_fault *vgpu_fault_about(struct vgpu_process *process, const char *name, uint32_t about);
void vgpu_fault_enter(struct vgpu_process *process, const struct vgpu_fault *fault, uint8_t library, const char *name,
                      uint64_t caller);

/* From now on; for all processes of the trace, or where there is none for this one. */
void vgpu_gpu_lose(struct vgpu_process *process, uint32_t gpu);

/* Whether it is, without the call being about it. */
int vgpu_gpu_is_lost(const struct vgpu_process *process, uint32_t gpu);

#endif
