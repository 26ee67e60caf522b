/* What CUDA gives out handles of: streams, events, modules, graphs and their like, in one table of a process.
 *
 * A handle is a number that is never given out twice and no user-space address, as a context's is: one that was
 * destroyed, or never was, is known as such. That is our rule: NVIDIA's library follows the pointer. */
#ifndef VGPU_CUDA_OBJECTS_H
#define VGPU_CUDA_OBJECTS_H

#include "cuda/model.h"

enum vgpu_object_kind {
    VGPU_OBJECT_STREAM = 1,
    VGPU_OBJECT_EVENT = 2,
    VGPU_OBJECT_MODULE = 3,
    VGPU_OBJECT_FUNCTION = 4,
    VGPU_OBJECT_LIBRARY = 5,
    VGPU_OBJECT_KERNEL = 6,
    VGPU_OBJECT_LINK = 7,
    VGPU_OBJECT_GRAPH = 8,
    VGPU_OBJECT_NODE = 9,
    VGPU_OBJECT_EXEC = 10,
    VGPU_OBJECT_CONDITIONAL = 11,
    VGPU_OBJECT_CAPTURE = 12,   /* its handle stays in the room */
    VGPU_OBJECT_THREAD = 13,    /* so does this one's */
    VGPU_OBJECT_USER = 32,      /* userobject.c */
    VGPU_OBJECT_LISTENER = 33,  /* listener.c */
    VGPU_OBJECT_RESOURCES = 34, /* green.c: a resource descriptor */
    VGPU_OBJECT_GREEN = 35,
    VGPU_OBJECT_ARRAY = 48, /* array.c */
    VGPU_OBJECT_MIPMAP = 49,
    VGPU_OBJECT_POOL = 50,    /* pool.c */
    VGPU_OBJECT_TEXTURE = 51, /* texture.c */
    VGPU_OBJECT_SURFACE = 52,
    VGPU_OBJECT_TEXREF = 53, /* texref.c */
};

/* The head of each of them. `end` frees all of it, this head too; it may drop other objects. */
struct vgpu_object {
    struct vgpu_object *next;
    uint64_t handle;
    uint32_t kind;
    int is_part;       /* of another object, which ends it */
    CUcontext context; /* ends with it; NULL: belongs to none */
    void (*end)(struct vgpu_process *process, struct vgpu_object *object);
};

/* Puts it into the table and gives it a handle: 1, or 0: no memory, and it is still the caller's. */
int vgpu_object_add(struct vgpu_process *process, struct vgpu_object *object);

/* The living object of that kind, or NULL. */
void *vgpu_object_find(struct vgpu_process *process, enum vgpu_object_kind kind, const void *handle);

/* Takes it out of the table and ends it. */
void vgpu_object_drop(struct vgpu_process *process, struct vgpu_object *object);

/* The handle as the type of the API that it is put into. */
static inline void *vgpu_object_handle(const struct vgpu_object *object) {
    return (void *)(uintptr_t)object->handle;
}

/* Calls `visit` for each living object of a kind, in no order; it must not add or drop any. */
void vgpu_objects_visit(struct vgpu_process *process, enum vgpu_object_kind kind,
                        void (*visit)(struct vgpu_object *object, void *data), void *data);

/* For objects without anything of their own to free. */
void vgpu_object_free(struct vgpu_process *process, struct vgpu_object *object);

#endif
