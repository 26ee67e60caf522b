/* User objects: reference counts of things of the program, which graphs can hold, too. */
#include <limits.h>
#include <stdlib.h>

#include "cuda/objects.h"

enum { NO_DESTRUCTOR_SYNC = 1 };

struct user_object {
    struct vgpu_object object;
    CUhostFn destroy;
    void *data;
    uint64_t references;
    void (*before)(void *data); /* what was to be called at the end of the call already */
    void *before_data;
};

static struct user_object *find(struct vgpu_process *process, CUuserObject object) {
    return vgpu_object_find(process, VGPU_OBJECT_USER, object);
}

/* The program's function may call in: it runs when the lock is free. */
static void destroy(void *data) {
    struct user_object *object = data;
    if (object->before != NULL) {
        object->before(object->before_data);
    }
    object->destroy(object->data);
    free(object);
}

static void end(struct vgpu_process *process, struct vgpu_object *object) {
    struct user_object *user = (struct user_object *)object;
    (void)process;
    if (user->references > 0) {
        free(user);
    }
}

int vgpu_user_object_retain(struct vgpu_process *process, CUuserObject object, unsigned int count) {
    struct user_object *user = find(process, object);
    if (user == NULL) {
        return 0;
    }
    user->references += count;
    return 1;
}

int vgpu_user_object_release(struct vgpu_process *process, struct vgpu_call *call, CUuserObject object,
                             unsigned int count) {
    struct user_object *user = find(process, object);
    if (user == NULL || user->references < count) {
        return 0;
    }
    user->references -= count;
    if (user->references == 0) {
        vgpu_object_drop(process, &user->object);
        user->before = call->then;
        user->before_data = call->then_data;
        call->then = destroy;
        call->then_data = user;
    }
    return 1;
}

CUresult vgpu_cuUserObjectCreate(struct vgpu_process *process, struct vgpu_call *call, CUuserObject *object_out,
                                 void *ptr, CUhostFn destroy_object, unsigned int initialRefcount, unsigned int flags) {
    (void)call;
    if (object_out == NULL || destroy_object == NULL || initialRefcount == 0 || initialRefcount > INT_MAX ||
        flags != NO_DESTRUCTOR_SYNC) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult refusal = vgpu_cuda_ready(process);
    if (refusal != CUDA_SUCCESS) {
        return refusal;
    }
    struct user_object *user = calloc(1, sizeof(*user));
    if (user == NULL) {
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *user = (struct user_object){
        .object = {.kind = VGPU_OBJECT_USER, .end = end},
        .destroy = destroy_object,
        .data = ptr,
        .references = initialRefcount,
    };
    if (!vgpu_object_add(process, &user->object)) {
        free(user);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *object_out = vgpu_object_handle(&user->object);
    return CUDA_SUCCESS;
}

/* Without cuInit there is no object: NVIDIA's library looks at it first (measured on 535.261.03: 1). */
static int is_count(unsigned int count) {
    return count > 0 && count <= INT_MAX;
}

CUresult vgpu_cuUserObjectRetain(struct vgpu_process *process, struct vgpu_call *call, CUuserObject object,
                                 unsigned int count) {
    (void)call;
    int done = is_count(count) && vgpu_user_object_retain(process, object, count);
    return done ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult vgpu_cuUserObjectRelease(struct vgpu_process *process, struct vgpu_call *call, CUuserObject object,
                                  unsigned int count) {
    int done = is_count(count) && vgpu_user_object_release(process, call, object, count);
    return done ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
