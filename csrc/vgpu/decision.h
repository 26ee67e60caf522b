/* The gate's decision about this process, the same for all shims in it, whenever each of them asks. */
#ifndef VGPU_DECISION_H
#define VGPU_DECISION_H

#include "vgpu/gate.h"

/* The rule of `image` that decides about this process, as vgpu_gate_rule answers it; `facts` are what was gathered of
 * it at the start. Async-signal-safe, and right in a vfork child. */
uint32_t vgpu_decision(const struct vgpu_image *image, const struct vgpu_facts *facts);

/* Does this process share its memory with its parent, as a vfork child does? */
int vgpu_is_borrowing_memory(void);

#endif
