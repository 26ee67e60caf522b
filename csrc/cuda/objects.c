#include "cuda/objects.h"

#include <stdlib.h>

#define HANDLE_BASE 0x00e0000000000000ull

enum {
    HANDLE_STEP = 16,
    KIND_SHIFT = 44,
    FIRST_ROOM = 64,
};

struct vgpu_objects {
    struct vgpu_object **buckets;
    size_t room; /* a power of two */
    size_t count;
    uint64_t given;
};

static struct vgpu_object **bucket_of(struct vgpu_objects *objects, uint64_t handle) {
    return &objects->buckets[handle / HANDLE_STEP & (objects->room - 1)];
}

static int grow(struct vgpu_objects *objects, size_t room) {
    struct vgpu_object **buckets = calloc(room, sizeof(struct vgpu_object *));
    if (buckets == NULL) {
        return 0;
    }
    struct vgpu_objects larger = {buckets, room, objects->count, objects->given};
    for (size_t i = 0; i < objects->room; i++) {
        while (objects->buckets[i] != NULL) {
            struct vgpu_object *object = objects->buckets[i];
            objects->buckets[i] = object->next;
            struct vgpu_object **bucket = bucket_of(&larger, object->handle);
            object->next = *bucket;
            *bucket = object;
        }
    }
    free(objects->buckets);
    *objects = larger;
    return 1;
}

void vgpu_object_drop(struct vgpu_process *process, struct vgpu_object *object) {
    struct vgpu_object **link = bucket_of(process->cuda->objects, object->handle);
    while (*link != object) {
        link = &(*link)->next;
    }
    *link = object->next;
    process->cuda->objects->count--;
    object->end(process, object);
}

static int is_over(struct vgpu_process *process, const struct vgpu_object *object) {
    struct vgpu_settings *settings;
    CUdevice device;
    return object->context != NULL &&
           vgpu_context_settings(process, object->context, &settings, &device) != CUDA_SUCCESS;
}

/* The GPU's loss, or a fault for it, refuses the object and leaves it as it is. */
static int is_refused(struct vgpu_process *process, const struct vgpu_object *object) {
    CUdevice device;
    return object->context != NULL && vgpu_context_check(process, object->context, &device) != CUDA_SUCCESS;
}

void *vgpu_object_find(struct vgpu_process *process, enum vgpu_object_kind kind, const void *handle) {
    struct vgpu_objects *objects = process->cuda->objects;
    if (objects == NULL) {
        return NULL;
    }
    struct vgpu_object *object = *bucket_of(objects, (uint64_t)(uintptr_t)handle);
    while (object != NULL && object->handle != (uint64_t)(uintptr_t)handle) {
        object = object->next;
    }
    if (object == NULL || object->kind != (uint32_t)kind) {
        return NULL;
    }
    if (is_over(process, object)) {
        vgpu_object_drop(process, object);
        return NULL;
    }
    return is_refused(process, object) ? NULL : object;
}

void vgpu_objects_visit(struct vgpu_process *process, enum vgpu_object_kind kind,
                        void (*visit)(struct vgpu_object *object, void *data), void *data) {
    struct vgpu_objects *objects = process->cuda->objects;
    for (size_t i = 0; objects != NULL && i < objects->room; i++) {
        for (struct vgpu_object *object = objects->buckets[i]; object != NULL; object = object->next) {
            if (object->kind == (uint32_t)kind && !is_over(process, object)) {
                visit(object, data);
            }
        }
    }
}

/* The end of one object may be that of others: the bucket is looked at anew after each. NULL: all of them. */
static void drop_those_of(struct vgpu_process *process, CUcontext context) {
    struct vgpu_objects *objects = process->cuda->objects;
    for (size_t i = 0; objects != NULL && i < objects->room; i++) {
        struct vgpu_object *object = objects->buckets[i];
        while (object != NULL) {
            if (!object->is_part && (context == NULL || object->context == context)) {
                vgpu_object_drop(process, object);
                object = objects->buckets[i];
            } else {
                object = object->next;
            }
        }
    }
}

void vgpu_objects_drop(struct vgpu_process *process, CUcontext context) {
    drop_those_of(process, context);
}

void vgpu_objects_free_all(struct vgpu_process *process) {
    drop_those_of(process, NULL);
    if (process->cuda->objects != NULL) {
        free(process->cuda->objects->buckets);
    }
    free(process->cuda->objects);
    process->cuda->objects = NULL;
}

static int make(struct vgpu_cuda *cuda) {
    cuda->objects = calloc(1, sizeof(*cuda->objects));
    return cuda->objects != NULL;
}

/* One that cannot grow serves on, only slower. */
static int is_roomy(struct vgpu_process *process) {
    if (process->cuda->objects == NULL && !make(process->cuda)) {
        return 0;
    }
    struct vgpu_objects *objects = process->cuda->objects;
    if (objects->count < objects->room) {
        return 1;
    }
    return grow(objects, objects->room == 0 ? FIRST_ROOM : 2 * objects->room) || objects->room > 0;
}

int vgpu_object_add(struct vgpu_process *process, struct vgpu_object *object) {
    if (!is_roomy(process)) {
        return 0;
    }
    struct vgpu_objects *objects = process->cuda->objects;
    object->handle = HANDLE_BASE + ((uint64_t)object->kind << KIND_SHIFT) + HANDLE_STEP * ++objects->given;
    struct vgpu_object **bucket = bucket_of(objects, object->handle);
    object->next = *bucket;
    *bucket = object;
    objects->count++;
    return 1;
}

void vgpu_object_free(struct vgpu_process *process, struct vgpu_object *object) {
    (void)process;
    free(object);
}
