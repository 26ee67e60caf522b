/* Memory for an environment or an argument list that is too long for the stack: mapped, as malloc must not be called
 * between fork or vfork and exec.
 *
 * In a vfork child that succeeds, nobody is left to give it back, and the mapping stays in the parent. So each thread
 * remembers the one of each kind that its vfork child had, and takes it for the next: there is never more than one of a
 * kind for each thread that does this. */
#ifndef VGPU_EXEC_ROOM_H
#define VGPU_EXEC_ROOM_H

#include <stddef.h>

enum vgpu_room_kind {
    VGPU_ROOM_ARGUMENTS,
    VGPU_ROOM_ENVIRONMENT,
    VGPU_ROOM_KINDS,
};

/* NULL: the kernel has no memory. */
void *vgpu_room_take(enum vgpu_room_kind kind, size_t size);

/* `room` may be NULL. */
void vgpu_room_give_back(enum vgpu_room_kind kind, void *room);

#endif
