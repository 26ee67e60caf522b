/* An environment with what must be kept put back into it. In two steps, so that the caller finds the memory. */
#ifndef VGPU_EXEC_COMPLETE_H
#define VGPU_EXEC_COMPLETE_H

#include <stddef.h>
#include <stdint.h>

#include "exec/kept.h"

/* What an environment lacks. */
struct vgpu_plan {
    const struct vgpu_kept *kept;
    char *const *envp; /* may be NULL, as for the kernel */
    size_t count;
    uint32_t changes; /* variables to be added or changed; 0: the environment goes on as it is */
    size_t size;      /* bytes that vgpu_plan_carry_out needs, for an array of pointers first */
    struct {
        int wanted;
        size_t at; /* the one that counts, which is changed; `count`: there is none */
    } variables[VGPU_KEPT_VARIABLES];
};

void vgpu_plan_make(struct vgpu_plan *plan, const struct vgpu_kept *kept, char *const envp[]);

/* Writes the environment to `room`: the child's own variables in their order, then those that are added. Its own texts
 * and those of `kept` are not copied. */
char **vgpu_plan_carry_out(const struct vgpu_plan *plan, void *room);

#endif
